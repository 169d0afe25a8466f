// Half precision for the row functions, in the instruction set's own namespace; rows_kernels.h says
// why.
#pragma once

#include <stdint.h>

#include "vectors.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace ksdiff_ops::cpu::KSDIFF_INSTRUCTION_SET {

#if defined(__F16C__)
constexpr int kToNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
#endif

// The same bits as another type, of one number or of a vector of them.
template <typename To, typename From>
inline To cast(From from) {
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

// `half` in the lower 16 bits, of one number or of a vector of them; so for rounding.
template <typename Real, typename Bits>
inline Real widen_float16(Bits half) {
  const Bits magnitude = half & 0x7fffu;
  // The exponent's bias differs by 112; multiplying sets it right for subnormals too.
  const Bits finite = cast<Bits>(cast<Real>(magnitude << 13) * 0x1p112f);
  const Bits special = (magnitude << 13) | 0x7f800000u;
  const Bits sign = (half & 0x8000u) << 16;
  return cast<Real>((magnitude >= 0x7c00u ? special : finite) | sign);
}

template <typename Bits, typename Real>
inline Bits round_float16(Real value) {
  const Bits bits = cast<Bits>(value), magnitude = bits & 0x7fffffffu;
  const Bits sign = (bits >> 16) & 0x8000u;
  // Below 2^-14 the result is subnormal: adding 0.5 puts its last bit where float32 rounds.
  const Bits subnormal = cast<Bits>(cast<Real>(magnitude) + 0.5f) - 0x3f000000u;
  const Bits normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  const Bits infinite = Bits{} + 0x7c00u, quiet = Bits{} + 0x7e00u;
  Bits half = magnitude < 0x38800000u ? subnormal : normal;
  half = magnitude >= 0x477ff000u ? infinite : half;
  half = magnitude > 0x7f800000u ? quiet : half;
  return half | sign;
}

template <typename Bits, typename Real>
inline Bits round_bfloat16(Real value) {
  const Bits bits = cast<Bits>(value), quiet = Bits{} + 0x7fc0u;
  const Bits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return (bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded;
}

void load_float16(const uint16_t* source, int64_t count, float* target) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= count; i += 8) {
    __m128i half;
    __builtin_memcpy(&half, source + i, sizeof half);
    const __m256 wide = _mm256_cvtph_ps(half);
    __builtin_memcpy(target + i, &wide, sizeof wide);
  }
#endif
  for (; i < count; ++i) target[i] = widen_float16<float>(uint32_t{source[i]});
}

void store_float16(const float* source, int64_t count, uint16_t* target) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= count; i += 8) {
    __m256 wide;
    __builtin_memcpy(&wide, source + i, sizeof wide);
    const __m128i half = _mm256_cvtps_ph(wide, kToNearest);
    __builtin_memcpy(target + i, &half, sizeof half);
  }
#endif
  for (; i < count; ++i) {
    target[i] = static_cast<uint16_t>(round_float16<uint32_t>(source[i]));
  }
}

void load_bfloat16(const uint16_t* source, int64_t count, float* target) {
  for (int64_t i = 0; i < count; ++i) {
    target[i] = cast<float>(uint32_t{source[i]} << 16);
  }
}

void store_bfloat16(const float* source, int64_t count, uint16_t* target) {
  for (int64_t i = 0; i < count; ++i) {
    target[i] = static_cast<uint16_t>(round_bfloat16<uint32_t>(source[i]));
  }
}

typedef uint16_t Halves __attribute__((vector_size(KSDIFF_VECTOR_BYTES / 2)));

inline Halves load_halves(const void* source) {
  Halves half;
  __builtin_memcpy(&half, source, sizeof half);
  return half;
}

// A vector's worth of numbers as they lie in memory, as what they are summed in; and back. The
// functions of GCC 12 without a mask lead to warnings, so all lanes are asked for.
inline Vector<float> widened(const float* source) { return load(source); }
inline Vector<double> widened(const double* source) { return load(source); }

inline Vector<float> widened(const Float16* source) {
#if defined(__AVX512F__)
  return cast<Vector<float>>(_mm512_maskz_cvtph_ps(0xffff, cast<__m256i>(load_halves(source))));
#elif defined(__F16C__)
  return cast<Vector<float>>(_mm256_cvtph_ps(cast<__m128i>(load_halves(source))));
#else
  return widen_float16<Vector<float>>(
      __builtin_convertvector(load_halves(source), Vector<uint32_t>));
#endif
}

inline Vector<float> widened(const Bfloat16* source) {
  return cast<Vector<float>>(__builtin_convertvector(load_halves(source), Vector<uint32_t>) << 16);
}

inline void put(float* target, Vector<float> value) { store(target, value); }
inline void put(double* target, Vector<double> value) { store(target, value); }

inline void put(Float16* target, Vector<float> value) {
#if defined(__AVX512F__)
  const auto half = _mm512_maskz_cvtps_ph(0xffff, cast<__m512>(value), kToNearest);
#elif defined(__F16C__)
  const auto half = _mm256_cvtps_ph(cast<__m256>(value), kToNearest);
#else
  const auto half = __builtin_convertvector(round_float16<Vector<uint32_t>>(value), Halves);
#endif
  static_assert(sizeof half == sizeof(Halves));
  __builtin_memcpy(target, &half, sizeof half);
}

inline void put(Bfloat16* target, Vector<float> value) {
  const Halves half = __builtin_convertvector(round_bfloat16<Vector<uint32_t>>(value), Halves);
  __builtin_memcpy(target, &half, sizeof half);
}

// The same for one number.
inline float widened(float value) { return value; }
inline double widened(double value) { return value; }
inline float widened(Float16 value) { return widen_float16<float>(uint32_t{value.bits}); }
inline float widened(Bfloat16 value) { return cast<float>(uint32_t{value.bits} << 16); }

inline void put(float* target, float value) { *target = value; }
inline void put(double* target, double value) { *target = value; }
inline void put(Float16* target, float value) { store_float16(&value, 1, &target->bits); }
inline void put(Bfloat16* target, float value) { store_bfloat16(&value, 1, &target->bits); }

}  // namespace ksdiff_ops::cpu::KSDIFF_INSTRUCTION_SET

// The row functions on pairs, for AVX-512 with its instructions for bfloat16.
#include "rows.h"

#include <immintrin.h>

#define KSDIFF_INSTRUCTION_SET avx512bf16
#define KSDIFF_VECTOR_BYTES 64
#include "vectors.h"

namespace ksdiff_ops::cpu::avx512bf16 {

// Declared before the product that calls it: nothing leads from vectors to their namespace.
inline void multiply_add(Vector<float>& sum, Vector<Pair> left, Vector<Pair> right) {
  sum = _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(left), reinterpret_cast<__m512bh>(right));
}

}  // namespace ksdiff_ops::cpu::avx512bf16

#include "matmul_kernels.h"

namespace ksdiff_ops::cpu::avx512bf16 {
namespace {

constexpr int kStep = VectorOf<float>::lanes;

// Pairs of the numbers at the same places.
inline __m512i paired(Vector<float> first, Vector<float> second) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const __m512bh rounded = _mm512_cvtne2ps_pbh(second, first);
  return _mm512_permutexvar_epi16(order, reinterpret_cast<__m512i>(rounded));
}

inline Vector<float> scaled(const Patches<float, Pair>& p, const float* image, int k,
                            int64_t pixel) {
  return load(image + p.image_offset[k]) * load(p.factors + k * p.factors_pitch + pixel);
}

void scale_planes(const Patches<float, Pair>& p) {
  for (int64_t pixel = 0; pixel < p.pixels; pixel += kStep) {
    for (int64_t plane = 0; plane < p.planes; plane += 2) {
      const float* const first = p.image + plane * p.plane_pitch + pixel;
      const float* const second = plane + 1 < p.planes ? first + p.plane_pitch : nullptr;
      Pair* const panel = p.panel + plane / 2 * p.panel_taps * p.panel_pitch + pixel;
      for (int k = 0; k < p.taps; ++k) {
        const Vector<float> other = second ? scaled(p, second, k, pixel) : Vector<float>{};
        _mm512_storeu_si512(panel + p.tap[k] * p.panel_pitch,
                            paired(scaled(p, first, k, pixel), other));
      }
    }
  }
}

void scale_pixels(const Patches<float, Pair>& p) {
  for (int64_t pixel = 0; pixel < p.pixels; pixel += kStep) {
    for (int64_t plane = 0; plane < p.planes; ++plane) {
      const float* const image = p.image + plane * p.plane_pitch + pixel;
      Pair* const panel = p.panel + plane * p.panel_taps * p.panel_pitch + pixel / 2;
      for (int k = 0; k < p.taps; ++k) {
        const __m256bh rounded = _mm512_cvtneps_pbh(scaled(p, image, k, pixel));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(panel + p.tap[k] * p.panel_pitch),
                            reinterpret_cast<__m256i>(rounded));
      }
    }
  }
}

}  // namespace

extern const PairRows pair_rows;
const PairRows pair_rows = {matmul<float, Pair>, scale_planes, scale_pixels};

}  // namespace ksdiff_ops::cpu::avx512bf16

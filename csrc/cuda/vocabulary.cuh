// What the kernels need of CUDA beyond the language: number types, memory access, warp sums.
// Without nvcc the CUDA vocabulary comes from a header on the include path that runs the same
// kernels on the host (tests/cuda_host).
#pragma once

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#else
#include <cuda_on_host.h>
#endif

#include <cstdint>
#include <cstring>

namespace ksdiff_ops::cuda {

template <typename T>
struct Accumulate {
  using type = float;
};
template <>
struct Accumulate<double> {
  using type = double;
};
template <typename T>
using accumulate_t = typename Accumulate<T>::type;

__device__ __forceinline__ float widen(float value) { return value; }
__device__ __forceinline__ double widen(double value) { return value; }
__device__ __forceinline__ float widen(__half value) { return __half2float(value); }
__device__ __forceinline__ float widen(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename T>
__device__ __forceinline__ T narrow(accumulate_t<T> value) {
  return value;
}
template <>
__device__ __forceinline__ __half narrow<__half>(float value) {
  return __float2half_rn(value);
}
template <>
__device__ __forceinline__ __nv_bfloat16 narrow<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

// `load` goes through the read-only path: never for memory that the same kernel writes.
template <typename T>
__device__ __forceinline__ accumulate_t<T> load(const T* address) {
  return widen(__ldg(address));
}

// kCount neighbours moved as one: by a single instruction where they make 4, 8 or 16 bytes.
template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Vector {
  T element[kCount];
};

template <typename Word, typename T, int kCount>
__device__ __forceinline__ Vector<T, kCount> load_words(const T* address) {
  static_assert(sizeof(Word) == sizeof(Vector<T, kCount>));
  const Word word = __ldg(reinterpret_cast<const Word*>(address));
  Vector<T, kCount> vector;
  memcpy(&vector, &word, sizeof(word));
  return vector;
}

template <typename T, int kCount>
__device__ __forceinline__ Vector<T, kCount> load_vector(const T* address) {
  if constexpr (kCount == 1) {
    return {__ldg(address)};
  } else if constexpr (sizeof(T) * kCount == 16) {
    return load_words<uint4, T, kCount>(address);
  } else if constexpr (sizeof(T) * kCount == 8) {
    return load_words<uint2, T, kCount>(address);
  } else {
    return load_words<unsigned, T, kCount>(address);
  }
}

// The first `valid` of kCount neighbours, zeros in place of the rest. With `aligned` the address
// is a multiple of the vector's size, and either all are valid or none.
template <int kCount, typename T>
__device__ __forceinline__ void load_pixels(const T* address, int valid, bool aligned,
                                            accumulate_t<T> (&pixels)[kCount]) {
#pragma unroll
  for (int t = 0; t < kCount; ++t) pixels[t] = 0;
  if (aligned) {
    if (valid <= 0) return;
    const Vector<T, kCount> vector = load_vector<T, kCount>(address);
#pragma unroll
    for (int t = 0; t < kCount; ++t) pixels[t] = widen(vector.element[t]);
  } else {
#pragma unroll
    for (int t = 0; t < kCount; ++t) {
      if (t < valid) pixels[t] = load(address + t);
    }
  }
}

template <int kCount, typename T>
__device__ __forceinline__ void store_pixels(T* address, int valid, bool aligned,
                                             const accumulate_t<T> (&pixels)[kCount]) {
  if (aligned) {
    if (valid <= 0) return;
    Vector<T, kCount> vector;
#pragma unroll
    for (int t = 0; t < kCount; ++t) vector.element[t] = narrow<T>(pixels[t]);
    *reinterpret_cast<Vector<T, kCount>*>(address) = vector;
  } else {
#pragma unroll
    for (int t = 0; t < kCount; ++t) {
      if (t < valid) address[t] = narrow<T>(pixels[t]);
    }
  }
}

// The block's dynamic shared memory.
template <typename A>
__device__ __forceinline__ A* shared_memory() {
#if defined(__CUDACC__)
  extern __shared__ __align__(16) unsigned char bytes[];
  return reinterpret_cast<A*>(bytes);
#else
  return static_cast<A*>(cuda_on_host::shared_memory());
#endif
}

__device__ __forceinline__ int linear_thread() {
  return static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
}

// The sum over the 32 lanes of a warp, in every lane, always in the same order.
template <typename A>
__device__ __forceinline__ A warp_sum(A value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  }
  return value;
}

}  // namespace ksdiff_ops::cuda

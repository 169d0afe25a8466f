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

// The word of that many bytes that instructions move.
template <int kBytes>
struct WordOf;
template <>
struct WordOf<2> {
  using type = unsigned short;
};
template <>
struct WordOf<4> {
  using type = unsigned;
};
template <>
struct WordOf<8> {
  using type = uint2;
};
template <>
struct WordOf<16> {
  using type = uint4;
};
template <typename T, int kCount>
using word_t = typename WordOf<sizeof(T) * kCount>::type;

template <typename T, int kCount>
__device__ __forceinline__ Vector<T, kCount> from_word(const word_t<T, kCount>& word) {
  Vector<T, kCount> vector;
  memcpy(&vector, &word, sizeof(word));
  return vector;
}

template <typename T, int kCount>
__device__ __forceinline__ Vector<T, kCount> load_vector(const T* address) {
  if constexpr (kCount == 1) {
    return {__ldg(address)};
  } else {
    return from_word<T, kCount>(__ldg(reinterpret_cast<const word_t<T, kCount>*>(address)));
  }
}

template <typename T, int kCount>
__device__ __forceinline__ void store_vector(T* address, const Vector<T, kCount>& vector) {
#if !defined(__CUDACC__)
  cuda_on_host::check_aligned(address, sizeof(vector));
#endif
  *reinterpret_cast<Vector<T, kCount>*>(address) = vector;
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
    store_vector(address, vector);
  } else {
#pragma unroll
    for (int t = 0; t < kCount; ++t) {
      if (t < valid) address[t] = narrow<T>(pixels[t]);
    }
  }
}

// An address in shared memory; on the host, one that checks what is read and written through it.
#if defined(__CUDACC__)
template <typename T>
using Shared = T*;
#else
template <typename T>
using Shared = cuda_on_host::SharedPointer<T>;
#endif

// The block's dynamic shared memory.
template <typename T>
__device__ __forceinline__ Shared<T> shared_memory() {
#if defined(__CUDACC__)
  extern __shared__ __align__(16) unsigned char bytes[];
  return reinterpret_cast<T*>(bytes);
#else
  return cuda_on_host::shared_memory<T>();
#endif
}

// The same address, of numbers of type U.
template <typename U, typename T>
__device__ __forceinline__ Shared<U> shared_cast(Shared<T> address) {
#if defined(__CUDACC__)
  return reinterpret_cast<U*>(address);
#else
  return address.template as<U>();
#endif
}

template <int kCount, typename T>
__device__ __forceinline__ Vector<T, kCount> load_shared(Shared<T> address) {
  const word_t<T, kCount> word = *shared_cast<word_t<T, kCount>, T>(address);
  return from_word<T, kCount>(word);
}

template <int kCount, typename T>
__device__ __forceinline__ void store_shared(Shared<T> address, const Vector<T, kCount>& vector) {
  word_t<T, kCount> word;
  memcpy(&word, &vector, sizeof(word));
  *shared_cast<word_t<T, kCount>, T>(address) = word;
}

// Starts a copy of kCount neighbours, 4, 8 or 16 bytes, from global to shared memory; zeros where
// they are not `there`, and nothing is read. Copies belong to the group that the thread closes
// next; `wait_for_copies<n>` waits until at most the n latest groups are under way. What others
// copied is seen after a barrier that follows their wait.
template <int kCount, typename T>
__device__ __forceinline__ void copy_async(Shared<T> to, const T* from, bool there) {
  constexpr int kBytes = sizeof(T) * kCount;
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
#if defined(__CUDACC__)
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  const int bytes = there ? kBytes : 0;
  if constexpr (kBytes == 16) {
    // Past the L1 cache, which a halo of a few columns does not need.
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from),
                 "r"(bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(address), "l"(from),
                 "n"(kBytes), "r"(bytes)
                 : "memory");
  }
#else
  cuda_on_host::device.copy_async(to.offset(), from, kBytes, there);
#endif
}

__device__ __forceinline__ void close_copies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  cuda_on_host::device.close_copies();
#endif
}

template <int kUnderWay>
__device__ __forceinline__ void wait_for_copies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" ::"n"(kUnderWay) : "memory");
#else
  cuda_on_host::device.wait_for_copies(kUnderWay);
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

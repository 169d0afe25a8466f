// dynamic_conv on a GPU: y[b,c,p] = sum_i w[b,g(c),i,p] * x[b,c,p*s + d*i - pad], and its two
// gradients. Host functions at the end start the kernel that a plan names.
#pragma once

#include "dispatch.cuh"
#include "pixel_conv.cuh"

namespace ksdiff_ops::cuda {

// Weight planes [B, G, kh, kw, H, W], read at the output pixel.
template <typename T>
struct DenseWeights {
  using A = accumulate_t<T>;
  const T* data;

  static constexpr bool kThroughRing = false;

  // All loads come before the first use of one, from clamped places where a pixel is not valid:
  // what those threads compute is not stored.
  template <class Tile>
  __device__ __forceinline__ void gather(const ConvParams& p, int64_t image, int y, int x,
                                         StagedKernels<A, Tile>& kernels) const {
    const T* row = data + image * p.taps() * p.out_plane() + int64_t{min(y, p.out_h - 1)} * p.out_w;
    Vector<T, Tile::pixels> loaded[Tile::kernel][Tile::kernel];
    if (p.aligned) {
      const T* pixel = row + min(x, p.out_w - Tile::pixels);
#pragma unroll
      for (int i = 0; i < Tile::kernel; ++i) {
#pragma unroll
        for (int j = 0; j < Tile::kernel; ++j) {
          const int tap = i * Tile::kernel + j;
          loaded[i][j] = load_vector<T, Tile::pixels>(pixel + tap * p.out_plane());
        }
      }
    } else {
#pragma unroll
      for (int i = 0; i < Tile::kernel; ++i) {
#pragma unroll
        for (int j = 0; j < Tile::kernel; ++j) {
          const T* plane = row + (i * Tile::kernel + j) * p.out_plane();
#pragma unroll
          for (int t = 0; t < Tile::pixels; ++t) {
            loaded[i][j].element[t] = __ldg(plane + min(x + t, p.out_w - 1));
          }
        }
      }
    }
#pragma unroll
    for (int i = 0; i < Tile::kernel; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kernel; ++j) {
#pragma unroll
        for (int t = 0; t < Tile::pixels; ++t) kernels[i][j][t] = widen(loaded[i][j].element[t]);
      }
    }
  }

  template <int kPixels>
  __device__ __forceinline__ void tap(const ConvParams& p, int64_t image, int i, int j, int y,
                                      int x, A (&weights)[kPixels]) const {
    const int64_t plane = image * p.taps() + i * p.kernel_w + j;
    load_pixels(data + plane * p.out_plane() + int64_t{y} * p.out_w + x, p.out_w - x, p.aligned,
                weights);
  }

  __device__ __forceinline__ A at(const ConvParams& p, int64_t image, int tap, int64_t plane,
                                  int64_t pixel) const {
    return load(data + (image * p.taps() + tap) * plane + pixel);
  }
};

// The same planes in reverse order, read at the input pixel that a reversed tap touches.
template <typename T>
struct MirroredDenseWeights {
  using A = accumulate_t<T>;
  const T* data;

  static constexpr bool kThroughRing = false;

  template <class Tile>
  __device__ __forceinline__ void gather(const ConvParams& p, int64_t image, int y, int x,
                                         StagedKernels<A, Tile>& kernels) const {
    T loaded[Tile::kernel][Tile::kernel][Tile::pixels];
#pragma unroll
    for (int i = 0; i < Tile::kernel; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kernel; ++j) {
#pragma unroll
        for (int t = 0; t < Tile::pixels; ++t) {
          loaded[i][j][t] = shifted(p, image, i, j, y, x + t);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < Tile::kernel; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kernel; ++j) {
#pragma unroll
        for (int t = 0; t < Tile::pixels; ++t) kernels[i][j][t] = widen(loaded[i][j][t]);
      }
    }
  }

  template <int kPixels>
  __device__ __forceinline__ void tap(const ConvParams& p, int64_t image, int i, int j, int y,
                                      int x, A (&weights)[kPixels]) const {
    static_assert(kPixels == 1);
    weights[0] = widen(shifted(p, image, i, j, y, x));
  }

  __device__ __forceinline__ T shifted(const ConvParams& p, int64_t image, int i, int j, int y,
                                       int x) const {
    const int row = y - p.pad_h + i;
    const int column = x - p.pad_w + j;
    const int64_t plane = (image + 1) * p.taps() - 1 - (i * p.kernel_w + j);
    T weight = narrow<T>(0);
    if (within(row, p.in_h) && within(column, p.in_w)) {
      weight = __ldg(data + plane * p.in_plane() + int64_t{row} * p.in_w + column);
    }
    return weight;
  }
};

// Writes products[i, p] to planes [B, G, kh, kw, Ho, Wo].
template <typename T>
struct WeightGradient {
  using A = accumulate_t<T>;
  T* data;

  template <class Tile>
  __device__ __forceinline__ void take(const ConvParams& p, int64_t image, int, bool, int y, int x,
                                       int valid, const StagedKernels<A, Tile>& products) const {
    T* pixel = data + image * p.taps() * p.out_plane() + int64_t{y} * p.out_w + x;
#pragma unroll
    for (int i = 0; i < Tile::kernel; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kernel; ++j) {
        store_pixels(pixel + (i * Tile::kernel + j) * p.out_plane(), valid, p.aligned,
                     products[i][j]);
      }
    }
  }
};

// kCount neighbours of one input row, zeros where they leave the plane.
template <int kCount, typename T>
__device__ __forceinline__ void read_row(const ConvParams& p, const T* plane, int y, int x,
                                         accumulate_t<T> (&pixels)[kCount]) {
  const T* row = plane + int64_t{y} * p.in_w;
  const bool row_within = within(y, p.in_h);
#pragma unroll
  for (int t = 0; t < kCount; ++t) {
    pixels[t] = 0;
    if (row_within && within(x + t, p.in_w)) pixels[t] = load(row + x + t);
  }
}

// One channel per group: every weight is used once, so it goes straight from memory into the sum,
// while the few image pixels come through the L1 cache. Block (16, 8).
template <typename T, int kKernel, bool kMirrored, class Weights>
__global__ void __launch_bounds__(StreamingTile::threads)
    streaming_conv(ConvParams p, const T* input, Weights weights, T* output) {
  using A = accumulate_t<T>;
  constexpr int kPixels = kMirrored ? 1 : StreamingTile::vector_bytes / sizeof(T);
  const ConvBlock block = locate(p);
  const int y = block.tile_y * StreamingTile::threads_y + threadIdx.y;
  const int x = (block.tile_x * StreamingTile::threads_x + threadIdx.x) * kPixels;
  if (y >= p.out_h || x >= p.out_w) return;
  A sums[kPixels] = {};
#pragma unroll
  for (int i = 0; i < kKernel; ++i) {
    A window[kPixels + kKernel - 1];
    read_row(p, input + block.first * p.in_plane(), y - p.pad_h + i, x - p.pad_w, window);
#pragma unroll
    for (int j = 0; j < kKernel; ++j) {
      A tap[kPixels];
      weights.template tap<kPixels>(p, block.image, i, j, y, x, tap);
#pragma unroll
      for (int t = 0; t < kPixels; ++t) sums[t] += tap[t] * window[t + j];
    }
  }
  T* row = output + block.first * p.out_plane() + int64_t{y} * p.out_w;
  store_pixels(row + x, p.out_w - x, p.aligned, sums);
}

// One channel per group: every product is one multiplication. Block (16, 8).
template <typename T, int kKernel>
__global__ void __launch_bounds__(StreamingTile::threads)
    streaming_correlation(ConvParams p, const T* grad, const T* input, T* output) {
  using A = accumulate_t<T>;
  constexpr int kPixels = StreamingTile::vector_bytes / sizeof(T);
  const int64_t image = blockIdx.x / p.tiles();
  const int tile = static_cast<int>(blockIdx.x % p.tiles());
  const int y = tile / p.tiles_x * StreamingTile::threads_y + threadIdx.y;
  const int x = (tile % p.tiles_x * StreamingTile::threads_x + threadIdx.x) * kPixels;
  if (y >= p.out_h || x >= p.out_w) return;
  const int64_t pixel = int64_t{y} * p.out_w + x;
  A slopes[kPixels];
  load_pixels(grad + image * p.out_plane() + pixel, p.out_w - x, p.aligned, slopes);
#pragma unroll
  for (int i = 0; i < kKernel; ++i) {
    A window[kPixels + kKernel - 1];
    read_row(p, input + image * p.in_plane(), y - p.pad_h + i, x - p.pad_w, window);
#pragma unroll
    for (int j = 0; j < kKernel; ++j) {
      A products[kPixels];
#pragma unroll
      for (int t = 0; t < kPixels; ++t) products[t] = slopes[t] * window[t + j];
      const int64_t plane = image * p.taps() + i * kKernel + j;
      store_pixels(output + plane * p.out_plane() + pixel, p.out_w - x, p.aligned, products);
    }
  }
}

// Block (32, 8).
template <typename T>
__global__ void __launch_bounds__(GeneralTile::threads, GeneralTile::resident)
    general_weight_gradient(ConvParams p, const T* grad, const T* input, T* output) {
  const int64_t image = blockIdx.x / p.tiles();
  const int tile = static_cast<int>(blockIdx.x % p.tiles());
  const int y = tile / p.tiles_x * GeneralTile::threads_y + threadIdx.y;
  const int x = tile % p.tiles_x * GeneralTile::threads_x + threadIdx.x;
  if (y >= p.out_h || x >= p.out_w) return;
  T* pixel = output + image * p.taps() * p.out_plane() + int64_t{y} * p.out_w + x;
  for_each_tap<false>(p, y, x, [&](int tap, bool there, int row, int column) {
    pixel[tap * p.out_plane()] =
        narrow<T>(tap_product(p, grad, input, image, y, x, there, row, column));
  });
}

// --- host ----------------------------------------------------------------------------------------

template <class Launcher>
void dynamic_conv(const Launcher& launch, const ConvPlan& plan, ScalarKind scalar,
                  const ConvShape& shape, const void* x, const void* weight, void* y) {
  const bool aligned =
      vectors_fit(shape.out_w, plan.pixels, scalar_bytes(scalar), {weight, y});
  const ConvParams p = conv_params(shape, plan, ConvRole::forward, scalar, aligned, {x});
  with_variant(
      plan, scalar,
      [&](auto type) {
        using T = typename decltype(type)::type;
        launch(general_conv<T, false, DenseWeights<T>>, grid_of(plan), p,
               static_cast<const T*>(x), DenseWeights<T>{static_cast<const T*>(weight)},
               static_cast<T*>(y));
      },
      [&](auto type, auto kernel) {
        using T = typename decltype(type)::type;
        const auto run = [&](auto function) {
          launch(function, grid_of(plan), p, static_cast<const T*>(x),
                 DenseWeights<T>{static_cast<const T*>(weight)}, static_cast<T*>(y));
        };
        if (plan.variant == Variant::streaming) {
          run(streaming_conv<T, kernel(), false, DenseWeights<T>>);
        } else {
          run(staged_conv<T, kernel(), DenseWeights<T>>);
        }
      });
}

template <class Launcher>
void dynamic_conv_grad_input(const Launcher& launch, const ConvPlan& plan, ScalarKind scalar,
                             const ConvShape& shape, const void* grad, const void* weight,
                             void* grad_x) {
  const bool aligned = vectors_fit(shape.in_w, plan.pixels, scalar_bytes(scalar), {grad_x});
  const ConvParams p = conv_params(shape, plan, ConvRole::grad_input, scalar, aligned, {grad});
  with_variant(
      plan, scalar,
      [&](auto type) {
        using T = typename decltype(type)::type;
        launch(general_conv<T, true, DenseWeights<T>>, grid_of(plan), p,
               static_cast<const T*>(grad), DenseWeights<T>{static_cast<const T*>(weight)},
               static_cast<T*>(grad_x));
      },
      [&](auto type, auto kernel) {
        using T = typename decltype(type)::type;
        using Weights = MirroredDenseWeights<T>;
        const auto run = [&](auto function) {
          launch(function, grid_of(plan), p, static_cast<const T*>(grad),
                 Weights{static_cast<const T*>(weight)}, static_cast<T*>(grad_x));
        };
        if (plan.variant == Variant::streaming) {
          run(streaming_conv<T, kernel(), true, Weights>);
        } else {
          run(staged_conv<T, kernel(), Weights>);
        }
      });
}

template <class Launcher>
void dynamic_conv_grad_weight(const Launcher& launch, const ConvPlan& plan, ScalarKind scalar,
                              const ConvShape& shape, const void* grad, const void* x,
                              void* grad_weight) {
  const bool aligned =
      vectors_fit(shape.out_w, plan.pixels, scalar_bytes(scalar), {grad, grad_weight});
  const ConvParams p = conv_params(shape, plan, ConvRole::correlate, scalar, aligned, {x});
  with_variant(
      plan, scalar,
      [&](auto type) {
        using T = typename decltype(type)::type;
        launch(general_weight_gradient<T>, grid_of(plan), p, static_cast<const T*>(grad),
               static_cast<const T*>(x), static_cast<T*>(grad_weight));
      },
      [&](auto type, auto kernel) {
        using T = typename decltype(type)::type;
        if (plan.variant == Variant::streaming) {
          launch(streaming_correlation<T, kernel()>, grid_of(plan), p,
                 static_cast<const T*>(grad), static_cast<const T*>(x),
                 static_cast<T*>(grad_weight));
        } else {
          launch(staged_correlation<T, kernel(), WeightGradient<T>>, grid_of(plan), p,
                 static_cast<const T*>(grad), static_cast<const T*>(x),
                 WeightGradient<T>{static_cast<T*>(grad_weight)});
        }
      });
}

}  // namespace ksdiff_ops::cuda

// lowrank_dynamic_conv on a GPU: dynamic_conv with w[i,p] = sum_r coeff[r,p] * basis[r,i]. The
// kernels are mixed in registers, or their gradient is projected from registers; they are never
// in memory. Host functions at the end start the kernel that a plan names.
#pragma once

#include "dispatch.cuh"
#include "pixel_conv.cuh"

namespace ksdiff_ops::cuda {

// Coefficients [B, G, R, H, W], read at the output pixel, and basis kernels [B, G, R, kh, kw].
template <typename T>
struct LowRankWeights {
  using A = accumulate_t<T>;
  const T* coeff;
  const T* basis;

  static constexpr bool kThroughRing = false;

  // From clamped places where a pixel is not valid: what those threads compute is not stored.
  template <class Tile>
  __device__ __forceinline__ void gather(const ConvParams& p, int64_t image, int y, int x,
                                         StagedKernels<A, Tile>& kernels) const {
    clear<Tile>(kernels);
    const T* row = coeff + image * p.rank * p.out_plane() + int64_t{min(y, p.out_h - 1)} * p.out_w;
    const T* kernel = basis + image * p.rank * p.taps();
    // One plane ahead, so that its load is under way while this one is mixed.
    Vector<T, Tile::pixels> next;
    if (p.rank > 0) next = read<Tile>(p, row, x);
    for (int r = 0; r < p.rank; ++r) {
      const Vector<T, Tile::pixels> shares = next;
      if (r + 1 < p.rank) next = read<Tile>(p, row + (r + 1) * p.out_plane(), x);
#pragma unroll
      for (int i = 0; i < Tile::kernel; ++i) {
#pragma unroll
        for (int j = 0; j < Tile::kernel; ++j) {
          const A tap = load(kernel + r * p.taps() + i * Tile::kernel + j);
#pragma unroll
          for (int t = 0; t < Tile::pixels; ++t) {
            kernels[i][j][t] += tap * widen(shares.element[t]);
          }
        }
      }
    }
  }

  template <class Tile>
  __device__ __forceinline__ static Vector<T, Tile::pixels> read(const ConvParams& p, const T* row,
                                                                 int x) {
    if (p.aligned) return load_vector<T, Tile::pixels>(row + min(x, p.out_w - Tile::pixels));
    Vector<T, Tile::pixels> pixels;
#pragma unroll
    for (int t = 0; t < Tile::pixels; ++t) {
      pixels.element[t] = __ldg(row + min(x + t, p.out_w - 1));
    }
    return pixels;
  }

  __device__ __forceinline__ A at(const ConvParams& p, int64_t image, int tap, int64_t plane,
                                  int64_t pixel) const {
    A sum = 0;
    for (int r = 0; r < p.rank; ++r) {
      const int64_t term = image * p.rank + r;
      sum += load(coeff + term * plane + pixel) * load(basis + term * p.taps() + tap);
    }
    return sum;
  }
};

// The same in reverse order of taps, coefficients read at the input pixel that a reversed tap
// touches: their planes pass through shared memory as the image's do.
template <typename T>
struct MirroredLowRankWeights {
  using A = accumulate_t<T>;
  const T* coeff;
  const T* basis;

  static constexpr bool kThroughRing = true;

  template <class Tile, class Layout>
  __device__ __forceinline__ void gather(const ConvParams& p, int64_t image, int top, int left,
                                         Shared<T> ring, StagedKernels<A, Tile>& kernels) const {
    clear<Tile>(kernels);
    for_each_plane<Layout, T>(
        p.rank, ring,
        [&](int r, Shared<T> to) {
          const T* plane = coeff + (image * p.rank + r) * p.in_plane();
          copy_tile<Tile, Layout>(p, plane, top, left, to);
        },
        [] {},
        [&](int r, Shared<T> plane) {
          const T* last = basis + (image * p.rank + r + 1) * p.taps() - 1;
#pragma unroll
          for (int i = 0; i < Tile::kernel; ++i) {
            A window[Layout::window];
            read_window<Tile, Layout, T>(plane, i, window);
#pragma unroll
            for (int j = 0; j < Tile::kernel; ++j) {
              const A tap = load(last - (i * Tile::kernel + j));
#pragma unroll
              for (int t = 0; t < Tile::pixels; ++t) kernels[i][j][t] += tap * window[t + j];
            }
          }
        });
  }
};

// gradient[r, p] = sum over taps i of basis[r, i] * products[i, p], to planes [B, G, R, Ho, Wo].
template <typename T>
struct CoefficientGradient {
  using A = accumulate_t<T>;
  const T* basis;
  T* data;

  template <class Tile>
  __device__ __forceinline__ void take(const ConvParams& p, int64_t image, int, bool, int y, int x,
                                       int valid, const StagedKernels<A, Tile>& products) const {
    for (int r = 0; r < p.rank; ++r) {
      const T* kernel = basis + (image * p.rank + r) * p.taps();
      A sums[Tile::pixels] = {};
#pragma unroll
      for (int i = 0; i < Tile::kernel; ++i) {
#pragma unroll
        for (int j = 0; j < Tile::kernel; ++j) {
          const A tap = load(kernel + i * Tile::kernel + j);
#pragma unroll
          for (int t = 0; t < Tile::pixels; ++t) sums[t] += tap * products[i][j][t];
        }
      }
      T* row = data + (image * p.rank + r) * p.out_plane() + int64_t{y} * p.out_w;
      store_pixels(row + x, valid, p.aligned, sums);
    }
  }
};

// partial[split, r, i] = sum over the part's pixels p of coeff[r, p] * products[i, p]: every part
// adds its tiles, one after the other, to numbers of its own; `sum_parts` adds the parts.
template <typename T>
struct BasisGradient {
  using A = accumulate_t<T>;
  const T* coeff;
  A* partial;  // [B * G, splits, R, kh * kw]

  template <class Tile>
  __device__ __forceinline__ void take(const ConvParams& p, int64_t image, int split,
                                       bool first_tile, int y, int x, int valid,
                                       const StagedKernels<A, Tile>& products) const {
    const Shared<A> shared = shared_memory<A>();  // the ring, which has done its work by now
    constexpr int kTaps = Tile::kernel * Tile::kernel;
    constexpr int kWarps = Tile::threads / 32;
    const int thread = linear_thread();
    for (int r = 0; r < p.rank; ++r) {
      const T* plane = coeff + (image * p.rank + r) * p.out_plane();
      A shares[Tile::pixels];
      load_pixels(plane + int64_t{y} * p.out_w + x, valid, p.aligned, shares);
      __syncthreads();
#pragma unroll
      for (int i = 0; i < Tile::kernel; ++i) {
#pragma unroll
        for (int j = 0; j < Tile::kernel; ++j) {
          A sum = 0;
#pragma unroll
          for (int t = 0; t < Tile::pixels; ++t) sum += shares[t] * products[i][j][t];
          sum = warp_sum(sum);
          if (thread % 32 == 0) shared[thread / 32 * kTaps + i * Tile::kernel + j] = sum;
        }
      }
      __syncthreads();
      if (thread < kTaps) {
        A sum = 0;
        for (int warp = 0; warp < kWarps; ++warp) sum += shared[warp * kTaps + thread];
        A& total = partial[((image * p.splits + split) * p.rank + r) * kTaps + thread];
        total = first_tile ? sum : total + sum;
      }
    }
  }
};

// Block (32, 8). Products are computed again for every GeneralTile::ranks coefficients.
template <typename T>
__global__ void __launch_bounds__(GeneralTile::threads, GeneralTile::resident)
    general_coefficient_gradient(ConvParams p, const T* grad, const T* input, const T* basis,
                                 T* output) {
  using A = accumulate_t<T>;
  const int64_t image = blockIdx.x / p.tiles();
  const int tile = static_cast<int>(blockIdx.x % p.tiles());
  const int y = tile / p.tiles_x * GeneralTile::threads_y + threadIdx.y;
  const int x = tile % p.tiles_x * GeneralTile::threads_x + threadIdx.x;
  if (y >= p.out_h || x >= p.out_w) return;
  for (int r = 0; r < p.rank; r += GeneralTile::ranks) {
    const int ranks = min(GeneralTile::ranks, p.rank - r);
    const T* kernel = basis + (image * p.rank + r) * p.taps();
    A sums[GeneralTile::ranks] = {};
    for_each_tap<false>(p, y, x, [&](int tap, bool there, int row, int column) {
      const A product = tap_product(p, grad, input, image, y, x, there, row, column);
#pragma unroll
      for (int n = 0; n < GeneralTile::ranks; ++n) {
        if (n < ranks) sums[n] += product * load(kernel + n * p.taps() + tap);
      }
    });
    T* pixel = output + (image * p.rank + r) * p.out_plane() + int64_t{y} * p.out_w + x;
#pragma unroll
    for (int n = 0; n < GeneralTile::ranks; ++n) {
      if (n < ranks) pixel[n * p.out_plane()] = narrow<T>(sums[n]);
    }
  }
}

// Block (32, 8), grid: parts x groups x batch, each part taking every `splits`-th tile.
template <typename T>
__global__ void __launch_bounds__(GeneralTile::threads, GeneralTile::resident)
    general_basis_gradient(ConvParams p, const T* grad, const T* input, const T* coeff,
                           accumulate_t<T>* partial) {
  using A = accumulate_t<T>;
  constexpr int kWarps = GeneralTile::threads / 32;
  const Shared<A> shared = shared_memory<A>();
  const int thread = linear_thread();
  const int split = static_cast<int>(blockIdx.x % p.splits);
  const int64_t image = blockIdx.x / p.splits;
  for (int tile = split; tile < p.tiles(); tile += p.splits) {
    const int y = tile / p.tiles_x * GeneralTile::threads_y + threadIdx.y;
    const int x = tile % p.tiles_x * GeneralTile::threads_x + threadIdx.x;
    const bool inside = y < p.out_h && x < p.out_w;
    const T* pixel = coeff + image * p.rank * p.out_plane() + int64_t{y} * p.out_w + x;
    for_each_tap<false>(p, y, x, [&](int tap, bool there, int row, int column) {
      const A product =
          tap_product(p, grad, input, image, y, x, inside && there, row, column);
      for (int r = 0; r < p.rank; r += GeneralTile::ranks) {
        const int ranks = min(GeneralTile::ranks, p.rank - r);
        __syncthreads();
        for (int n = 0; n < ranks; ++n) {
          A sum = 0;
          if (inside) sum = product * load(pixel + (r + n) * p.out_plane());
          sum = warp_sum(sum);
          if (thread % 32 == 0) shared[n * kWarps + thread / 32] = sum;
        }
        __syncthreads();
        if (thread < ranks) {
          A sum = 0;
          for (int warp = 0; warp < kWarps; ++warp) sum += shared[thread * kWarps + warp];
          A& total =
              partial[((image * p.splits + split) * p.rank + r + thread) * p.taps() + tap];
          total = tile == split ? sum : total + sum;
        }
      }
    });
  }
}

constexpr int kSumThreads = 256;

// output[image, e] = sum over parts s of partial[image, s, e]. A thread per number.
template <typename T>
__global__ void __launch_bounds__(kSumThreads)
    sum_parts(const accumulate_t<T>* partial, int64_t count, int64_t per_image, int parts,
              T* output) {
  const int64_t index = int64_t{blockIdx.x} * kSumThreads + threadIdx.x;
  if (index >= count) return;
  const int64_t image = index / per_image;
  const accumulate_t<T>* part = partial + image * parts * per_image + index % per_image;
  accumulate_t<T> sum = 0;
  for (int s = 0; s < parts; ++s) sum += load(part + s * per_image);
  output[index] = narrow<T>(sum);
}

// --- host ----------------------------------------------------------------------------------------

template <class Launcher>
void lowrank_dynamic_conv(const Launcher& launch, const ConvPlan& plan, ScalarKind scalar,
                          const ConvShape& shape, const void* x, const void* coeff,
                          const void* basis, void* y) {
  const bool aligned = vectors_fit(shape.out_w, plan.pixels, scalar_bytes(scalar), {coeff, y});
  const ConvParams p = conv_params(shape, plan, ConvRole::forward, scalar, aligned, {x});
  const auto run = [&](auto type, auto function) {
    using T = typename decltype(type)::type;
    launch(function, grid_of(plan), p, static_cast<const T*>(x),
           LowRankWeights<T>{static_cast<const T*>(coeff), static_cast<const T*>(basis)},
           static_cast<T*>(y));
  };
  with_variant(
      plan, scalar,
      [&](auto type) {
        using T = typename decltype(type)::type;
        run(type, general_conv<T, false, LowRankWeights<T>>);
      },
      [&](auto type, auto kernel) {
        using T = typename decltype(type)::type;
        run(type, staged_conv<T, kernel(), LowRankWeights<T>>);
      });
}

template <class Launcher>
void lowrank_dynamic_conv_grad_input(const Launcher& launch, const ConvPlan& plan,
                                     ScalarKind scalar, const ConvShape& shape, const void* grad,
                                     const void* coeff, const void* basis, void* grad_x) {
  const bool aligned = vectors_fit(shape.in_w, plan.pixels, scalar_bytes(scalar), {grad_x});
  const ConvParams p = conv_params(shape, plan, ConvRole::grad_input, scalar, aligned,
                                   {grad, coeff});
  with_variant(
      plan, scalar,
      [&](auto type) {
        using T = typename decltype(type)::type;
        launch(general_conv<T, true, LowRankWeights<T>>, grid_of(plan), p,
               static_cast<const T*>(grad),
               LowRankWeights<T>{static_cast<const T*>(coeff), static_cast<const T*>(basis)},
               static_cast<T*>(grad_x));
      },
      [&](auto type, auto kernel) {
        using T = typename decltype(type)::type;
        using Weights = MirroredLowRankWeights<T>;
        launch(staged_conv<T, kernel(), Weights>, grid_of(plan), p, static_cast<const T*>(grad),
               Weights{static_cast<const T*>(coeff), static_cast<const T*>(basis)},
               static_cast<T*>(grad_x));
      });
}

template <class Launcher>
void lowrank_dynamic_conv_grad_coeff(const Launcher& launch, const ConvPlan& plan,
                                     ScalarKind scalar, const ConvShape& shape, const void* grad,
                                     const void* x, const void* basis, void* grad_coeff) {
  const bool aligned =
      vectors_fit(shape.out_w, plan.pixels, scalar_bytes(scalar), {grad, grad_coeff});
  const ConvParams p = conv_params(shape, plan, ConvRole::correlate, scalar, aligned, {x});
  with_variant(
      plan, scalar,
      [&](auto type) {
        using T = typename decltype(type)::type;
        launch(general_coefficient_gradient<T>, grid_of(plan), p, static_cast<const T*>(grad),
               static_cast<const T*>(x), static_cast<const T*>(basis),
               static_cast<T*>(grad_coeff));
      },
      [&](auto type, auto kernel) {
        using T = typename decltype(type)::type;
        using Sink = CoefficientGradient<T>;
        launch(staged_correlation<T, kernel(), Sink>, grid_of(plan), p,
               static_cast<const T*>(grad), static_cast<const T*>(x),
               Sink{static_cast<const T*>(basis), static_cast<T*>(grad_coeff)});
      });
}

// How many numbers of the accumulation type (double for float64, else float) the next function
// needs to keep its parts in.
inline int64_t grad_basis_workspace(const ConvPlan& plan, const ConvShape& shape) {
  return plan.blocks * shape.rank * shape.kernel_h * shape.kernel_w;
}

template <class Launcher>
void lowrank_dynamic_conv_grad_basis(const Launcher& launch, const ConvPlan& plan,
                                     ScalarKind scalar, const ConvShape& shape, const void* grad,
                                     const void* x, const void* coeff, void* workspace,
                                     void* grad_basis) {
  const bool aligned =
      vectors_fit(shape.out_w, plan.pixels, scalar_bytes(scalar), {grad, coeff});
  const ConvParams p = conv_params(shape, plan, ConvRole::reduce, scalar, aligned, {x});
  with_variant(
      plan, scalar,
      [&](auto type) {
        using T = typename decltype(type)::type;
        launch(general_basis_gradient<T>, grid_of(plan), p, static_cast<const T*>(grad),
               static_cast<const T*>(x), static_cast<const T*>(coeff),
               static_cast<accumulate_t<T>*>(workspace));
      },
      [&](auto type, auto kernel) {
        using T = typename decltype(type)::type;
        using Sink = BasisGradient<T>;
        launch(staged_correlation<T, kernel(), Sink>, grid_of(plan), p,
               static_cast<const T*>(grad), static_cast<const T*>(x),
               Sink{static_cast<const T*>(coeff), static_cast<accumulate_t<T>*>(workspace)});
      });
  const int64_t per_image = int64_t{shape.rank} * shape.kernel_h * shape.kernel_w;
  const int64_t count = shape.batch * shape.groups * per_image;
  with_scalar(scalar, [&](auto type) {
    using T = typename decltype(type)::type;
    launch(sum_parts<T>, Grid{ceil_div(count, kSumThreads), kSumThreads, 1, 0},
           static_cast<const accumulate_t<T>*>(workspace), count, per_image, plan.splits,
           static_cast<T*>(grad_basis));
  });
}

}  // namespace ksdiff_ops::cuda

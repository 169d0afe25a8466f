// The machinery that all per-pixel convolutions share. A kernel is a loop over tiles, channels and
// taps; where the per-pixel weights come from is a `Weights` object, where products go is a `Sink`.
//
//   conv:        output[c, p] = sum over taps i of weights[i, p] * input[c, p + i - pad]
//   correlation: product[i, p] = sum over channels c of grad[c, p] * input[c, p + i - pad]
//
// The gradient of the image is a conv too: with the taps in reverse order, the padding
// kernel - 1 - pad, and the weights read at the input pixel that they belong to ("mirrored"). It
// gathers, so it needs no atomics, and every result here is a fixed sequence of additions.
#pragma once

#include "../launch_plan.h"
#include "vocabulary.cuh"

namespace ksdiff_ops::cuda {

// What a kernel knows of the operands. Offsets of planes are 64 bits wide, those inside a row 32,
// and so are tiles: 2^31 of them would cover a terabyte.
struct ConvParams {
  int channels, groups, group_channels;
  int in_h, in_w;    // planes that are read with a halo
  int out_h, out_w;  // planes that are read or written pixel by pixel
  int kernel_h, kernel_w;
  int stride_h, stride_w;
  int pad_h, pad_w;
  int dilation_h, dilation_w;
  int rank;
  int tiles_x, tiles_y;
  int splits, split_channels;
  bool aligned;  // all vectors of pixels start on a multiple of their size
  bool pieces;   // and so do all pieces of rows that are staged

  __device__ __forceinline__ int taps() const { return kernel_h * kernel_w; }
  __device__ __forceinline__ int tiles() const { return tiles_x * tiles_y; }
  __device__ __forceinline__ int64_t in_plane() const { return int64_t{in_h} * in_w; }
  __device__ __forceinline__ int64_t out_plane() const { return int64_t{out_h} * out_w; }
};

// What one block does.
struct ConvBlock {
  int tile_x, tile_y;
  int64_t image;  // batch * groups + group: the kernels' index
  int64_t first;  // batch * channels + channel: the index of the first plane
  int channels;   // how many planes
};

__device__ __forceinline__ ConvBlock locate(const ConvParams& p) {
  ConvBlock block;
  unsigned index = blockIdx.x;
  block.tile_x = static_cast<int>(index % p.tiles_x);
  index /= p.tiles_x;
  block.tile_y = static_cast<int>(index % p.tiles_y);
  index /= p.tiles_y;
  const int first = static_cast<int>(index % p.splits) * p.split_channels;
  block.image = index / p.splits;
  block.first = block.image * p.group_channels + first;
  block.channels = min(p.split_channels, p.group_channels - first);
  return block;
}

__device__ __forceinline__ bool within(int index, int size) {
  return static_cast<unsigned>(index) < static_cast<unsigned>(size);
}

// --- staged: the image tile in shared memory, kernels in registers ------------------------------

// Starts to copy a plane's tile with its halo, zeros where it leaves the plane. What cannot be
// copied in whole pieces is copied number by number, halves through registers.
template <class Tile, class Layout, typename T>
__device__ __forceinline__ void copy_tile(const ConvParams& p, const T* plane, int top, int left,
                                          Shared<T> to) {
#pragma unroll
  for (int n = 0; n < Layout::copies; ++n) {
    const int piece = linear_thread() + n * Tile::threads;
    if (piece >= Layout::pieces) break;
    const int y = top + piece / Layout::row_pieces;
    const int x = left - Layout::lead + piece % Layout::row_pieces * Layout::piece;
    const bool row_within = within(y, p.in_h);
    const T* from = plane + (int64_t{y} * p.in_w + x);
    const Shared<T> target = to + piece * Layout::piece;
    if (p.pieces) {
      const bool there = row_within && within(x, p.in_w);
      copy_async<Layout::piece>(target, there ? from : plane, there);
    } else if constexpr (sizeof(T) == 4) {
#pragma unroll
      for (int e = 0; e < Layout::piece; ++e) {
        const bool there = row_within && within(x + e, p.in_w);
        copy_async<1>(target + e, there ? from + e : plane, there);
      }
    } else {
      Vector<T, Layout::piece> numbers;
#pragma unroll
      for (int e = 0; e < Layout::piece; ++e) {
        numbers.element[e] = narrow<T>(0);
        if (row_within && within(x + e, p.in_w)) numbers.element[e] = __ldg(from + e);
      }
      store_shared(target, numbers);
    }
  }
}

// Starts to copy a thread's own pixels of a plane, zeros in place of those that are not valid.
template <class Tile, typename T>
__device__ __forceinline__ void copy_pixels(const ConvParams& p, const T* plane, int y, int x,
                                            int valid, Shared<T> to) {
  const T* from = plane + (int64_t{y} * p.out_w + x);
  if (p.aligned) {
    copy_async<Tile::pixels>(to, valid > 0 ? from : plane, valid > 0);
  } else {
    Vector<T, Tile::pixels> pixels;
#pragma unroll
    for (int t = 0; t < Tile::pixels; ++t) {
      pixels.element[t] = narrow<T>(0);
      if (t < valid) pixels.element[t] = __ldg(from + t);
    }
    store_shared(to, pixels);
  }
}

// Brings `count` planes through the ring at `ring`: `copy(n, to)` starts the copies of plane n,
// `meanwhile()` is done while the first are under way, `use(n, plane)` when plane n is there.
template <class Layout, typename T, class Copy, class Meanwhile, class Use>
__device__ __forceinline__ void for_each_plane(int count, Shared<T> ring, Copy copy,
                                               Meanwhile meanwhile, Use use) {
  constexpr int kStage = Layout::planes * Layout::plane;
  const auto copy_stage = [&](int first, int stage) {
#pragma unroll
    for (int n = 0; n < Layout::planes; ++n) {
      if (first + n < count) copy(first + n, ring + stage * kStage + n * Layout::plane);
    }
    close_copies();
  };
  __syncthreads();  // the ring may still be in use
#pragma unroll
  for (int stage = 0; stage < Layout::stages - 1; ++stage) {
    copy_stage(stage * Layout::planes, stage);
  }
  meanwhile();
  int stage = 0;
  for (int first = 0; first < count; first += Layout::planes) {
    wait_for_copies<Layout::stages - 2>();
    __syncthreads();
    // The stage before this one is free: all threads have passed the barrier after its use.
    const int before = (stage == 0 ? Layout::stages : stage) - 1;
    copy_stage(first + (Layout::stages - 1) * Layout::planes, before);
#pragma unroll 1
    for (int n = 0; n < min(Layout::planes, count - first); ++n) {
      use(first + n, ring + stage * kStage + n * Layout::plane);
    }
    stage = stage == Layout::stages - 1 ? 0 : stage + 1;
  }
}

// The row of pixels that a thread's taps of kernel row `i` slide over.
template <class Tile, class Layout, typename T>
__device__ __forceinline__ void read_window(Shared<T> plane, int i,
                                            accumulate_t<T> (&window)[Layout::window]) {
  const Shared<T> row = plane + ((threadIdx.y + i) * Layout::pitch + Layout::lead - Layout::skip +
                                 threadIdx.x * Tile::pixels);
  Vector<T, Tile::pixels> parts[Layout::parts];
#pragma unroll
  for (int n = 0; n < Layout::parts; ++n) {
    parts[n] = load_shared<Tile::pixels, T>(row + n * Tile::pixels);
  }
#pragma unroll
  for (int n = 0; n < Layout::window; ++n) {
    const int place = Layout::skip + n;
    window[n] = widen(parts[place / Tile::pixels].element[place % Tile::pixels]);
  }
}

template <typename A, class Tile>
using StagedKernels = A[Tile::kernel][Tile::kernel][Tile::pixels];

template <class Tile, typename A>
__device__ __forceinline__ void clear(StagedKernels<A, Tile>& kernels) {
#pragma unroll
  for (int i = 0; i < Tile::kernel; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::kernel; ++j) {
#pragma unroll
      for (int t = 0; t < Tile::pixels; ++t) kernels[i][j][t] = 0;
    }
  }
}

// Block (16, 8), grid: tiles x channel parts x groups x batch.
template <typename T, int kKernel, class Weights>
__global__ void __launch_bounds__(StagedTile<kKernel>::threads, StagedTile<kKernel>::resident)
    staged_conv(ConvParams p, const T* input, Weights weights, T* output) {
  using A = accumulate_t<T>;
  using Tile = StagedTile<kKernel>;
  using Layout = StagedLayout<Tile, sizeof(T), false>;
  const Shared<T> ring = shared_memory<T>();
  const ConvBlock block = locate(p);
  const int top = block.tile_y * Tile::height - p.pad_h;
  const int left = block.tile_x * Tile::width - p.pad_w;
  const int y = block.tile_y * Tile::height + threadIdx.y;
  const int x = block.tile_x * Tile::width + threadIdx.x * Tile::pixels;
  const int valid = y < p.out_h ? p.out_w - x : 0;

  StagedKernels<A, Tile> kernels;
  if constexpr (Weights::kThroughRing) {
    weights.template gather<Tile, Layout>(p, block.image, top, left, ring, kernels);
  }
  for_each_plane<Layout, T>(
      block.channels, ring,
      [&](int c, Shared<T> to) {
        copy_tile<Tile, Layout>(p, input + (block.first + c) * p.in_plane(), top, left, to);
      },
      [&] {
        if constexpr (!Weights::kThroughRing) {
          weights.template gather<Tile>(p, block.image, y, x, kernels);
        }
      },
      [&](int c, Shared<T> plane) {
        if (valid <= 0) return;
        A sums[Tile::pixels] = {};
#pragma unroll
        for (int i = 0; i < kKernel; ++i) {
          A window[Layout::window];
          read_window<Tile, Layout, T>(plane, i, window);
#pragma unroll
          for (int j = 0; j < kKernel; ++j) {
#pragma unroll
            for (int t = 0; t < Tile::pixels; ++t) sums[t] += kernels[i][j][t] * window[t + j];
          }
        }
        T* row = output + (block.first + c) * p.out_plane() + int64_t{y} * p.out_w;
        store_pixels(row + x, valid, p.aligned, sums);
      });
}

// Block (16, 8), grid: parts x groups x batch, each part taking every `splits`-th tile.
template <typename T, int kKernel, class Sink>
__global__ void __launch_bounds__(StagedTile<kKernel>::threads, StagedTile<kKernel>::resident)
    staged_correlation(ConvParams p, const T* grad, const T* input, Sink sink) {
  using A = accumulate_t<T>;
  using Tile = StagedTile<kKernel>;
  using Layout = StagedLayout<Tile, sizeof(T), true>;
  const Shared<T> ring = shared_memory<T>();
  const int own = Layout::image + linear_thread() * Tile::pixels;
  const int split = static_cast<int>(blockIdx.x % p.splits);
  const int64_t image = blockIdx.x / p.splits;
  const int64_t first = image * p.group_channels;

  for (int tile = split; tile < p.tiles(); tile += p.splits) {
    const int tile_x = tile % p.tiles_x;
    const int tile_y = tile / p.tiles_x;
    const int y = tile_y * Tile::height + threadIdx.y;
    const int x = tile_x * Tile::width + threadIdx.x * Tile::pixels;
    const int valid = y < p.out_h ? p.out_w - x : 0;

    StagedKernels<A, Tile> products = {};
    for_each_plane<Layout, T>(
        p.group_channels, ring,
        [&](int c, Shared<T> to) {
          copy_tile<Tile, Layout>(p, input + (first + c) * p.in_plane(),
                                  tile_y * Tile::height - p.pad_h, tile_x * Tile::width - p.pad_w,
                                  to);
          copy_pixels<Tile>(p, grad + (first + c) * p.out_plane(), y, x, valid, to + own);
        },
        [] {},
        [&](int, Shared<T> plane) {
          const auto slopes = load_shared<Tile::pixels, T>(plane + own);
#pragma unroll
          for (int i = 0; i < kKernel; ++i) {
            A window[Layout::window];
            read_window<Tile, Layout, T>(plane, i, window);
#pragma unroll
            for (int j = 0; j < kKernel; ++j) {
#pragma unroll
              for (int t = 0; t < Tile::pixels; ++t) {
                products[i][j][t] += widen(slopes.element[t]) * window[t + j];
              }
            }
          }
        });
    sink.template take<Tile>(p, image, split, tile == split, y, x, valid, products);
  }
}

// --- general: any kernel, stride and dilation; a thread per pixel --------------------------------

// Which input row (or column) each tap of one output row reads, tap by tap and without divisions.
// Transposed, the roles are turned round: which output row reads one input row through each tap.
template <bool kTransposed>
class SourceWalk {
 public:
  __device__ __forceinline__ SourceWalk(int out, int stride, int pad, int dilation)
      : stride_(stride) {
    if constexpr (kTransposed) {
      index_ = (out + pad) / stride;
      rest_ = (out + pad) % stride;
      step_ = dilation / stride;
      rest_step_ = dilation % stride;
      if (rest_ < 0) borrow();
    } else {
      index_ = out * stride - pad;
      step_ = dilation;
    }
  }

  __device__ __forceinline__ int index() const { return index_; }

  // Whether there is such a row among `size` of them: else the tap reads a zero.
  __device__ __forceinline__ bool there(int size) const {
    return rest_ == 0 && within(index_, size);
  }

  __device__ __forceinline__ void next() {
    if constexpr (kTransposed) {
      index_ -= step_;
      rest_ -= rest_step_;
      if (rest_ < 0) borrow();
    } else {
      index_ += step_;
    }
  }

 private:
  __device__ __forceinline__ void borrow() {
    rest_ += stride_;
    --index_;
  }

  int stride_;
  int index_;
  int rest_ = 0;
  int step_;
  int rest_step_ = 0;
};

// Calls body(tap, there, row, column) for every tap of one output pixel, with the input pixel that
// it reads.
template <bool kTransposed, class Body>
__device__ __forceinline__ void for_each_tap(const ConvParams& p, int y, int x, Body body) {
  using Walk = SourceWalk<kTransposed>;
  Walk row(y, p.stride_h, p.pad_h, p.dilation_h);
  const Walk first(x, p.stride_w, p.pad_w, p.dilation_w);
  int tap = 0;
  for (int i = 0; i < p.kernel_h; ++i, row.next()) {
    Walk column = first;
    for (int j = 0; j < p.kernel_w; ++j, ++tap, column.next()) {
      body(tap, row.there(p.in_h) && column.there(p.in_w), row.index(), column.index());
    }
  }
}

// Block (32, 8), grid: tiles x channel parts x groups x batch.
template <typename T, bool kTransposed, class Weights>
__global__ void __launch_bounds__(GeneralTile::threads, GeneralTile::resident)
    general_conv(ConvParams p, const T* input, Weights weights, T* output) {
  using A = accumulate_t<T>;
  const ConvBlock block = locate(p);
  const int y = block.tile_y * GeneralTile::threads_y + threadIdx.y;
  const int x = block.tile_x * GeneralTile::threads_x + threadIdx.x;
  if (y >= p.out_h || x >= p.out_w) return;
  for (int c = 0; c < block.channels; c += GeneralTile::channels) {
    const int planes = min(GeneralTile::channels, block.channels - c);
    const T* image = input + (block.first + c) * p.in_plane();
    A sums[GeneralTile::channels] = {};
    for_each_tap<kTransposed>(p, y, x, [&](int tap, bool there, int row, int column) {
      if (!there) return;
      const int64_t source = int64_t{row} * p.in_w + column;
      const int64_t pixel = kTransposed ? source : int64_t{y} * p.out_w + x;
      const int64_t plane = kTransposed ? p.in_plane() : p.out_plane();
      const A weight = weights.at(p, block.image, tap, plane, pixel);
#pragma unroll
      for (int n = 0; n < GeneralTile::channels; ++n) {
        if (n < planes) sums[n] += weight * load(image + n * p.in_plane() + source);
      }
    });
    T* pixel = output + (block.first + c) * p.out_plane() + int64_t{y} * p.out_w + x;
#pragma unroll
    for (int n = 0; n < GeneralTile::channels; ++n) {
      if (n < planes) pixel[n * p.out_plane()] = narrow<T>(sums[n]);
    }
  }
}

// product[i, p] of one output pixel and the input pixel that a tap reads there.
template <typename T>
__device__ __forceinline__ accumulate_t<T> tap_product(const ConvParams& p, const T* grad,
                                                       const T* input, int64_t image, int y, int x,
                                                       bool there, int row, int column) {
  if (!there) return 0;
  const T* slope = grad + image * p.group_channels * p.out_plane() + int64_t{y} * p.out_w + x;
  const T* pixel = input + image * p.group_channels * p.in_plane() + int64_t{row} * p.in_w + column;
  accumulate_t<T> sum = 0;
  for (int c = 0; c < p.group_channels; ++c) {
    sum += load(slope + c * p.out_plane()) * load(pixel + c * p.in_plane());
  }
  return sum;
}

}  // namespace ksdiff_ops::cuda

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

// What a kernel knows of the operands. Offsets of planes are 64 bits wide, those inside a row 32.
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
  int splits, split_channels, stage_planes;
  bool aligned;  // all vectors of pixels start on a multiple of their size

  __device__ __forceinline__ int taps() const { return kernel_h * kernel_w; }
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

// Which input row (or column) tap `tap` of output row `out` reads; false where it reads a zero.
// Transposed, the roles are turned round: which output row reads input row `out` through `tap`.
template <bool kTransposed>
__device__ __forceinline__ bool source_index(int out, int tap, int stride, int pad, int dilation,
                                             int size, int& source) {
  int64_t index;
  if constexpr (kTransposed) {
    index = int64_t{out} + pad - int64_t{tap} * dilation;
    if (index < 0 || index % stride != 0) return false;
    index /= stride;
  } else {
    index = int64_t{out} * stride + int64_t{tap} * dilation - pad;
    if (index < 0) return false;
  }
  source = static_cast<int>(index);
  return index < size;
}

// --- staged: the image tile in shared memory, kernels in registers ------------------------------

// Copies a tile with its halo out of `count` consecutive planes, zeros where it leaves the plane.
template <class Tile, typename T>
__device__ __forceinline__ void stage(const ConvParams& p, const T* planes, int count, int top,
                                      int left, accumulate_t<T>* shared) {
  for (int n = 0; n < count; ++n) {
    const T* plane = planes + n * p.in_plane();
    accumulate_t<T>* staged = shared + n * Tile::rows * Tile::pitch;
#pragma unroll
    for (int r = threadIdx.y; r < Tile::rows; r += Tile::threads_y) {
      const int y = top + r;
      const T* row = plane + int64_t{y} * p.in_w;
      const bool row_within = within(y, p.in_h);
#pragma unroll
      for (int c = threadIdx.x; c < Tile::columns; c += Tile::threads_x) {
        const int x = left + c;
        accumulate_t<T> value = 0;
        if (row_within && within(x, p.in_w)) value = load(row + x);
        staged[r * Tile::pitch + c] = value;
      }
    }
  }
}

// The row of pixels that a thread's taps of one kernel row slide over.
template <class Tile, typename A>
__device__ __forceinline__ void read_window(const A* row, A (&window)[Tile::window]) {
#pragma unroll
  for (int part = 0; part < Tile::window; part += Tile::pixels) {
    using Part = Vector<A, Tile::pixels>;
    const Part loaded = *reinterpret_cast<const Part*>(row + part);
#pragma unroll
    for (int t = 0; t < Tile::pixels; ++t) window[part + t] = loaded.element[t];
  }
}

template <typename A, class Tile>
using StagedKernels = A[Tile::kernel][Tile::kernel][Tile::pixels];

// Block (16, 8), grid: tiles x channel parts x groups x batch.
template <typename T, int kKernel, class Weights>
__global__ void __launch_bounds__(StagedTile<kKernel>::threads, StagedTile<kKernel>::resident)
    staged_conv(ConvParams p, const T* input, Weights weights, T* output) {
  using A = accumulate_t<T>;
  using Tile = StagedTile<kKernel>;
  A* shared = shared_memory<A>();
  const ConvBlock block = locate(p);
  const int top = block.tile_y * Tile::height - p.pad_h;
  const int left = block.tile_x * Tile::width - p.pad_w;
  const int y = block.tile_y * Tile::height + threadIdx.y;
  const int x = block.tile_x * Tile::width + threadIdx.x * Tile::pixels;
  const int valid = y < p.out_h ? p.out_w - x : 0;

  StagedKernels<A, Tile> kernels;
  weights.template gather<Tile>(p, block.image, y, x, valid, shared, kernels);

  for (int c = 0; c < block.channels; c += p.stage_planes) {
    const int planes = min(p.stage_planes, block.channels - c);
    __syncthreads();
    stage<Tile>(p, input + (block.first + c) * p.in_plane(), planes, top, left, shared);
    __syncthreads();
    if (valid <= 0) continue;
    for (int n = 0; n < planes; ++n) {
      const A* corner = shared + (n * Tile::rows + threadIdx.y) * Tile::pitch +
                        threadIdx.x * Tile::pixels;
      A sums[Tile::pixels] = {};
#pragma unroll
      for (int i = 0; i < kKernel; ++i) {
        A window[Tile::window];
        read_window<Tile>(corner + i * Tile::pitch, window);
#pragma unroll
        for (int j = 0; j < kKernel; ++j) {
#pragma unroll
          for (int t = 0; t < Tile::pixels; ++t) sums[t] += kernels[i][j][t] * window[t + j];
        }
      }
      T* row = output + (block.first + c + n) * p.out_plane() + int64_t{y} * p.out_w;
      store_pixels(row + x, valid, p.aligned, sums);
    }
  }
}

// Block (16, 8), grid: parts x groups x batch, each part taking every `splits`-th tile.
template <typename T, int kKernel, class Sink>
__global__ void __launch_bounds__(StagedTile<kKernel>::threads, StagedTile<kKernel>::resident)
    staged_correlation(ConvParams p, const T* grad, const T* input, Sink sink) {
  using A = accumulate_t<T>;
  using Tile = StagedTile<kKernel>;
  A* shared = shared_memory<A>();
  const int split = static_cast<int>(blockIdx.x % p.splits);
  const int64_t image = blockIdx.x / p.splits;
  const int64_t first = image * p.group_channels;
  const int64_t tiles = int64_t{p.tiles_x} * p.tiles_y;

  for (int64_t tile = split; tile < tiles; tile += p.splits) {
    const int tile_x = static_cast<int>(tile % p.tiles_x);
    const int tile_y = static_cast<int>(tile / p.tiles_x);
    const int y = tile_y * Tile::height + threadIdx.y;
    const int x = tile_x * Tile::width + threadIdx.x * Tile::pixels;
    const int valid = y < p.out_h ? p.out_w - x : 0;

    StagedKernels<A, Tile> products = {};
    for (int c = 0; c < p.group_channels; c += p.stage_planes) {
      const int planes = min(p.stage_planes, p.group_channels - c);
      __syncthreads();
      stage<Tile>(p, input + (first + c) * p.in_plane(), planes, tile_y * Tile::height - p.pad_h,
                  tile_x * Tile::width - p.pad_w, shared);
      __syncthreads();
      for (int n = 0; n < planes; ++n) {
        const T* row = grad + (first + c + n) * p.out_plane() + int64_t{y} * p.out_w;
        A slopes[Tile::pixels];
        load_pixels(row + x, valid, p.aligned, slopes);
        const A* corner = shared + (n * Tile::rows + threadIdx.y) * Tile::pitch +
                          threadIdx.x * Tile::pixels;
#pragma unroll
        for (int i = 0; i < kKernel; ++i) {
          A window[Tile::window];
          read_window<Tile>(corner + i * Tile::pitch, window);
#pragma unroll
          for (int j = 0; j < kKernel; ++j) {
#pragma unroll
            for (int t = 0; t < Tile::pixels; ++t) {
              products[i][j][t] += slopes[t] * window[t + j];
            }
          }
        }
      }
    }
    sink.template take<Tile>(p, image, split, tile == split, y, x, valid, shared, products);
  }
}

// --- general: any kernel, stride and dilation; a thread per pixel --------------------------------

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
    for (int i = 0; i < p.kernel_h; ++i) {
      int row;
      if (!source_index<kTransposed>(y, i, p.stride_h, p.pad_h, p.dilation_h, p.in_h, row)) {
        continue;
      }
      for (int j = 0; j < p.kernel_w; ++j) {
        int column;
        if (!source_index<kTransposed>(x, j, p.stride_w, p.pad_w, p.dilation_w, p.in_w, column)) {
          continue;
        }
        const int64_t source = int64_t{row} * p.in_w + column;
        const int64_t pixel = kTransposed ? source : int64_t{y} * p.out_w + x;
        const int64_t plane = kTransposed ? p.in_plane() : p.out_plane();
        const A weight = weights.at(p, block.image, i * p.kernel_w + j, plane, pixel);
#pragma unroll
        for (int n = 0; n < GeneralTile::channels; ++n) {
          if (n < planes) sums[n] += weight * load(image + n * p.in_plane() + source);
        }
      }
    }
    T* pixel = output + (block.first + c) * p.out_plane() + int64_t{y} * p.out_w + x;
#pragma unroll
    for (int n = 0; n < GeneralTile::channels; ++n) {
      if (n < planes) pixel[n * p.out_plane()] = narrow<T>(sums[n]);
    }
  }
}

// product[i, p] of one tap and one pixel.
template <typename T>
__device__ __forceinline__ accumulate_t<T> tap_product(const ConvParams& p, const T* grad,
                                                       const T* input, int64_t image, int tap,
                                                       int y, int x) {
  int row, column;
  if (!source_index<false>(y, tap / p.kernel_w, p.stride_h, p.pad_h, p.dilation_h, p.in_h, row) ||
      !source_index<false>(x, tap % p.kernel_w, p.stride_w, p.pad_w, p.dilation_w, p.in_w,
                           column)) {
    return 0;
  }
  const T* slope = grad + image * p.group_channels * p.out_plane() + int64_t{y} * p.out_w + x;
  const T* pixel = input + image * p.group_channels * p.in_plane() + int64_t{row} * p.in_w + column;
  accumulate_t<T> sum = 0;
  for (int c = 0; c < p.group_channels; ++c) {
    sum += load(slope + c * p.out_plane()) * load(pixel + c * p.in_plane());
  }
  return sum;
}

}  // namespace ksdiff_ops::cuda

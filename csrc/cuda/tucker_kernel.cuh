// tucker_kernel on a GPU: core x1 U1 x2 U2 x3 U3 x4 U4, times a base kernel, and its backward.
//
// The order of contraction keeps every intermediate product small: U2's rows first, because an
// output needs one row each, then the two kernel axes, then U1:
//   small[i, a, cd] = sum over b  of core[a, b, cd] * U2[i, b]
//   wide[a, i, hw]  = sum over cd of small[i, a, cd] * U3[h, c] * U4[w, d]
//   W[o, i, hw]     = base[o, i, hw] * sum over a of U1[o, a] * wide[a, i, hw]
#pragma once

#include "dispatch.cuh"
#include "vocabulary.cuh"

namespace ksdiff_ops::cuda {

template <typename T>
struct TuckerOperands {
  const T* core;  // [B, rank_out, rank_in, rank_h, rank_w]
  const T* u1;    // [B, out, rank_out]
  const T* u2;    // [B, in, rank_in]
  const T* u3;    // [B, kernel_h, rank_h]
  const T* u4;    // [B, kernel_w, rank_w]
  const T* base;  // [out, in, kernel_h, kernel_w] or null
};

template <typename T>
struct TuckerGradients {
  T* core;
  T* u1;
  T* u2;
  T* u3;
  T* u4;
  T* base;
};

// What the backward's first launch leaves for its second, per sample and input channel.
template <typename A>
struct TuckerWorkspace {
  A* small;       // [B, in, rank_out, rank_h * rank_w]
  A* grad_small;  // the same
  A* wide;        // [B, rank_out, in, kernel_h * kernel_w]
  A* grad_wide;   // the same
  A* part_h;      // [B, in, kernel_h, rank_h]: shares of U3's gradient
  A* part_w;      // [B, in, kernel_w, rank_w]: shares of U4's gradient
};

struct TuckerParams {
  int batch, out, in, kernel_h, kernel_w;
  int rank_out, rank_in, rank_h, rank_w;
  int tile_in, tile_out, tiles_in, tiles_out;  // forward only

  __device__ __forceinline__ int taps() const { return kernel_h * kernel_w; }
  __device__ __forceinline__ int ranks() const { return rank_h * rank_w; }
};

// small[i, a, cd] of sample b.
template <typename T>
__device__ __forceinline__ accumulate_t<T> contract_input(const TuckerParams& p,
                                                          const TuckerOperands<T>& from,
                                                          int64_t b, int i, int a, int cd) {
  const T* core = from.core + (b * p.rank_out + a) * p.rank_in * p.ranks() + cd;
  const T* row = from.u2 + (b * p.in + i) * p.rank_in;
  accumulate_t<T> sum = 0;
  for (int r = 0; r < p.rank_in; ++r) sum += load(core + r * p.ranks()) * load(row + r);
  return sum;
}

// wide[a, i, hw] of sample b, from small[i, a].
template <typename T, class Small>
__device__ __forceinline__ accumulate_t<T> contract_axes(const TuckerParams& p,
                                                         const TuckerOperands<T>& from, int64_t b,
                                                         const Small& small, int hw) {
  const T* row_h = from.u3 + (b * p.kernel_h + hw / p.kernel_w) * p.rank_h;
  const T* row_w = from.u4 + (b * p.kernel_w + hw % p.kernel_w) * p.rank_w;
  accumulate_t<T> sum = 0;
  for (int c = 0; c < p.rank_h; ++c) {
    accumulate_t<T> inner = 0;
    for (int d = 0; d < p.rank_w; ++d) inner += load(row_w + d) * small[c * p.rank_w + d];
    sum += load(row_h + c) * inner;
  }
  return sum;
}

// Block 256, grid: input tiles x output tiles x batch.
template <typename T>
__global__ void __launch_bounds__(TuckerBlock::threads, TuckerBlock::resident)
    tucker_forward(TuckerParams p, TuckerOperands<T> from, T* output) {
  using A = accumulate_t<T>;
  unsigned index = blockIdx.x;
  const int first_in = static_cast<int>(index % p.tiles_in) * p.tile_in;
  index /= p.tiles_in;
  const int first_out = static_cast<int>(index % p.tiles_out) * p.tile_out;
  const int64_t b = index / p.tiles_out;
  const int inputs = min(p.tile_in, p.in - first_in);
  const int outputs = min(p.tile_out, p.out - first_out);
  const int thread = threadIdx.x;
  const int taps = p.taps();
  const int columns = inputs * taps;

  const Shared<A> small = shared_memory<A>();                        // [inputs, rank_out, ranks]
  const Shared<A> wide = small + p.tile_in * p.rank_out * p.ranks();  // [rank_out, inputs * taps]
  for (int e = thread; e < inputs * p.rank_out * p.ranks(); e += TuckerBlock::threads) {
    const int pair = e / p.ranks();
    small[e] = contract_input(p, from, b, first_in + pair / p.rank_out, pair % p.rank_out,
                              e % p.ranks());
  }
  __syncthreads();
  for (int e = thread; e < p.rank_out * columns; e += TuckerBlock::threads) {
    const int a = e / columns;
    const int column = e % columns;
    wide[e] = contract_axes(p, from, b, small + (column / taps * p.rank_out + a) * p.ranks(),
                            column % taps);
  }
  __syncthreads();
  for (int e = thread; e < outputs * columns; e += TuckerBlock::threads) {
    const int64_t o = first_out + e / columns;
    const int column = e % columns;
    const T* row = from.u1 + (b * p.out + o) * p.rank_out;
    A sum = 0;
    for (int a = 0; a < p.rank_out; ++a) sum += load(row + a) * wide[a * columns + column];
    const int64_t kernel = (o * p.in + first_in) * taps + column;
    if (from.base != nullptr) sum *= load(from.base + kernel);
    output[b * p.out * p.in * taps + kernel] = narrow<T>(sum);
  }
}

// A thread per number, nothing kept: for ranks whose intermediate products fit nowhere.
template <typename T>
__global__ void __launch_bounds__(TuckerBlock::threads, TuckerBlock::resident)
    tucker_forward_plain(TuckerParams p, TuckerOperands<T> from, T* output) {
  using A = accumulate_t<T>;
  const int64_t index = int64_t{blockIdx.x} * TuckerBlock::threads + threadIdx.x;
  const int64_t per_sample = int64_t{p.out} * p.in * p.taps();
  if (index >= p.batch * per_sample) return;
  const int64_t b = index / per_sample;
  const int64_t kernel = index % per_sample;
  const int hw = static_cast<int>(kernel % p.taps());
  const int i = static_cast<int>(kernel / p.taps() % p.in);
  const int64_t o = kernel / p.taps() / p.in;
  const T* row_h = from.u3 + (b * p.kernel_h + hw / p.kernel_w) * p.rank_h;
  const T* row_w = from.u4 + (b * p.kernel_w + hw % p.kernel_w) * p.rank_w;
  A sum = 0;
  for (int a = 0; a < p.rank_out; ++a) {
    A wide = 0;
    for (int cd = 0; cd < p.ranks(); ++cd) {
      wide += load(row_h + cd / p.rank_w) * load(row_w + cd % p.rank_w) *
              contract_input(p, from, b, i, a, cd);
    }
    sum += load(from.u1 + (b * p.out + o) * p.rank_out + a) * wide;
  }
  if (from.base != nullptr) sum *= load(from.base + kernel);
  output[index] = narrow<T>(sum);
}

// The gradient of W before its base kernel, at `kernel` = (o * in + i) * taps + hw of sample b.
template <typename T>
__device__ __forceinline__ accumulate_t<T> slope(const TuckerParams& p, const T* grad,
                                                 const T* base, int64_t b, int64_t kernel) {
  const accumulate_t<T> value = load(grad + b * p.out * p.in * p.taps() + kernel);
  return base != nullptr ? value * load(base + kernel) : value;
}

// First launch of the backward. Block 256, grid: input channels x batch.
template <typename T>
__global__ void __launch_bounds__(TuckerBlock::threads, TuckerBlock::resident)
    tucker_backward_local(TuckerParams p, TuckerOperands<T> from, const T* grad, T* grad_u2,
                          TuckerWorkspace<accumulate_t<T>> work) {
  using A = accumulate_t<T>;
  const int64_t image = blockIdx.x;  // b * in + i
  const int64_t b = image / p.in;
  const int i = static_cast<int>(image % p.in);
  const int thread = threadIdx.x;
  const int taps = p.taps();
  const int ranks = p.ranks();
  A* small = work.small + image * p.rank_out * ranks;
  A* grad_small = work.grad_small + image * p.rank_out * ranks;
  // Row a of this input channel is `pitch` further than row a - 1.
  const int64_t pitch = int64_t{p.in} * taps;
  A* wide = work.wide + b * p.rank_out * pitch + i * taps;
  A* grad_wide = work.grad_wide + b * p.rank_out * pitch + i * taps;

  for (int e = thread; e < p.rank_out * ranks; e += TuckerBlock::threads) {
    small[e] = contract_input(p, from, b, i, e / ranks, e % ranks);
  }
  __syncthreads();
  for (int e = thread; e < p.rank_out * taps; e += TuckerBlock::threads) {
    const int a = e / taps;
    const int hw = e % taps;
    wide[a * pitch + hw] = contract_axes(p, from, b, small + a * ranks, hw);
    A sum = 0;
    for (int64_t o = 0; o < p.out; ++o) {
      sum += slope(p, grad, from.base, b, (o * p.in + i) * taps + hw) *
             load(from.u1 + (b * p.out + o) * p.rank_out + a);
    }
    grad_wide[a * pitch + hw] = sum;
  }
  __syncthreads();
  const T* u3 = from.u3 + b * p.kernel_h * p.rank_h;
  const T* u4 = from.u4 + b * p.kernel_w * p.rank_w;
  for (int e = thread; e < p.rank_out * ranks; e += TuckerBlock::threads) {
    const A* row = grad_wide + e / ranks * pitch;
    const int c = e % ranks / p.rank_w;
    const int d = e % p.rank_w;
    A sum = 0;
    for (int h = 0; h < p.kernel_h; ++h) {
      A inner = 0;
      for (int w = 0; w < p.kernel_w; ++w) {
        inner += row[h * p.kernel_w + w] * load(u4 + w * p.rank_w + d);
      }
      sum += inner * load(u3 + h * p.rank_h + c);
    }
    grad_small[e] = sum;
  }
  __syncthreads();

  // A warp per number: gradient of U2's row i, then this channel's shares of those of U3 and U4.
  const int lane = thread % 32;
  const int count_h = p.kernel_h * p.rank_h;
  const int count_w = p.kernel_w * p.rank_w;
  for (int e = thread / 32; e < p.rank_in + count_h + count_w; e += TuckerBlock::threads / 32) {
    A sum = 0;
    if (e < p.rank_in) {
      const T* core = from.core + (b * p.rank_out * p.rank_in + e) * ranks;
      for (int n = lane; n < p.rank_out * ranks; n += 32) {
        sum += grad_small[n] * load(core + int64_t{n / ranks} * p.rank_in * ranks + n % ranks);
      }
      sum = warp_sum(sum);
      if (lane == 0) grad_u2[image * p.rank_in + e] = narrow<T>(sum);
    } else if (e < p.rank_in + count_h) {
      const int h = (e - p.rank_in) / p.rank_h;
      const int c = (e - p.rank_in) % p.rank_h;
      for (int n = lane; n < p.rank_out * count_w; n += 32) {
        const int a = n / count_w;
        const int w = n % count_w / p.rank_w;
        const int d = n % p.rank_w;
        sum += grad_wide[a * pitch + h * p.kernel_w + w] * load(u4 + w * p.rank_w + d) *
               small[a * ranks + c * p.rank_w + d];
      }
      sum = warp_sum(sum);
      if (lane == 0) work.part_h[image * count_h + e - p.rank_in] = sum;
    } else {
      const int w = (e - p.rank_in - count_h) / p.rank_w;
      const int d = (e - p.rank_in - count_h) % p.rank_w;
      for (int n = lane; n < p.rank_out * count_h; n += 32) {
        const int a = n / count_h;
        const int h = n % count_h / p.rank_h;
        const int c = n % p.rank_h;
        sum += grad_wide[a * pitch + h * p.kernel_w + w] * load(u3 + h * p.rank_h + c) *
               small[a * ranks + c * p.rank_w + d];
      }
      sum = warp_sum(sum);
      if (lane == 0) work.part_w[image * count_w + e - p.rank_in - count_h] = sum;
    }
  }
}

// Which blocks of the second launch make what, in this order.
struct TuckerSumBlocks {
  int64_t u1, core, u3, u4;
};

// Sums a [B, in, count] array over its input channels, for number `index` of [B, count].
template <typename T>
__device__ __forceinline__ void sum_shares(const TuckerParams& p, const accumulate_t<T>* shares,
                                           int count, int64_t index, T* output) {
  if (index >= int64_t{p.batch} * count) return;
  const accumulate_t<T>* share = shares + index / count * p.in * count + index % count;
  accumulate_t<T> sum = 0;
  for (int i = 0; i < p.in; ++i) sum += load(share + int64_t{i} * count);
  output[index] = narrow<T>(sum);
}

// Second launch of the backward. Block 256.
template <typename T>
__global__ void __launch_bounds__(TuckerBlock::threads, TuckerBlock::resident)
    tucker_backward_sums(TuckerParams p, TuckerOperands<T> from, const T* grad,
                         TuckerWorkspace<accumulate_t<T>> work, TuckerSumBlocks blocks,
                         TuckerGradients<T> to) {
  using A = accumulate_t<T>;
  const int thread = threadIdx.x;
  const int64_t columns = int64_t{p.in} * p.taps();
  int64_t block = blockIdx.x;
  if (block < blocks.u1) {
    // A warp per number (b * out + o) * rank_out + a.
    const int64_t index = block * (TuckerBlock::threads / 32) + thread / 32;
    if (index >= int64_t{p.batch} * p.out * p.rank_out) return;
    const int64_t row = index / p.rank_out;
    const int64_t b = row / p.out;
    const int64_t o = row % p.out;
    const A* wide = work.wide + (b * p.rank_out + index % p.rank_out) * columns;
    A sum = 0;
    for (int64_t n = thread % 32; n < columns; n += 32) {
      sum += slope(p, grad, from.base, b, o * columns + n) * load(wide + n);
    }
    sum = warp_sum(sum);
    if (thread % 32 == 0) to.u1[index] = narrow<T>(sum);
    return;
  }
  block -= blocks.u1;
  if (block < blocks.core) {
    const int64_t index = block * TuckerBlock::threads + thread;
    const int64_t ranks = p.ranks();
    if (index >= int64_t{p.batch} * p.rank_out * p.rank_in * ranks) return;
    const int64_t cd = index % ranks;
    const int64_t r = index / ranks % p.rank_in;
    const int64_t a = index / (ranks * p.rank_in) % p.rank_out;
    const int64_t b = index / (ranks * p.rank_in * p.rank_out);
    const A* slopes = work.grad_small + (b * p.in * p.rank_out + a) * ranks + cd;
    const T* column = from.u2 + b * p.in * p.rank_in + r;
    A sum = 0;
    for (int64_t i = 0; i < p.in; ++i) {
      sum += load(slopes + i * p.rank_out * ranks) * load(column + i * p.rank_in);
    }
    to.core[index] = narrow<T>(sum);
    return;
  }
  block -= blocks.core;
  if (block < blocks.u3) {
    return sum_shares(p, work.part_h, p.kernel_h * p.rank_h, block * TuckerBlock::threads + thread,
                      to.u3);
  }
  block -= blocks.u3;
  if (block < blocks.u4) {
    return sum_shares(p, work.part_w, p.kernel_w * p.rank_w, block * TuckerBlock::threads + thread,
                      to.u4);
  }
  block -= blocks.u4;
  const int64_t index = block * TuckerBlock::threads + thread;  // (o * in + i) * taps + hw
  if (index >= p.out * columns) return;
  const int64_t o = index / columns;
  A sum = 0;
  for (int64_t b = 0; b < p.batch; ++b) {
    const A* wide = work.wide + b * p.rank_out * columns + index % columns;
    const T* row = from.u1 + (b * p.out + o) * p.rank_out;
    A kernel = 0;
    for (int64_t a = 0; a < p.rank_out; ++a) kernel += load(row + a) * load(wide + a * columns);
    sum += load(grad + b * p.out * columns + index) * kernel;
  }
  to.base[index] = narrow<T>(sum);
}

// --- host ----------------------------------------------------------------------------------------

inline TuckerParams tucker_params(const TuckerShape& s, const TuckerPlan& plan = {}) {
  return {static_cast<int>(s.batch), s.out,         s.in,           s.kernel_h,    s.kernel_w,
          s.rank_out,                s.rank_in,     s.rank_h,       s.rank_w,      plan.tile_in,
          plan.tile_out,             plan.tiles_in, plan.tiles_out};
}

// Untyped addresses in the order core, u1, u2, u3, u4, base; the last may be null.
struct TuckerAddresses {
  const void *core, *u1, *u2, *u3, *u4, *base;

  template <typename T>
  TuckerOperands<T> as() const {
    return {static_cast<const T*>(core), static_cast<const T*>(u1), static_cast<const T*>(u2),
            static_cast<const T*>(u3),   static_cast<const T*>(u4), static_cast<const T*>(base)};
  }
};

struct TuckerGradientAddresses {
  void *core, *u1, *u2, *u3, *u4, *base;

  template <typename T>
  TuckerGradients<T> as() const {
    return {static_cast<T*>(core), static_cast<T*>(u1), static_cast<T*>(u2),
            static_cast<T*>(u3),   static_cast<T*>(u4), static_cast<T*>(base)};
  }
};

template <class Launcher>
void tucker_kernel(const Launcher& launch, const TuckerPlan& plan, ScalarKind scalar,
                   const TuckerShape& shape, const TuckerAddresses& from, void* output) {
  const TuckerParams p = tucker_params(shape, plan);
  const Grid grid{plan.blocks, plan.threads, 1, plan.shared_bytes};
  with_scalar(scalar, [&](auto type) {
    using T = typename decltype(type)::type;
    if (plan.variant == TuckerVariant::shared) {
      launch(tucker_forward<T>, grid, p, from.as<T>(), static_cast<T*>(output));
    } else {
      launch(tucker_forward_plain<T>, grid, p, from.as<T>(), static_cast<T*>(output));
    }
  });
}

template <class Launcher>
void tucker_kernel_backward(const Launcher& launch, const TuckerBackwardPlan& plan,
                            ScalarKind scalar, const TuckerShape& shape, const void* grad,
                            const TuckerAddresses& from, void* workspace,
                            const TuckerGradientAddresses& to) {
  const TuckerParams p = tucker_params(shape);
  with_scalar(scalar, [&](auto type) {
    using T = typename decltype(type)::type;
    using A = accumulate_t<T>;
    A* next = static_cast<A*>(workspace);
    const auto take = [&next](int64_t count) {
      A* taken = next;
      next += count;
      return taken;
    };
    TuckerWorkspace<A> work;
    work.small = take(plan.small);
    work.grad_small = take(plan.small);
    work.wide = take(plan.wide);
    work.grad_wide = take(plan.wide);
    work.part_h = take(plan.part_h);
    work.part_w = take(plan.part_w);
    launch(tucker_backward_local<T>, Grid{plan.local_blocks, plan.threads, 1, 0}, p, from.as<T>(),
           static_cast<const T*>(grad), static_cast<T*>(to.u2), work);
    launch(tucker_backward_sums<T>, Grid{plan.sum_blocks, plan.threads, 1, 0}, p, from.as<T>(),
           static_cast<const T*>(grad), work,
           TuckerSumBlocks{plan.u1_blocks, plan.core_blocks, plan.u3_blocks, plan.u4_blocks},
           to.as<T>());
  });
}

}  // namespace ksdiff_ops::cuda

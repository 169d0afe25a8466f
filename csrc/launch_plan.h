// Which kernel variant, tile and grid run which shape on a GPU: plain host code, so that tests can
// ask for any plan without one.
#pragma once

#include <algorithm>
#include <cstdint>

namespace ksdiff_ops {

enum class ScalarKind { float32, float64, float16, bfloat16 };

constexpr int scalar_bytes(ScalarKind kind) {
  return kind == ScalarKind::float64 ? 8 : kind == ScalarKind::float32 ? 4 : 2;
}

struct DeviceLimits {
  int multiprocessors = 132;
  int shared_bytes = 227 * 1024;  // what one block may opt in to
};

constexpr int kDefaultSharedBytes = 48 * 1024;  // what a block gets without opting in
constexpr int64_t kMaxBlocks = (int64_t{1} << 31) - 1;
constexpr int kMaxExtent = 1 << 30;  // largest size of one axis: sums of two stay in 32 bits

constexpr int kRegistersPerMultiprocessor = 65536;

// The most registers a thread may use so that `resident` blocks share a multiprocessor; ptxas
// hands registers out by the eight, and at most 255 to a thread.
constexpr int register_budget(int threads, int resident) {
  const int share = kRegistersPerMultiprocessor / (threads * resident) / 8 * 8;
  return share < 255 ? share : 255;
}

constexpr int64_t ceil_div(int64_t value, int64_t step) { return (value + step - 1) / step; }

// --- per-pixel convolutions ---------------------------------------------------------------------

enum class Variant {
  staged,     // k x k kernel in registers, image tile with its halo in shared memory
  streaming,  // one channel per group: nothing to share, kernels go straight through
  general,    // any kernel size, stride, dilation and type; a thread per pixel
};

// What the kernel does with the three (or four) operands of a per-pixel convolution.
enum class ConvRole {
  forward,     // image and kernels -> output
  grad_input,  // output gradient and kernels -> image gradient: the forward form, mirrored
  correlate,   // output gradient and image -> one number per tap and pixel
  reduce,      // the same, summed over pixels with coefficients: the gradient of a basis
};

// The staged tile: 16 x 8 threads, each with `pixels` neighbours in a row. A thread keeps
// kernel * kernel * pixels numbers in registers, which is why 7 x 7 has two pixels, not four.
template <int kKernel>
struct StagedTile {
  static constexpr int kernel = kKernel;
  static constexpr int threads_x = 16;
  static constexpr int threads_y = 8;
  static constexpr int threads = threads_x * threads_y;
  // Blocks per multiprocessor, at least.
  static constexpr int resident = kKernel == 3 ? 4 : 2;
  static constexpr int pixels = kKernel == 7 ? 2 : 4;
  static constexpr int width = threads_x * pixels;
  static constexpr int height = threads_y;
  static constexpr int rows = height + kKernel - 1;
  static constexpr int columns = width + kKernel - 1;
};

// How a tile's planes lie in shared memory, in numbers of kBytes: a ring of stages, each of a few
// planes that are copied together, stages ahead of their use. A row is made of whole pieces, the
// widest that one instruction copies. It begins `lead` numbers before the tile's first column:
// where the padding is "same", pieces then begin on a multiple of their size in the image too.
// With kGrad every thread's own pixels of the output gradient follow the image's plane.
template <class Tile, int kBytes, bool kGrad>
struct StagedLayout {
  static constexpr int piece = 16 / kBytes;
  static constexpr int halo = Tile::kernel / 2;
  static constexpr int lead = static_cast<int>(ceil_div(halo, piece)) * piece - halo;
  static constexpr int row_pieces = static_cast<int>(ceil_div(lead + Tile::columns, piece));
  static constexpr int pitch = row_pieces * piece;
  static constexpr int pieces = Tile::rows * row_pieces;
  static constexpr int copies = static_cast<int>(ceil_div(pieces, Tile::threads));  // a thread's
  static constexpr int image = Tile::rows * pitch;
  static constexpr int plane = image + (kGrad ? Tile::height * Tile::width : 0);
  // A thread reads its window in vectors of `pixels`, from the last multiple before it.
  static constexpr int skip = lead % Tile::pixels;
  static constexpr int window = Tile::pixels + Tile::kernel - 1;
  static constexpr int parts = static_cast<int>(ceil_div(skip + window, Tile::pixels));
  static_assert(lead - skip + Tile::width - Tile::pixels + parts * Tile::pixels <= pitch);
  static constexpr int planes = 2;  // in a stage
  static constexpr int stage_bytes = planes * plane * kBytes;
  // Eight planes on their way at once keep the memory busy.
  static constexpr int stages = std::min(5, kDefaultSharedBytes / stage_bytes);
  static_assert(stages >= 3);
};

// The streaming tile: a vector of weights per thread, or, mirrored, a single one, because those
// are read at shifted, hence unaligned, places.
struct StreamingTile {
  static constexpr int threads_x = 16;
  static constexpr int threads_y = 8;
  static constexpr int threads = threads_x * threads_y;
  // Held without telling ptxas, which would hoist more loads than it has registers for.
  static constexpr int resident = 5;
  static constexpr int vector_bytes = 16;
};

struct GeneralTile {
  static constexpr int threads_x = 32;
  static constexpr int threads_y = 8;
  static constexpr int threads = threads_x * threads_y;
  static constexpr int resident = 3;
  static constexpr int channels = 4;  // accumulators per thread
  static constexpr int ranks = 8;     // accumulators per thread in gradients of a mixture
};

struct ConvShape {
  int64_t batch = 0;
  int channels = 0, groups = 1;
  int in_h = 0, in_w = 0;    // the image's planes
  int out_h = 0, out_w = 0;  // the output's planes, which are the kernels' planes too
  int kernel_h = 1, kernel_w = 1;
  int stride_h = 1, stride_w = 1;
  int pad_h = 0, pad_w = 0;  // above the first row, left of the first column
  int dilation_h = 1, dilation_w = 1;
  bool low_rank = false;     // kernels are mixtures of `rank` basis kernels per group
  int rank = 0;
};

struct ConvPlan {
  Variant variant = Variant::general;
  int kernel = 0;  // compile-time kernel size of the fast variants, else 0
  int pixels = 1;  // adjacent pixels per thread
  int threads_x = 1, threads_y = 1;
  int tile_w = 1, tile_h = 1;
  int tiles_x = 0, tiles_y = 0;
  int splits = 1;          // parts into which channels (or, for `reduce`, tiles) are cut
  int split_channels = 0;  // channels per part
  int shared_bytes = 0;
  int register_budget = 0;  // the most registers a thread of this variant may use
  int64_t blocks = 0;       // 0: nothing to do
};

namespace plan_detail {

constexpr int kLeastChannels = 4;  // that are worth reading the kernels once more
constexpr int kMaxReduceSplits = 128;  // independent of the device: the same sums everywhere

inline bool unit_square(const ConvShape& s) {
  return s.kernel_h == s.kernel_w && s.stride_h == 1 && s.stride_w == 1 && s.dilation_h == 1 &&
         s.dilation_w == 1 && (s.kernel_h == 3 || s.kernel_h == 5 || s.kernel_h == 7);
}

// `planes` pass through shared memory.
template <int kKernel, int kBytes, bool kGrad>
void use_staged_tile(ConvPlan& plan, int planes) {
  using Tile = StagedTile<kKernel>;
  using Layout = StagedLayout<Tile, kBytes, kGrad>;
  plan.pixels = Tile::pixels;
  plan.threads_x = Tile::threads_x;
  plan.threads_y = Tile::threads_y;
  plan.tile_w = Tile::width;
  plan.tile_h = Tile::height;
  const int stages = static_cast<int>(ceil_div(planes, Layout::planes));
  plan.shared_bytes = std::clamp(stages, 1, Layout::stages) * Layout::stage_bytes;
  plan.register_budget = register_budget(Tile::threads, Tile::resident);
}

template <int kBytes, bool kGrad>
void use_staged_tile(ConvPlan& plan, int planes) {
  if (plan.kernel == 3) use_staged_tile<3, kBytes, kGrad>(plan, planes);
  if (plan.kernel == 5) use_staged_tile<5, kBytes, kGrad>(plan, planes);
  if (plan.kernel == 7) use_staged_tile<7, kBytes, kGrad>(plan, planes);
}

inline void choose_tile(ConvPlan& plan, ScalarKind scalar, ConvRole role, int planes) {
  const bool mirrored = role == ConvRole::grad_input;
  const bool grad = role == ConvRole::correlate || role == ConvRole::reduce;
  switch (plan.variant) {
    case Variant::staged:
      if (scalar_bytes(scalar) == 2) {
        grad ? use_staged_tile<2, true>(plan, planes) : use_staged_tile<2, false>(plan, planes);
      } else {
        grad ? use_staged_tile<4, true>(plan, planes) : use_staged_tile<4, false>(plan, planes);
      }
      return;
    case Variant::streaming:
      plan.pixels = mirrored ? 1 : StreamingTile::vector_bytes / scalar_bytes(scalar);
      plan.threads_x = StreamingTile::threads_x;
      plan.threads_y = StreamingTile::threads_y;
      plan.register_budget = register_budget(StreamingTile::threads, StreamingTile::resident);
      break;
    case Variant::general:
      plan.pixels = 1;
      plan.threads_x = GeneralTile::threads_x;
      plan.threads_y = GeneralTile::threads_y;
      // A gradient that is summed over the block has a number per warp and rank.
      plan.shared_bytes =
          GeneralTile::threads / 32 * GeneralTile::ranks * static_cast<int>(sizeof(double));
      plan.register_budget = register_budget(GeneralTile::threads, GeneralTile::resident);
      break;
  }
  plan.tile_w = plan.threads_x * plan.pixels;
  plan.tile_h = plan.threads_y;
}

// Few, large tiles leave multiprocessors idle; channels are independent, so they can be spread
// over more blocks at the price of reading the kernels once more per part.
inline void split_channels(ConvPlan& plan, int group_channels, int64_t tiles, int processors) {
  const int64_t wanted = ceil_div(2 * int64_t{processors}, std::max<int64_t>(tiles, 1));
  const int64_t most = std::max<int64_t>(ceil_div(group_channels, plan_detail::kLeastChannels), 1);
  const int64_t parts = std::clamp<int64_t>(wanted, 1, most);
  plan.split_channels = std::max<int>(static_cast<int>(ceil_div(group_channels, parts)), 1);
  plan.splits = std::max<int>(static_cast<int>(ceil_div(group_channels, plan.split_channels)), 1);
}

}  // namespace plan_detail

// A padding beyond kernel - 1, or an output of any size, is as good as another: what lies outside
// is zero. Double precision takes the general variant: it serves tests of gradients, not training.
inline ConvPlan plan_conv(const ConvShape& shape, ConvRole role, ScalarKind scalar,
                          const DeviceLimits& limits = {}) {
  ConvPlan plan;
  const int group_channels = shape.groups > 0 ? shape.channels / shape.groups : 0;
  if (plan_detail::unit_square(shape) && scalar != ScalarKind::float64) {
    plan.variant =
        group_channels == 1 && !shape.low_rank ? Variant::streaming : Variant::staged;
    plan.kernel = shape.kernel_h;
  }
  // Coefficient planes pass through the same buffer as image planes.
  const int planes =
      role == ConvRole::grad_input ? std::max(group_channels, shape.rank) : group_channels;
  plan_detail::choose_tile(plan, scalar, role, planes);

  const bool to_image = role == ConvRole::grad_input;
  plan.tiles_x = static_cast<int>(ceil_div(to_image ? shape.in_w : shape.out_w, plan.tile_w));
  plan.tiles_y = static_cast<int>(ceil_div(to_image ? shape.in_h : shape.out_h, plan.tile_h));
  const int64_t tiles = int64_t{plan.tiles_x} * plan.tiles_y;
  const int64_t images = shape.batch * shape.groups;
  plan.split_channels = group_channels;
  switch (role) {
    case ConvRole::forward:
    case ConvRole::grad_input:
      plan_detail::split_channels(plan, group_channels, tiles * images, limits.multiprocessors);
      plan.blocks = group_channels > 0 ? tiles * images * plan.splits : 0;
      break;
    case ConvRole::correlate:
      plan.blocks = tiles * images;
      break;
    case ConvRole::reduce:
      plan.splits = static_cast<int>(std::min<int64_t>(tiles, plan_detail::kMaxReduceSplits));
      plan.blocks = images * plan.splits;
      break;
  }
  return plan;
}

// --- Tucker kernels -----------------------------------------------------------------------------

enum class TuckerVariant {
  shared,  // a block's intermediate products in shared memory
  plain,   // they do not fit: every number from scratch, right but slow
};

struct TuckerBlock {
  static constexpr int threads = 256;
  static constexpr int resident = 3;
};

struct TuckerShape {
  int64_t batch = 0;
  int out = 0, in = 0, kernel_h = 1, kernel_w = 1;
  int rank_out = 0, rank_in = 0, rank_h = 0, rank_w = 0;
};

struct TuckerPlan {
  TuckerVariant variant = TuckerVariant::plain;
  int threads = TuckerBlock::threads;
  int tile_in = 1, tile_out = 1;  // input and output channels per block
  int tiles_in = 0, tiles_out = 0;
  int shared_bytes = 0;
  int register_budget = ksdiff_ops::register_budget(TuckerBlock::threads, TuckerBlock::resident);
  int64_t blocks = 0;
};

// A block contracts the core with `tile_in` rows of U2, then with U3 and U4, and keeps both
// products; more tiles of output channels fill the GPU but each does that work again.
inline TuckerPlan plan_tucker(const TuckerShape& shape, ScalarKind scalar,
                              const DeviceLimits& limits = {}) {
  TuckerPlan plan;
  const int64_t taps = int64_t{shape.kernel_h} * shape.kernel_w;
  const int64_t bytes_per_input = shape.rank_out *
                                  (int64_t{shape.rank_h} * shape.rank_w + taps) *
                                  (scalar == ScalarKind::float64 ? 8 : 4);
  if (bytes_per_input > limits.shared_bytes) {
    const int64_t count = shape.batch * shape.out * shape.in * taps;
    plan.blocks = ceil_div(count, plan.threads);
    return plan;
  }
  plan.variant = TuckerVariant::shared;
  const int64_t fit = kDefaultSharedBytes / std::max<int64_t>(bytes_per_input, 1);
  plan.tile_in = static_cast<int>(std::clamp<int64_t>(std::min<int64_t>(fit, shape.in), 1, 8));
  plan.tiles_in = static_cast<int>(ceil_div(shape.in, plan.tile_in));
  plan.shared_bytes = static_cast<int>(plan.tile_in * bytes_per_input);
  const int64_t columns = std::max<int64_t>(shape.batch * plan.tiles_in, 1);
  const int64_t parts = std::clamp<int64_t>(ceil_div(2 * int64_t{limits.multiprocessors}, columns),
                                            1, std::max<int64_t>(ceil_div(shape.out, 8), 1));
  plan.tile_out = static_cast<int>(std::max<int64_t>(ceil_div(shape.out, parts), 1));
  plan.tiles_out = static_cast<int>(ceil_div(shape.out, plan.tile_out));
  plan.blocks = shape.batch * plan.tiles_in * plan.tiles_out;
  return plan;
}

// The backward takes two launches. In the first a block per sample and input channel rebuilds that
// channel's intermediate products and everything that is local to it; the second sums over input
// channels, kernel taps and samples: warps for the gradient of U1, threads for the rest.
struct TuckerBackwardPlan {
  int threads = TuckerBlock::threads;
  int register_budget = ksdiff_ops::register_budget(TuckerBlock::threads, TuckerBlock::resident);
  int64_t local_blocks = 0;
  // Blocks of the second launch, by what they produce.
  int64_t u1_blocks = 0, core_blocks = 0, u3_blocks = 0, u4_blocks = 0, base_blocks = 0;
  int64_t sum_blocks = 0;
  // Numbers of the accumulation type in the workspace, by kind; see TuckerWorkspace.
  int64_t small = 0, wide = 0, part_h = 0, part_w = 0;
  int64_t workspace = 0;
};

inline TuckerBackwardPlan plan_tucker_backward(const TuckerShape& s, bool has_base) {
  TuckerBackwardPlan plan;
  const int64_t taps = int64_t{s.kernel_h} * s.kernel_w;
  const int64_t ranks = int64_t{s.rank_h} * s.rank_w;
  plan.local_blocks = s.batch * s.in;
  plan.u1_blocks = ceil_div(s.batch * s.out * s.rank_out, plan.threads / 32);
  plan.core_blocks = ceil_div(s.batch * s.rank_out * s.rank_in * ranks, plan.threads);
  plan.u3_blocks = ceil_div(s.batch * s.kernel_h * s.rank_h, plan.threads);
  plan.u4_blocks = ceil_div(s.batch * s.kernel_w * s.rank_w, plan.threads);
  plan.base_blocks = has_base ? ceil_div(int64_t{s.out} * s.in * taps, plan.threads) : 0;
  plan.sum_blocks = plan.u1_blocks + plan.core_blocks + plan.u3_blocks + plan.u4_blocks +
                    plan.base_blocks;
  plan.small = plan.local_blocks * s.rank_out * ranks;
  plan.wide = plan.local_blocks * s.rank_out * taps;
  plan.part_h = plan.local_blocks * s.kernel_h * s.rank_h;
  plan.part_w = plan.local_blocks * s.kernel_w * s.rank_w;
  plan.workspace = 2 * plan.small + 2 * plan.wide + plan.part_h + plan.part_w;
  return plan;
}

}  // namespace ksdiff_ops

// The three walks behind every per-pixel convolution: kernels over an image (forward), kernels
// over an output gradient (gradient of the image), an output gradient over an image (gradient of
// the kernels). Where a tile of kernels comes from, and where a tile of their gradient goes, is a
// parameter: memory, or the product of coefficients and basis.
//
// A tile is some neighbouring pixels of one output row. Its kernels, [taps, pixels], stay in the
// first-level cache while all channels of the group use them.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "row_ring.h"
#include "tasks.h"

namespace ksdiff_ops::cpu {

struct Shape {
  int64_t batch, groups, channels;  // channels of one group
  int64_t height, width;            // of the image
  int64_t kernel_y, kernel_x;
  int64_t out_height, out_width;

  int64_t taps() const { return kernel_y * kernel_x; }
  int64_t image_plane() const { return height * width; }
  int64_t out_plane() const { return out_height * out_width; }
};

// At most so many, written anew for every row: a vector's look at its capacity takes as long as a
// short row.
template <class Item>
class Few {
 public:
  explicit Few(int64_t most) : items_(most) {}

  void clear() { size_ = 0; }
  void push_back(const Item& item) { items_[size_++] = item; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const Item* data() const { return items_.data(); }
  const Item* begin() const { return data(); }
  const Item* end() const { return data() + size_; }

 private:
  std::vector<Item> items_;
  size_t size_ = 0;
};

// One tap of the kernels at some neighbouring output pixels of a row.
struct Tap {
  int64_t index;
  int64_t row, column;  // of the first pixel; columns may lie outside, where kernels count as zero
};

using Taps = Few<Tap>;
using Offsets = Few<int64_t>;

// Rows that one task walks down. It follows from the shape alone: sums that are made per task are
// then the same for every number of threads.
inline int64_t rows_per_task(int64_t rows, int64_t images) {
  constexpr int64_t wanted_tasks = 32;
  return std::clamp<int64_t>(ceil_div(rows * images, wanted_tasks), 8, 64);
}

// Tile widths that keep the kernels in the first and the image's rows in the second cache,
// split evenly so that the last tile is no stub.
template <typename Real>
int64_t tile_width(int64_t columns, int64_t taps, int64_t image_rows) {
  constexpr int64_t first_cache = 28 * 1024, second_cache = 192 * 1024;
  const int64_t most = std::min<int64_t>(first_cache / (sizeof(Real) * std::max<int64_t>(taps, 1)),
                                         second_cache / (sizeof(Real) * std::max<int64_t>(image_rows, 1)));
  const int64_t width = std::clamp<int64_t>(most, 48, 1024);
  const int64_t tiles = std::max<int64_t>(1, ceil_div(columns, width));
  return round_up(ceil_div(columns, tiles), 16);
}

// Where the row functions may read or write a tensor themselves: numbers that need no rounding, and
// no half-filled vector at the end.
template <typename Real>
bool is_direct(Numbers numbers, int64_t pixels) {
  return numbers.bytes() == static_cast<int64_t>(sizeof(Real)) && pixels % kWidestVector == 0;
}

template <typename Real>
Real* direct_rows(Numbers numbers, void* out, int64_t index, int64_t pixels) {
  return is_direct<Real>(numbers, pixels) ? static_cast<Real*>(out) + index : nullptr;
}

// Where the taps of one kernel row find their column, when columns are split into phases.
struct ColumnTaps {
  std::vector<int64_t> phases;  // kept ones
  std::vector<int64_t> phase;   // [kernel_x] which of them
  std::vector<int64_t> shift;   // [kernel_x] columns to the right
  int64_t least = 0, most = 0;  // of the shifts

  ColumnTaps(int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
    for (int64_t tap = 0; tap < kernel; ++tap) {
      const int64_t start = tap * dilation - padding;
      const int64_t quotient = floor_div(start, stride);
      const int64_t remainder = start - quotient * stride;
      const auto found = std::find(phases.begin(), phases.end(), remainder);
      phase.push_back(found - phases.begin());
      if (found == phases.end()) phases.push_back(remainder);
      shift.push_back(quotient);
      least = tap == 0 ? quotient : std::min(least, quotient);
      most = tap == 0 ? quotient : std::max(most, quotient);
    }
  }
};

// Rows of the image that one output row's window spans.
inline int64_t forward_slots(const Shape& shape, const Window& window) {
  return std::clamp<int64_t>((shape.kernel_y - 1) * window.dilation_y + 1, 1,
                             std::max<int64_t>(shape.height, 1));
}

// `kept`: rows beside those of the image that every tile goes through.
template <typename Real>
int64_t forward_tile(const Shape& shape, const Window& window, int64_t kept) {
  const int64_t phases = std::min(window.stride_x, shape.kernel_x);
  return tile_width<Real>(shape.out_width, kept,
                          forward_slots(shape, window) * shape.channels * phases);
}

template <typename Real>
int64_t forward_tile(const Shape& shape, const Window& window) {
  return forward_tile<Real>(shape, window, shape.taps());
}

// Sums over taps of kernels that are brought in a tile at a time: `Kernels`, made from the last
// arguments, has start(image_index, least, width) and fill(taps, pixels, tile, pitch). It may have
// in_place(taps, pixels, places), too: what `places` count from, or null where it has to fill.
template <typename Real, class Kernels>
class KernelSums {
 public:
  template <class... Arguments>
  KernelSums(const Shape& shape, int64_t tile, Arguments&&... arguments)
      : kernels_(std::forward<Arguments>(arguments)...),
        pitch_(round_up(tile, kRowQuantum)),
        tile_(shape.taps() * pitch_),
        places_(shape.taps()),
        lanes_(shape.channels) {
    for (int64_t tap = 0; tap < shape.taps(); ++tap) shared_.push_back(tap * pitch_);
  }

  void start(int64_t image_index, int64_t least, int64_t width) {
    kernels_.start(image_index, least, width);
  }

  // out[c][p] = sum over taps of kernels[tap][p] * the ring's plane c[offset[tap] + p]
  void sum(const Taps& taps, RowRing<Real>& ring, const Offsets& offsets, int64_t pixels,
           Real* out, int64_t out_pitch) {
    const Real* kernels = nullptr;
    if constexpr (requires { kernels_.in_place(taps, pixels, places_); }) {
      kernels = kernels_.in_place(taps, pixels, places_);
    }
    const bool filled = kernels == nullptr;
    if (filled) kernels_.fill(taps, pixels, tile_.data(), pitch_);
    for (size_t c = 0; c < lanes_.size(); ++c) {
      lanes_[c] = static_cast<int64_t>(c) * ring.plane_pitch();
    }
    rows<Real>().contract({filled ? tile_.data() : kernels,
                           filled ? shared_.data() : places_.data(), ring.data(), lanes_.data(),
                           offsets.data(), out, out_pitch, static_cast<int>(lanes_.size()),
                           static_cast<int>(taps.size()), pixels});
  }

 private:
  Kernels kernels_;
  int64_t pitch_;
  Scratch<Real> tile_;
  std::vector<int64_t> shared_;
  Offsets places_;
  std::vector<int64_t> lanes_;
};

// out[c][p] = sum over taps of kernels[tap][p] * image[c][p * stride + tap * dilation - padding]
//
// `make_sums()` gives each thread an object like KernelSums.
template <typename Real, class MakeSums>
void walk_forward(const Shape& shape, const Window& window, Numbers numbers, const void* image,
                  void* out, int64_t tile, const MakeSums& make_sums) {
  const ColumnTaps columns(shape.kernel_x, window.stride_x, window.padding_x, window.dilation_x);
  const int64_t slots = forward_slots(shape, window);
  const int64_t rows = rows_per_task(shape.out_height, shape.batch * shape.groups);
  const int64_t chunks = ceil_div(shape.out_height, rows);
  const int64_t pitch = round_up(tile, kRowQuantum);

  for_tasks(shape.batch * shape.groups * chunks,
            rows * shape.out_width * shape.taps() * shape.channels, [&](int64_t begin, int64_t end) {
    RowRing<Real> ring(slots, shape.channels, columns.phases, window.stride_x,
                       tile + columns.most - columns.least);
    auto sums = make_sums();
    Scratch<Real> out_tile(shape.channels * pitch);
    Offsets terms(shape.taps());
    Taps taps(shape.taps());

    for (int64_t task = begin; task < end; ++task) {
      const int64_t image_index = task / chunks;  // of B * G
      const int64_t first_row = task % chunks * rows;
      const int64_t last_row = std::min(first_row + rows, shape.out_height);
      const Planes planes{numbers, image, image_index * shape.channels * shape.image_plane(),
                          shape.channels, shape.height, shape.width};
      for (int64_t x0 = 0; x0 < shape.out_width; x0 += tile) {
        const int64_t pixels = std::min(tile, shape.out_width - x0);
        ring.start(planes, x0 + columns.least);
        sums.start(image_index, x0, pixels);
        for (int64_t y = first_row; y < last_row; ++y) {
          taps.clear();
          terms.clear();
          for (int64_t i = 0; i < shape.kernel_y; ++i) {
            const int64_t row = y * window.stride_y + i * window.dilation_y - window.padding_y;
            if (row < 0 || row >= shape.height) continue;
            const int64_t offset = ring.offset_of(row);
            for (int64_t j = 0; j < shape.kernel_x; ++j) {
              taps.push_back({i * shape.kernel_x + j, y, x0});
              terms.push_back(offset + columns.phase[j] * ring.phase_pitch() + columns.shift[j] -
                              columns.least);
            }
          }
          const int64_t index =
              image_index * shape.channels * shape.out_plane() + y * shape.out_width + x0;
          Real* const direct = direct_rows<Real>(numbers, out, index, pixels);
          sums.sum(taps, ring, terms, pixels, direct ? direct : out_tile.data(),
                   direct ? shape.out_plane() : pitch);
          if (direct) continue;
          for (int64_t c = 0; c < shape.channels; ++c) {
            store_row(numbers, out_tile.data() + c * pitch, pixels, out,
                      index + c * shape.out_plane());
          }
        }
      }
    }
  });
}

// Columns of the image with the same remainder by the stride meet the same taps.
struct GradColumnTaps {
  struct Term {
    int64_t tap, shift;
  };
  std::vector<std::vector<Term>> terms;  // [stride]
  int64_t least = 0, most = 0;

  GradColumnTaps(int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
    bool any = false;
    for (int64_t phase = 0; phase < stride; ++phase) {
      terms.emplace_back();
      for (int64_t tap = 0; tap < kernel; ++tap) {
        const int64_t start = phase + padding - tap * dilation;
        const int64_t shift = floor_div(start, stride);
        if (shift * stride != start) continue;
        terms.back().push_back({tap, shift});
        least = any ? std::min(least, shift) : shift;
        most = any ? std::max(most, shift) : shift;
        any = true;
      }
    }
  }
};

inline int64_t grad_input_slots(const Shape& shape, const Window& window) {
  return std::clamp<int64_t>((shape.kernel_y - 1) * window.dilation_y / window.stride_y + 1, 1,
                             std::max<int64_t>(shape.out_height, 1));
}

inline int64_t grad_input_columns(const Shape& shape, const Window& window) {
  return ceil_div(shape.width, window.stride_x);
}

template <typename Real>
int64_t grad_input_tile(const Shape& shape, const Window& window) {
  return tile_width<Real>(grad_input_columns(shape, window), shape.taps(),
                          grad_input_slots(shape, window) * shape.channels);
}

// out[c][q] = sum over taps and pixels p with p * stride + tap * dilation - padding = q of
// kernels[tap][p] * grad[c][p]: a gather, so that no two threads write to one place.
template <typename Real, class MakeSums>
void walk_grad_input(const Shape& shape, const Window& window, Numbers numbers, const void* grad,
                     void* out, const MakeSums& make_sums) {
  const GradColumnTaps columns(shape.kernel_x, window.stride_x, window.padding_x,
                               window.dilation_x);
  const int64_t slots = grad_input_slots(shape, window);
  const int64_t tile = grad_input_tile<Real>(shape, window);
  const int64_t total_columns = grad_input_columns(shape, window);
  const int64_t rows = rows_per_task(shape.height, shape.batch * shape.groups);
  const int64_t chunks = ceil_div(shape.height, rows);
  const int64_t pitch = round_up(tile, kRowQuantum);
  const int64_t row_pitch = pitch * window.stride_x;

  for_tasks(shape.batch * shape.groups * chunks,
            rows * shape.width * shape.taps() * shape.channels, [&](int64_t begin, int64_t end) {
    RowRing<Real> ring(slots, shape.channels, {0}, 1, tile + columns.most - columns.least);
    auto sums = make_sums();
    Scratch<Real> phase_tile(shape.channels * pitch),
        out_tile(window.stride_x == 1 ? 0 : shape.channels * row_pitch);
    Offsets terms(shape.taps());
    Taps taps(shape.taps());

    for (int64_t task = begin; task < end; ++task) {
      const int64_t image_index = task / chunks;
      const int64_t first_row = task % chunks * rows;
      const int64_t last_row = std::min(first_row + rows, shape.height);
      const Planes planes{numbers, grad, image_index * shape.channels * shape.out_plane(),
                          shape.channels, shape.out_height, shape.out_width};
      for (int64_t t0 = 0; t0 < total_columns; t0 += tile) {
        const int64_t pixels = std::min(tile, total_columns - t0);
        ring.start(planes, t0 + columns.least);
        sums.start(image_index, t0 + columns.least, pixels + columns.most - columns.least);
        for (int64_t y = first_row; y < last_row; ++y) {
          const int64_t x0 = t0 * window.stride_x;
          const int64_t index =
              image_index * shape.channels * shape.image_plane() + y * shape.width + x0;
          Real* const direct =
              window.stride_x == 1 ? direct_rows<Real>(numbers, out, index, pixels) : nullptr;
          for (int64_t phase = 0; phase < window.stride_x; ++phase) {
            taps.clear();
            terms.clear();
            for (int64_t i = 0; i < shape.kernel_y; ++i) {
              const int64_t scaled = y + window.padding_y - i * window.dilation_y;
              const int64_t row = floor_div(scaled, window.stride_y);
              if (row * window.stride_y != scaled || row < 0 || row >= shape.out_height) continue;
              const int64_t offset = ring.offset_of(row);
              for (const auto& term : columns.terms[phase]) {
                taps.push_back({i * shape.kernel_x + term.tap, row, t0 + term.shift});
                terms.push_back(offset + term.shift - columns.least);
              }
            }
            sums.sum(taps, ring, terms, pixels, direct ? direct : phase_tile.data(),
                     direct ? shape.image_plane() : pitch);
            if (window.stride_x == 1) break;
            for (int64_t c = 0; c < shape.channels; ++c) {
              Real* const target = out_tile.data() + c * row_pitch + phase;
              const Real* const source = phase_tile.data() + c * pitch;
              for (int64_t t = 0; t < pixels; ++t) target[t * window.stride_x] = source[t];
            }
          }
          if (direct) continue;
          Real* const finished = window.stride_x == 1 ? phase_tile.data() : out_tile.data();
          for (int64_t c = 0; c < shape.channels; ++c) {
            store_row(numbers, finished + c * row_pitch,
                      std::min(pixels * window.stride_x, shape.width - x0), out,
                      index + c * shape.image_plane());
          }
        }
      }
    }
  });
}

// tile[tap][p] = sum over channels of grad[c][p] * image[c][p * stride + tap * dilation - padding]
//
// `make_sink()` gives each thread an object with start(task, image_index), take(tile, pitch, y,
// x0, pixels) and finish(task); the tile is zero from `pixels` up to the end of a vector. Tasks are
// numbered image by image, `correlate_chunks` to an image.
inline int64_t correlate_rows(const Shape& shape) {
  return rows_per_task(shape.out_height, shape.batch * shape.groups);
}

inline int64_t correlate_chunks(const Shape& shape) {
  return ceil_div(shape.out_height, correlate_rows(shape));
}

template <typename Real, class MakeSink>
void walk_correlate(const Shape& shape, const Window& window, Numbers numbers, const void* grad,
                    const void* image, const MakeSink& make_sink) {
  const ColumnTaps columns(shape.kernel_x, window.stride_x, window.padding_x, window.dilation_x);
  const int64_t slots = forward_slots(shape, window);
  const int64_t tile = forward_tile<Real>(shape, window);
  const int64_t rows = correlate_rows(shape);
  const int64_t chunks = correlate_chunks(shape);
  const int64_t pitch = round_up(tile, kRowQuantum);

  for_tasks(shape.batch * shape.groups * chunks,
            rows * shape.out_width * shape.taps() * shape.channels, [&](int64_t begin, int64_t end) {
    RowRing<Real> ring(slots, shape.channels, columns.phases, window.stride_x,
                       tile + columns.most - columns.least);
    RowRing<Real> grad_row(1, shape.channels, {0}, 1, tile);
    auto sink = make_sink();
    Scratch<Real> tap_tile(shape.taps() * pitch);
    Offsets terms(shape.channels), shared(shape.channels), lanes(shape.taps());
    for (int64_t c = 0; c < shape.channels; ++c) {
      terms.push_back(c * ring.plane_pitch());
      shared.push_back(c * grad_row.plane_pitch());
    }
    for (int64_t task = begin; task < end; ++task) {
      const int64_t image_index = task / chunks;
      const int64_t first_row = task % chunks * rows;
      const int64_t last_row = std::min(first_row + rows, shape.out_height);
      const int64_t first_plane = image_index * shape.channels;
      const Planes planes{numbers, image, first_plane * shape.image_plane(), shape.channels,
                          shape.height, shape.width};
      const Planes grads{numbers, grad, first_plane * shape.out_plane(), shape.channels,
                         shape.out_height, shape.out_width};
      sink.start(task, image_index);
      for (int64_t x0 = 0; x0 < shape.out_width; x0 += tile) {
        const int64_t pixels = std::min(tile, shape.out_width - x0);
        ring.start(planes, x0 + columns.least);
        grad_row.start(grads, x0);
        const int64_t end = round_up(pixels, kWidestVector);
        for (int64_t y = first_row; y < last_row; ++y) {
          grad_row.offset_of(y);
          int64_t from = shape.kernel_y, to = 0;  // kernel rows that meet the image
          lanes.clear();
          for (int64_t i = 0; i < shape.kernel_y; ++i) {
            const int64_t row = y * window.stride_y + i * window.dilation_y - window.padding_y;
            if (row < 0 || row >= shape.height) continue;
            from = std::min(from, i);
            to = i + 1;
            const int64_t offset = ring.offset_of(row);
            for (int64_t j = 0; j < shape.kernel_x; ++j) {
              lanes.push_back(offset + columns.phase[j] * ring.phase_pitch() + columns.shift[j] -
                              columns.least);
            }
          }
          from = std::min(from, to);
          Real* const tap_rows = tap_tile.data();
          std::fill(tap_rows, tap_rows + from * shape.kernel_x * pitch, Real{});
          std::fill(tap_rows + to * shape.kernel_x * pitch, tap_rows + shape.taps() * pitch,
                    Real{});
          cpu::rows<Real>().contract({grad_row.data(), shared.data(), ring.data(), lanes.data(),
                                      terms.data(), tap_rows + from * shape.kernel_x * pitch,
                                      pitch, static_cast<int>(lanes.size()),
                                      static_cast<int>(terms.size()), pixels});
          for (int64_t tap = from * shape.kernel_x; tap < to * shape.kernel_x; ++tap) {
            std::fill(tap_rows + tap * pitch + pixels, tap_rows + tap * pitch + end, Real{});
          }
          sink.take(tap_rows, pitch, y, x0, pixels);
        }
      }
      sink.finish(task);
    }
  });
}

}  // namespace ksdiff_ops::cpu

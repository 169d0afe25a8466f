// Per-pixel kernels that are read from memory, a tile at a time.
#pragma once

#include "pixel_conv.h"

namespace ksdiff_ops::cpu {

template <typename Real>
class StoredKernels {
 public:
  StoredKernels(const Shape& shape, Numbers numbers, const void* data)
      : shape_(shape), numbers_(numbers), data_(data) {}

  void start(int64_t image_index, int64_t, int64_t) {
    first_ = image_index * shape_.taps() * shape_.out_plane();
  }

  const Real* in_place(const Taps& taps, int64_t pixels, Offsets& places) const {
    // Rows of more planes in turn are faster copied than summed up.
    const bool few = static_cast<int64_t>(taps.size()) <= kMostStreams;
    if (!few || !is_direct<Real>(numbers_, pixels)) return nullptr;
    places.clear();
    for (const Tap& tap : taps) {
      if (tap.column < 0 || tap.column + pixels > shape_.out_width) return nullptr;
      const int64_t index = index_of(tap);
      places.push_back(index);
      prefetch_row(numbers_, data_, index + shape_.out_width, pixels);
    }
    return static_cast<const Real*>(data_);
  }

  void fill(const Taps& taps, int64_t pixels, Real* tile, int64_t pitch) const {
    for (const Tap& tap : taps) {
      const int64_t from = std::clamp<int64_t>(-tap.column, 0, pixels);
      const int64_t to = std::clamp<int64_t>(shape_.out_width - tap.column, from, pixels);
      std::fill(tile, tile + from, Real{});
      std::fill(tile + to, tile + pixels, Real{});
      const int64_t index = index_of(tap) + from;
      if (from < to) {
        load_row(numbers_, data_, index, to - from, tile + from);
        prefetch_row(numbers_, data_, index + shape_.out_width, to - from);
      }
      tile += pitch;
    }
  }

 private:
  int64_t index_of(const Tap& tap) const {
    return first_ + tap.index * shape_.out_plane() + tap.row * shape_.out_width + tap.column;
  }

  const Shape& shape_;
  Numbers numbers_;
  const void* data_;
  int64_t first_ = 0;
};

}  // namespace ksdiff_ops::cpu

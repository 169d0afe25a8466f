// Rows of an image, widened and padded with zeros, kept while a window moves down over them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <new>
#include <vector>

#include "tensors.h"

namespace ksdiff_ops::cpu {

inline int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }
inline int64_t ceil_div(int64_t value, int64_t step) { return (value + step - 1) / step; }
inline int64_t floor_div(int64_t value, int64_t step) {
  if (step == 1) return value;  // most often, and short rows take no longer than a division
  return value >= 0 ? value / step : -ceil_div(-value, step);
}

// Zeroed memory on a cache line, with room for the row functions to read past the end.
template <typename Real>
class Scratch {
 public:
  explicit Scratch(int64_t count = 0) { resize(count); }
  ~Scratch() { release(); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  void resize(int64_t count) {
    release();
    const int64_t padded = count + kRowQuantum;
    data_ = static_cast<Real*>(::operator new(padded * sizeof(Real), kAlignment));
    std::fill(data_, data_ + padded, Real{});
  }
  Real* data() { return data_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  void release() { ::operator delete(data_, kAlignment); }
  Real* data_ = nullptr;
};

// Some planes [planes, height, width] of a contiguous tensor.
struct Planes {
  Numbers numbers;
  const void* data;
  int64_t first;  // index of the first number
  int64_t planes, height, width;
};

// Column t of phase f is the image's column t * stride + f; a window that moves in steps of
// `stride` then reads neighbours, whatever the stride.
template <typename Real>
class RowRing {
 public:
  // `slots`: how many rows, counted from the first to the last, one position of the window spans.
  // `width`: columns of one phase that are kept.
  RowRing(int64_t slots, int64_t planes, std::vector<int64_t> phases, int64_t stride, int64_t width)
      : phases_(std::move(phases)),
        stride_(stride),
        width_(width),
        phase_pitch_(round_up(width, 16) + 16),
        slot_pitch_(phase_pitch_ * static_cast<int64_t>(phases_.size())),
        plane_pitch_(slot_pitch_ * slots + 16),
        rows_(slots, kNone),
        memory_(plane_pitch_ * planes),
        span_(stride == 1 ? 0 : width * stride) {}

  const Real* data() { return memory_.data(); }
  int64_t plane_pitch() const { return plane_pitch_; }
  int64_t phase_pitch() const { return phase_pitch_; }

  // Starts a new column of tiles whose leftmost kept column is `first`.
  void start(const Planes& image, int64_t first) {
    image_ = image;
    first_ = first;
    std::fill(rows_.begin(), rows_.end(), kNone);
    last_row_ = kNone;
    last_slot_ = slots() - 1;
  }

  // Brings a row of all planes in, unless it is there; returns its offset within a plane.
  int64_t offset_of(int64_t row) {
    if (row == last_row_) return last_offset_;
    const int64_t slot = slot_of(row);
    if (rows_[slot] != row) {
      rows_[slot] = row;
      for (int64_t plane = 0; plane < image_.planes; ++plane) {
        for (size_t phase = 0; phase < phases_.size(); ++phase) {
          load(plane, row, phases_[phase],
               memory_.data() + plane * plane_pitch_ + slot * slot_pitch_ +
                   static_cast<int64_t>(phase) * phase_pitch_);
        }
      }
    }
    last_row_ = row;
    last_slot_ = slot;
    last_offset_ = slot * slot_pitch_;
    return last_offset_;
  }

 private:
  static constexpr int64_t kNone = -1;

  int64_t slots() const { return static_cast<int64_t>(rows_.size()); }

  // row % slots(), mostly without the division: a window moves by less than its height.
  int64_t slot_of(int64_t row) const {
    int64_t slot = last_slot_ + row - last_row_;
    slot += slot < 0 ? slots() : slot >= slots() ? -slots() : 0;
    return slot >= 0 && slot < slots() ? slot : row % slots();
  }

  void load(int64_t plane, int64_t row, int64_t phase, Real* target) {
    const int64_t end = first_ + width_;
    const int64_t from = std::clamp<int64_t>(0, first_, end);
    const int64_t columns = stride_ == 1 ? image_.width : ceil_div(image_.width - phase, stride_);
    const int64_t to = std::clamp(columns, from, end);
    std::fill(target, target + (from - first_), Real{});
    std::fill(target + (to - first_), target + width_, Real{});
    if (from == to) return;
    const int64_t index = image_.first + (plane * image_.height + row) * image_.width;
    if (stride_ == 1) {
      load_row(image_.numbers, image_.data, index + from, to - from, target + (from - first_));
      prefetch_row(image_.numbers, image_.data, index + image_.width + from, to - from);
      return;
    }
    load_row(image_.numbers, image_.data, index + from * stride_ + phase,
             (to - from - 1) * stride_ + 1, span_.data());
    for (int64_t t = from; t < to; ++t) target[t - first_] = span_.data()[(t - from) * stride_];
  }

  std::vector<int64_t> phases_;
  int64_t stride_, width_, phase_pitch_, slot_pitch_, plane_pitch_;
  std::vector<int64_t> rows_;
  Scratch<Real> memory_, span_;
  Planes image_{};
  int64_t first_ = 0;
  int64_t last_row_ = kNone, last_slot_ = 0, last_offset_ = 0;  // a tile asks for one row many times in turn
};

}  // namespace ksdiff_ops::cpu

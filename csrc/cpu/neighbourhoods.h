// What adaptive_conv2d multiplies: the neighbourhood of every pixel, scaled tap by tap.
#pragma once

#include "products.h"
#include "stored_kernels.h"

namespace ksdiff_ops::cpu {

// Shape's channels are those of the image that patches are taken from.
struct Problem {
  Shape shape;
  int64_t others;  // channels on the other side of the kernel

  int64_t patch() const { return shape.channels * shape.taps(); }
};

inline Problem problem_of(int64_t batch, int64_t channels, int64_t others, int64_t height, int64_t width,
                   int64_t kernel_y, int64_t kernel_x) {
  return {{batch, 1, channels, height, width, kernel_y, kernel_x, height, width}, others};
}

// "same" padding above and to the left; `mirrored` is the view of the gradient of the image, to
// which a tap leads in the opposite direction.
inline Window same_window(const Shape& shape, bool mirrored) {
  const int64_t y = mirrored ? shape.kernel_y / 2 : (shape.kernel_y - 1) / 2;
  const int64_t x = mirrored ? shape.kernel_x / 2 : (shape.kernel_x - 1) / 2;
  return {1, 1, y, x, 1, 1};
}

// Neighbourhoods of some neighbouring pixels of a row, with or without attention.
template <class Way>
class Neighbourhoods {
  using Real = typename Way::Real;
  using Term = typename Way::Term;

 public:
  Neighbourhoods(const Problem& problem, Numbers numbers, const void* image, const void* attention,
                 bool mirrored, int64_t tile)
      : shape_(problem.shape),
        window_(same_window(shape_, mirrored)),
        mirrored_(mirrored),
        numbers_(numbers),
        image_(image),
        ring_(forward_slots(shape_, window_), shape_.channels, {0}, 1, tile + shape_.kernel_x - 1),
        pitch_(round_up(tile, kRowQuantum)),
        factors_(shape_.taps() * pitch_),
        zeros_(pitch_),
        attention_(shape_, numbers, attention),
        scaled_(attention != nullptr),
        taps_(shape_.taps()),
        tap_(shape_.taps()),
        offset_(shape_.taps()) {}

  void start(int64_t image_index, int64_t x0, int64_t pixels) {
    ring_.start({numbers_, image_, image_index * shape_.channels * shape_.image_plane(),
                 shape_.channels, shape_.height, shape_.width},
                x0 - window_.padding_x);
    attention_.start(image_index, x0, pixels);
    x0_ = x0;
    pixels_ = pixels;
  }

  void move_to(int64_t y) {
    taps_.clear();
    tap_.clear();
    offset_.clear();
    for (int64_t i = 0; i < shape_.kernel_y; ++i) {
      const int64_t row = y + i - window_.padding_y;
      if (row < 0 || row >= shape_.height) continue;
      const int64_t offset = ring_.offset_of(row);
      for (int64_t j = 0; j < shape_.kernel_x; ++j) {
        const int64_t tap = i * shape_.kernel_x + j;
        tap_.push_back(tap);
        offset_.push_back(offset + j);
        taps_.push_back(mirrored_
                            ? Tap{shape_.taps() - 1 - tap, row, x0_ + j - window_.padding_x}
                            : Tap{tap, y, x0_});
      }
    }
    if (scaled_) attention_.fill(taps_, pixels_, factors_.data(), pitch_);
  }

  // panel[c, tap][p] = neighbour * factor, a term for every so many channels
  void scale_planes(int64_t pixel, int64_t pixels, Term* panel, int64_t panel_pitch) {
    clear_missing(Way::terms(shape_.channels), pixels, panel, panel_pitch);
    Way::scale_planes(patches(pixel, pixels, panel, panel_pitch));
  }

  // The same, a term for every so many pixels.
  void scale_pixels(int64_t pixel, int64_t pixels, Term* panel, int64_t panel_pitch) {
    clear_missing(shape_.channels, Way::terms(pixels), panel, panel_pitch);
    Way::scale_pixels(patches(pixel, pixels, panel, panel_pitch));
  }

  // factor = sum over channels of neighbour * panel[c, tap][p]
  void sum(int64_t pixel, int64_t pixels, Real* panel, int64_t panel_pitch) {
    rows<Real>().sum_patches(patches(pixel, pixels, panel, panel_pitch));
  }

  // Calls take(tap, row of factors) for all taps; those that miss the image have zeros.
  template <class Take>
  void for_each_tap(const Take& take) {
    for (int64_t tap = 0, k = 0; tap < shape_.taps(); ++tap) {
      const bool meets = k < static_cast<int64_t>(tap_.size()) && tap_.data()[k] == tap;
      take(tap, meets ? factors_.data() + k++ * pitch_ : zeros_.data());
    }
  }

 private:
  // Zeros where a tap misses the image.
  void clear_missing(int64_t rows_of_tap, int64_t columns, Term* panel, int64_t panel_pitch) {
    for (int64_t tap = 0, k = 0; tap < shape_.taps(); ++tap) {
      if (k < static_cast<int64_t>(tap_.size()) && tap_.data()[k] == tap) {
        ++k;
        continue;
      }
      for (int64_t row = 0; row < rows_of_tap; ++row) {
        Term* const target = panel + (row * shape_.taps() + tap) * panel_pitch;
        std::fill(target, target + columns, Term{});
      }
    }
  }

  template <typename Number>
  Patches<Real, Number> patches(int64_t pixel, int64_t pixels, Number* panel,
                                int64_t panel_pitch) {
    return {ring_.data() + pixel, ring_.plane_pitch(), shape_.channels, offset_.data(),
            tap_.data(), static_cast<int>(tap_.size()), factors_.data() + pixel, pitch_,
            panel, shape_.taps(), panel_pitch, pixels};
  }

  const Shape& shape_;
  Window window_;
  bool mirrored_;
  Numbers numbers_;
  const void* image_;
  RowRing<Real> ring_;
  int64_t pitch_;
  Scratch<Real> factors_, zeros_;
  StoredKernels<Real> attention_;
  bool scaled_;
  Taps taps_;
  Offsets tap_, offset_;
  int64_t x0_ = 0, pixels_ = 0;
};

}  // namespace ksdiff_ops::cpu

#include "stream_conv.h"

namespace ksdiff_ops::cpu {
namespace {

// Long enough to be read at full speed, short enough that sums and what is multiplied stay near
// while one tap's kernels follow another's.
constexpr int64_t kReadSpan = 24 * 1024;

// Memory fresh from the system is at its fastest when it is written in one go; what is multiplied
// stays in the second cache.
constexpr int64_t kWriteSpan = 256 * 1024;

// Calls body with a number as it lies in memory.
template <class Body>
void with_stored(Numbers numbers, const Body& body) {
  switch (numbers.storage) {
    case Storage::float32: body(float{}); break;
    case Storage::float64: body(double{}); break;
    case Storage::float16: body(Float16{}); break;
    case Storage::bfloat16: body(Bfloat16{}); break;
  }
}

// Some neighbouring rows of every plane, about `span_bytes` of sums, to a band.
template <typename Real>
class Bands {
 public:
  Bands(int64_t planes, int64_t height, int64_t width, int64_t span_bytes)
      : planes_(planes), height_(height), width_(width) {
    const int64_t bytes = height * width * static_cast<int64_t>(sizeof(Real));
    rows_ = ceil_div(height, std::clamp<int64_t>(ceil_div(bytes, span_bytes), 1,
                                                 std::max<int64_t>(height, 1)));
  }

  int64_t rows() const { return rows_; }
  int64_t per_plane() const { return rows_ == 0 ? 0 : ceil_div(height_, rows_); }
  int64_t count() const { return width_ == 0 ? 0 : planes_ * per_plane(); }
  int64_t plane(int64_t band) const { return band / per_plane(); }
  int64_t first(int64_t band) const { return band % per_plane() * rows_; }
  int64_t last(int64_t band) const { return std::min(first(band) + rows_, height_); }

  template <class Body>
  void share_out(const Shape& shape, const Body& body) const {
    for_tasks(count(), rows_ * width_ * shape.taps() * shape.channels, body);
  }

 private:
  int64_t planes_, height_, width_, rows_ = 0;
};

// The part of some planes that a band meets, widened and beside zeros, so that every tap finds
// whole rows.
template <typename Real>
class Surroundings {
 public:
  Surroundings(const Planes& planes, int64_t rows, int64_t columns)
      : planes_(planes),
        rows_(rows),
        columns_(columns),
        pitch_(round_up(columns_, 16) + 16),
        memory_(planes.planes * rows_ * pitch_) {}

  // To the planes of another image, and the place there of the first row and column kept.
  void move_to(int64_t image_index, int64_t y0, int64_t x0) {
    const int64_t from = std::clamp<int64_t>(-x0, 0, columns_);
    const int64_t to = std::clamp(planes_.width - x0, from, columns_);
    Real* target = memory_.data();
    for (int64_t c = 0; c < planes_.planes; ++c) {
      const int64_t plane = (image_index * planes_.planes + c) * planes_.height;
      for (int64_t y = y0; y < y0 + rows_; ++y, target += pitch_) {
        if (y < 0 || y >= planes_.height) {
          std::fill(target, target + columns_, Real{});
          continue;
        }
        std::fill(target, target + from, Real{});
        load_row(planes_.numbers, planes_.data, (plane + y) * planes_.width + x0 + from, to - from,
                 target + from);
        std::fill(target + to, target + columns_, Real{});
      }
    }
  }

  const Real* of(int64_t channel, int64_t row, int64_t column) {
    return memory_.data() + (channel * rows_ + row) * pitch_ + column;
  }
  int64_t pitch() const { return pitch_; }

 private:
  Planes planes_;
  int64_t rows_, columns_, pitch_;
  Scratch<Real> memory_;
};

// What the windows at a band of the output meet of the image.
template <typename Real>
class Windows {
 public:
  Windows(const Shape& shape, const Window& window, Numbers numbers, const void* image,
          int64_t rows)
      : shape_(shape),
        window_(window),
        near_({numbers, image, 0, shape.channels, shape.height, shape.width},
              rows + (shape.kernel_y - 1) * window.dilation_y,
              shape.out_width + (shape.kernel_x - 1) * window.dilation_x) {}

  void move_to(int64_t image_index, int64_t first) {
    near_.move_to(image_index, first - window_.padding_y, -window_.padding_x);
  }

  const Real* of(int64_t channel, int64_t tap) {
    return near_.of(channel, tap / shape_.kernel_x * window_.dilation_y,
                    tap % shape_.kernel_x * window_.dilation_x);
  }
  int64_t pitch() const { return near_.pitch(); }

 private:
  const Shape& shape_;
  const Window& window_;
  Surroundings<Real> near_;
};

template <typename Stored>
void forward(const Shape& shape, const Window& window, Numbers numbers, const void* image,
             const void* kernels, void* out) {
  using Real = SumOf<Stored>;
  constexpr bool rounds = !std::is_same_v<Stored, Real>;
  const Bands<Real> bands(shape.batch * shape.groups, shape.out_height, shape.out_width,
                          kReadSpan);
  const int64_t passes = ceil_div(shape.taps(), kMostStreams);
  const int64_t most = bands.rows() * shape.out_width;
  bands.share_out(shape, [&](int64_t begin, int64_t end) {
    Windows<Real> near(shape, window, numbers, image, bands.rows());
    Scratch<Real> unrounded(rounds && passes > 1 ? shape.channels * most : 0);
    for (int64_t band = begin; band < end; ++band) {
      const int64_t index = bands.plane(band), first = bands.first(band);
      const Stored* const source = static_cast<const Stored*>(kernels) +
                                   index * shape.taps() * shape.out_plane() +
                                   first * shape.out_width;
      near.move_to(index, first);
      // A pass reads few planes, and its sums stay in registers.
      for (int64_t pass = 0; pass < passes; ++pass) {
        const int64_t from = shape.taps() * pass / passes;
        const int64_t to = shape.taps() * (pass + 1) / passes;
        for (int64_t c = 0; c < shape.channels; ++c) {
          Stored* const target = static_cast<Stored*>(out) +
                                 (index * shape.channels + c) * shape.out_plane() +
                                 first * shape.out_width;
          const auto sum = [&](const Real* base, auto* to_here) {
            Streams<Stored, std::remove_pointer_t<decltype(to_here)>> streams{};
            streams.terms = static_cast<int>(to - from);
            for (int64_t term = 0; term < streams.terms; ++term) {
              streams.left[term] = source + (from + term) * shape.out_plane();
              streams.right[term] = near.of(c, from + term);
              // the same rows in the next pass, or the rows below in the first
              streams.soon[term] =
                  to < shape.taps()
                      ? source + std::min(to + term, shape.taps() - 1) * shape.out_plane()
                      : source + term * shape.out_plane() + bands.rows() * shape.out_width;
            }
            streams.left_pitch = streams.out_pitch = streams.columns = shape.out_width;
            streams.right_pitch = near.pitch();
            streams.base = base;
            streams.out = to_here;
            streams.rows = bands.last(band) - first;
            stream(streams);
          };
          Real* sums;
          if constexpr (rounds) {
            sums = unrounded.data() + c * most;
          } else {
            sums = target;
          }
          const Real* const base = pass > 0 ? sums : nullptr;
          if (pass + 1 < passes) {
            sum(base, sums);
          } else {
            sum(base, target);
          }
        }
      }
    }
  });
}

template <typename Stored>
void grad_weight(const Shape& shape, const Window& window, Numbers numbers, const void* grad,
                 const void* image, void* out) {
  using Real = SumOf<Stored>;
  const Bands<Real> bands(shape.batch * shape.groups, shape.out_height, shape.out_width,
                          kWriteSpan);
  bands.share_out(shape, [&](int64_t begin, int64_t end) {
    Windows<Real> near(shape, window, numbers, image, bands.rows());
    for (int64_t band = begin; band < end; ++band) {
      const int64_t index = bands.plane(band), first = bands.first(band);
      const int64_t place = first * shape.out_width;
      near.move_to(index, first);
      for (int64_t tap = 0; tap < shape.taps(); ++tap) {
        Streams<Stored, Stored> streams{};
        for (int64_t c = 0; c < shape.channels; ++c) {
          streams.left[c] = streams.soon[c] = static_cast<const Stored*>(grad) +
                                              (index * shape.channels + c) * shape.out_plane() +
                                              place;
          streams.right[c] = near.of(c, tap);
        }
        streams.terms = static_cast<int>(shape.channels);
        streams.left_pitch = streams.out_pitch = streams.columns = shape.out_width;
        streams.right_pitch = near.pitch();
        streams.out = static_cast<Stored*>(out) +
                      (index * shape.taps() + tap) * shape.out_plane() + place;
        streams.rows = bands.last(band) - first;
        stream(streams);
      }
    }
  });
}

// Taps of one kernel column find their kernels in the same column and leave their products in the
// same, so that a pass over a kernel column reads whole rows and moves only where it adds.
template <typename Stored>
void grad_input(const Shape& shape, const Window& window, Numbers numbers, const void* grad,
                const void* kernels, void* out) {
  using Real = SumOf<Stored>;
  const Bands<Real> bands(shape.batch * shape.groups, shape.height, shape.width, kReadSpan);
  const int64_t reach_x = (shape.kernel_x - 1) * window.dilation_x;
  const int64_t reach_y = (shape.kernel_y - 1) * window.dilation_y;
  // Column 0 of the sums takes what tap 0 makes of column 0; what leaves the image is dropped.
  const int64_t pitch =
      round_up(std::max(shape.out_width + reach_x, window.padding_x + shape.width), 16) + 16;
  // Kernel rows [first, last) that lead from a row of the image to rows of the gradient.
  const auto kernel_rows = [&](int64_t row) {
    const int64_t reached = row + window.padding_y;
    const int64_t last =
        std::clamp<int64_t>(floor_div(reached, window.dilation_y) + 1, 0, shape.kernel_y);
    const int64_t first = std::clamp<int64_t>(
        ceil_div(reached - shape.out_height + 1, window.dilation_y), 0, last);
    return std::pair{first, last};
  };
  bands.share_out(shape, [&](int64_t begin, int64_t end) {
    const int64_t channel_pitch = bands.rows() * pitch;
    Scratch<Real> sums(shape.channels * channel_pitch);
    Surroundings<Real> near({numbers, grad, 0, shape.channels, shape.out_height, shape.out_width},
                            bands.rows() + reach_y, shape.out_width);
    for (int64_t band = begin; band < end; ++band) {
      const int64_t index = bands.plane(band), first = bands.first(band), last = bands.last(band);
      const int64_t first_met = first + window.padding_y - reach_y;
      near.move_to(index, first_met, 0);
      std::fill(sums.data(), sums.data() + shape.channels * channel_pitch, Real{});
      for (int64_t row = first, below; row < last; row = below) {
        const auto met = kernel_rows(row);
        for (below = row + 1; below < last && kernel_rows(below) == met;) ++below;
        for (int64_t j = 0; j < shape.kernel_x; ++j) {
          for (int64_t i = met.first; i < met.second; i += kMostStreams) {
            for (int64_t c = 0; c < shape.channels; ++c) {
              Streams<Stored, Real> streams{};
              streams.terms = static_cast<int>(std::min<int64_t>(met.second - i, kMostStreams));
              for (int64_t term = 0; term < streams.terms; ++term) {
                const int64_t y = row + window.padding_y - (i + term) * window.dilation_y;
                const int64_t plane = (index * shape.kernel_y + i + term) * shape.kernel_x;
                const Stored* const next = static_cast<const Stored*>(kernels) +
                                           plane * shape.out_plane() + y * shape.out_width;
                streams.left[term] = next + j * shape.out_plane();
                streams.right[term] = near.of(c, y - first_met, 0);
                streams.soon[term] = j + 1 < shape.kernel_x
                                         ? next + (j + 1) * shape.out_plane()
                                         : next + (below - row) * shape.out_width;
              }
              streams.left_pitch = streams.columns = shape.out_width;
              streams.right_pitch = near.pitch();
              streams.out = sums.data() + c * channel_pitch + (row - first) * pitch +
                            j * window.dilation_x;
              streams.base = streams.out;
              streams.out_pitch = pitch;
              streams.rows = below - row;
              stream(streams);
            }
          }
        }
      }
      for (int64_t c = 0; c < shape.channels; ++c) {
        for (int64_t row = first; row < last; ++row) {
          store_row(numbers,
                    sums.data() + c * channel_pitch + (row - first) * pitch + window.padding_x,
                    shape.width, out,
                    ((index * shape.channels + c) * shape.height + row) * shape.width);
        }
      }
    }
  });
}

}  // namespace

bool streams(const Shape& shape, const Window& window) {
  constexpr int64_t most_channels = 2;
  return shape.channels <= most_channels && window.stride_y == 1 && window.stride_x == 1 &&
         window.padding_y >= 0 && window.padding_x >= 0;
}

void stream_forward(const Shape& shape, const Window& window, Numbers numbers, const void* image,
                    const void* kernels, void* out) {
  with_stored(numbers, [&](auto stored) {
    forward<decltype(stored)>(shape, window, numbers, image, kernels, out);
  });
}

void stream_grad_input(const Shape& shape, const Window& window, Numbers numbers, const void* grad,
                       const void* kernels, void* out) {
  with_stored(numbers, [&](auto stored) {
    grad_input<decltype(stored)>(shape, window, numbers, grad, kernels, out);
  });
}

void stream_grad_weight(const Shape& shape, const Window& window, Numbers numbers,
                        const void* grad, const void* image, void* out) {
  with_stored(numbers, [&](auto stored) {
    grad_weight<decltype(stored)>(shape, window, numbers, grad, image, out);
  });
}

}  // namespace ksdiff_ops::cpu

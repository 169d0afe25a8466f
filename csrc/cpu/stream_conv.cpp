#include "stream_conv.h"

#include "stored.h"

namespace ksdiff_ops::cpu {
namespace {

// Long enough to be read at full speed, short enough that sums and what is multiplied stay near
// while one tap's kernels follow another's.
constexpr int64_t kReadSpan = 24 * 1024;

// Memory fresh from the system is at its fastest when it is written in one go; what is multiplied
// stays in the second cache.
constexpr int64_t kWriteSpan = 256 * 1024;

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
    // A kernel's number is read or written for every channel or two: that takes as long as so many
    // products.
    constexpr int64_t products_per_number = 4;
    for_tasks(count(), rows_ * width_ * shape.taps() * products_per_number, body);
  }

 private:
  int64_t planes_, height_, width_, rows_ = 0;
};

// The part of some planes that a band meets, widened and beside zeros, so that every tap finds
// whole rows.
template <typename Real>
class Surroundings {
 public:
  // `packed`: rows follow one another.
  Surroundings(const Planes& planes, int64_t rows, int64_t columns, bool packed = false)
      : planes_(planes),
        rows_(rows),
        columns_(columns),
        pitch_(packed ? columns_ : round_up(columns_, 16) + 16),
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

// Whether rows are so short that most of what a row of them costs is not its products. They are
// then taken as one row of the whole band, which needs the columns of the image and of the output
// to be the same ones.
bool is_fused(const Shape& shape) {
  constexpr int64_t short_row = 40;
  return shape.width == shape.out_width && shape.width <= short_row;
}

// What the windows at a band of the output meet of the image. Where rows are fused there is a copy
// of it for every kernel column, shifted by that, so that a tap's rows follow one another.
template <typename Real>
class Windows {
 public:
  Windows(const Shape& shape, const Window& window, Numbers numbers, const void* image,
          int64_t rows)
      : shape_(shape),
        window_(window),
        rows_(rows + (shape.kernel_y - 1) * window.dilation_y),
        fused_(is_fused(shape)),
        near_({numbers, image, 0, shape.channels, shape.height, shape.width}, fused_ ? 0 : rows_,
              shape.out_width + (shape.kernel_x - 1) * window.dilation_x),
        shifted_(fused_ ? shape.channels * shape.kernel_x * rows_ * shape.width : 0),
        numbers_(numbers),
        image_(image) {}

  void move_to(int64_t image_index, int64_t first) {
    const int64_t y0 = first - window_.padding_y;
    if (!fused_) {
      near_.move_to(image_index, y0, -window_.padding_x);
      return;
    }
    for (int64_t c = 0; c < shape_.channels; ++c) {
      for (int64_t j = 0; j < shape_.kernel_x; ++j) {
        shift(image_index * shape_.channels + c, y0, j * window_.dilation_x - window_.padding_x,
              of_column(c, j));
      }
    }
  }

  const Real* of(int64_t channel, int64_t tap) {
    const int64_t row = tap / shape_.kernel_x * window_.dilation_y;
    if (fused_) return of_column(channel, tap % shape_.kernel_x) + row * shape_.width;
    return near_.of(channel, row, tap % shape_.kernel_x * window_.dilation_x);
  }

  // The columns and rows of a walk over a band of so many rows.
  template <class AnyStreams>
  void set_walk(AnyStreams& streams, int64_t rows) const {
    streams.left_pitch = streams.out_pitch = streams.columns = shape_.out_width;
    streams.right_pitch = near_.pitch();
    streams.rows = rows;
    if (fused_) {
      streams.columns *= rows;
      streams.rows = 1;
    }
  }

 private:
  Real* of_column(int64_t channel, int64_t column) {
    return shifted_.data() + (channel * shape_.kernel_x + column) * rows_ * shape_.width;
  }

  // target[y][x] = image[y0 + y][x + right] or zero outside
  void shift(int64_t plane, int64_t y0, int64_t right, Real* target) {
    const int64_t width = shape_.width;
    const int64_t from = std::clamp<int64_t>(-y0, 0, rows_);
    const int64_t to = std::clamp(shape_.height - y0, from, rows_);
    if (std::abs(right) >= width || from == to) {
      std::fill(target, target + rows_ * width, Real{});
      return;
    }
    std::fill(target, target + from * width, Real{});
    std::fill(target + to * width, target + rows_ * width, Real{});
    const int64_t count = (to - from) * width - std::abs(right);
    load_row(numbers_, image_, (plane * shape_.height + y0 + from) * width + std::max<int64_t>(right, 0),
             count, target + from * width + std::max<int64_t>(-right, 0));
    const int64_t first = right > 0 ? width - right : 0, last = right > 0 ? width : -right;
    for (int64_t y = from; y < to; ++y) {
      std::fill(target + y * width + first, target + y * width + last, Real{});
    }
  }

  const Shape& shape_;
  const Window& window_;
  int64_t rows_;
  bool fused_;
  Surroundings<Real> near_;
  Scratch<Real> shifted_;
  Numbers numbers_;
  const void* image_;
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
            near.set_walk(streams, bands.last(band) - first);
            streams.base = base;
            streams.out = to_here;
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
        near.set_walk(streams, bands.last(band) - first);
        streams.out = static_cast<Stored*>(out) +
                      (index * shape.taps() + tap) * shape.out_plane() + place;
        stream(streams);
      }
    }
  });
}

// target[y][x] += source[y][x + right] where that is inside; overwrites what is not read.
template <typename Real>
void add_shifted(Real* source, int64_t rows, int64_t width, int64_t right, Real* target) {
  if (std::abs(right) >= width) return;
  const int64_t first = right > 0 ? 0 : width + right, last = right > 0 ? right : width;
  for (int64_t y = 0; y < rows; ++y) {
    std::fill(source + y * width + first, source + y * width + last, Real{});
  }
  const Real* const from = source + std::max<int64_t>(right, 0);
  Real* const to = target + std::max<int64_t>(-right, 0);
  const int64_t count = rows * width - std::abs(right);
  for (int64_t p = 0; p < count; ++p) to[p] += from[p];
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
  // Where rows are fused, every kernel column has sums of its own.
  const bool fused = is_fused(shape);
  const int64_t pitch =
      fused ? shape.width
            : round_up(std::max(shape.out_width + reach_x, window.padding_x + shape.width), 16) + 16;
  const int64_t sums_of_channel = fused ? shape.kernel_x : 1;
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
    const int64_t column_pitch = bands.rows() * pitch;
    const int64_t channel_pitch = sums_of_channel * column_pitch;
    Scratch<Real> sums(shape.channels * channel_pitch), total(fused ? column_pitch : 0);
    Surroundings<Real> near({numbers, grad, 0, shape.channels, shape.out_height, shape.out_width},
                            bands.rows() + reach_y, shape.out_width, fused);
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
                            (fused ? j * column_pitch : j * window.dilation_x);
              streams.base = streams.out;
              streams.out_pitch = pitch;
              streams.rows = below - row;
              if (fused) {
                streams.columns *= streams.rows;
                streams.rows = 1;
              }
              stream(streams);
            }
          }
        }
      }
      for (int64_t c = 0; c < shape.channels; ++c) {
        if (fused) {
          const int64_t count = (last - first) * pitch;
          std::fill(total.data(), total.data() + count, Real{});
          for (int64_t j = 0; j < shape.kernel_x; ++j) {
            add_shifted(sums.data() + c * channel_pitch + j * column_pitch, last - first, pitch,
                        window.padding_x - j * window.dilation_x, total.data());
          }
          store_row(numbers, total.data(), count, out,
                    ((index * shape.channels + c) * shape.height + first) * shape.width);
          continue;
        }
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

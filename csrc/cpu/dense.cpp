#include "dense.h"

#include <cstring>
#include <optional>

namespace ksdiff_ops::cpu {
namespace {

int64_t even(int64_t size, int64_t most) {
  return ceil_div(size, ceil_div(size, std::max<int64_t>(most, 1)));
}

// No power of two: rows would share a set of the cache.
int64_t pitch_of(int64_t numbers) { return round_up(numbers, 32) + 16; }

// Some output pixels: rows of a plane, or a part of one row.
struct Block {
  int64_t y, x, rows, columns;

  int64_t pixels() const { return rows * columns; }
};

// How the work is cut up; it follows from the shape alone.
struct Cut {
  static constexpr int64_t strip = 16;  // numbers that vectors share out without a rest

  const Dense& problem;
  int64_t columns, rows;  // of a block
  int64_t channels;       // at a time
  int64_t outputs;        // of a task
  bool few;  // outputs that do not pay for laying out patches: they are summed from the image

  explicit Cut(const Dense& dense) : problem(dense) {
    constexpr int64_t most_pixels = 256, most_terms = 256, most_outputs = 256,
                      wanted_tasks = 8, most_few = 8;
    columns = even(dense.out_width, most_pixels);
    rows = rows_of(dense.out_height, columns, most_pixels);
    channels = even(dense.in, most_terms / dense.taps());
    // Where one block is all there is, whole strips of terms are written where they belong.
    if (pixels() == dense.out_plane() && dense.in % strip == 0 && dense.taps() <= strip) {
      channels = round_up(channels, strip);
    }
    // The fewer, the more often patches are laid out, and the more threads have work.
    const bool plenty = images() * ceil_div(dense.out, most_outputs) >= wanted_tasks;
    outputs = even(dense.out, plenty ? most_outputs : most_outputs / 2);
    few = dense.out <= most_few;
  }

  // How many rows of pixels fill vectors best.
  static int64_t rows_of(int64_t height, int64_t columns, int64_t most_pixels) {
    const auto filled = [&](int64_t rows) {
      return height / rows * round_up(rows * columns, strip) +
             round_up(height % rows * columns, strip);
    };
    int64_t best = 1;
    for (int64_t rows = 2; rows <= std::min(height, most_pixels / columns); ++rows) {
      if (filled(rows) <= filled(best)) best = rows;
    }
    return best;
  }

  int64_t images() const { return problem.batch * problem.groups; }
  int64_t pixels() const { return rows * columns; }
  int64_t terms() const { return channels * problem.taps(); }

  template <class Body>
  void for_blocks(const Body& body) const {
    for (int64_t y = 0; y < problem.out_height; y += rows) {
      for (int64_t x = 0; x < problem.out_width; x += columns) {
        body(Block{y, x, std::min(rows, problem.out_height - y),
                   std::min(columns, problem.out_width - x)});
      }
    }
  }

  // Calls body(first, count) for channels that are taken at a time.
  template <class Body>
  void for_channels(int64_t begin, int64_t end, const Body& body) const {
    for (int64_t c = begin; c < end; c += channels) body(c, std::min(channels, end - c));
  }
};

// What a block of pixels sees of some planes, with zeros outside of the image.
template <typename Real>
class Band {
 public:
  Band(const Cut& cut, int64_t planes, bool mirrored)
      : problem_(cut.problem),
        pitch_(round_up(cut.columns + problem_.margin_x(), 16)),
        plane_pitch_((cut.rows + problem_.margin_y()) * pitch_ + 16),
        data_(planes * plane_pitch_) {
    for (int64_t i = 0; i < problem_.kernel_y; ++i) {
      for (int64_t j = 0; j < problem_.kernel_x; ++j) {
        offsets_.push_back(i * problem_.dilation_y * pitch_ + j * problem_.dilation_x);
      }
    }
    if (mirrored) std::reverse(offsets_.begin(), offsets_.end());
  }

  const Real* data() { return data_.data(); }
  int64_t pitch() const { return pitch_; }
  int64_t plane_pitch() const { return plane_pitch_; }
  const std::vector<int64_t>& offsets() const { return offsets_; }  // of the taps

  void load(const Block& block, const Real* planes, int64_t count) {
    const int64_t top = block.y - problem_.padding_y, left = block.x - problem_.padding_x;
    const int64_t rows = block.rows + problem_.margin_y();
    const int64_t columns = block.columns + problem_.margin_x();
    const int64_t from = std::clamp<int64_t>(-left, 0, columns);
    const int64_t to = std::clamp<int64_t>(problem_.width - left, from, columns);
    for (int64_t plane = 0; plane < count; ++plane) {
      for (int64_t r = 0; r < rows; ++r) {
        Real* const target = data_.data() + plane * plane_pitch_ + r * pitch_;
        const int64_t y = top + r;
        if (y < 0 || y >= problem_.height) {
          std::fill(target, target + columns, Real{});
          continue;
        }
        const Real* const row = planes + plane * problem_.image_plane() + y * problem_.width;
        std::fill(target, target + from, Real{});
        std::copy(row + left + from, row + left + to, target + from);
        std::fill(target + to, target + columns, Real{});
      }
    }
  }

 private:
  const Dense& problem_;
  int64_t pitch_, plane_pitch_;
  Scratch<Real> data_;
  std::vector<int64_t> offsets_;
};

// The patches of a block of pixels, [channels * taps, pixels].
template <typename Real>
class Unfolded {
 public:
  Unfolded(const Cut& cut, bool mirrored)
      : band_(cut, cut.channels, mirrored),
        pitch_(pitch_of(cut.pixels())),
        data_(cut.terms() * pitch_) {}

  const Real* data() { return data_.data(); }
  int64_t pitch() const { return pitch_; }

  void load(const Block& block, const Real* planes, int64_t channels) {
    constexpr int64_t step = 32 / sizeof(Real);
    band_.load(block, planes, channels);
    Real* row = data_.data();
    for (int64_t c = 0; c < channels; ++c) {
      for (const int64_t offset : band_.offsets()) {
        const Real* source = band_.data() + c * band_.plane_pitch() + offset;
        Real* target = row;
        for (int64_t r = 0; r < block.rows; ++r) {
          // What is written beyond a row comes next, or is beyond the block.
          for (int64_t x = 0; x < block.columns; x += step) {
            std::memcpy(target + x, source + x, sizeof(Real[step]));
          }
          source += band_.pitch();
          target += block.columns;
        }
        row += pitch_;
      }
    }
  }

 private:
  Band<Real> band_;
  int64_t pitch_;
  Scratch<Real> data_;
};

// target[c][r] = source[r][c] for so many rows
template <int64_t kRows, typename Real>
void transpose_rows(const Real* source, int64_t source_pitch, int64_t columns, Real* target,
                    int64_t target_pitch) {
  for (int64_t c = 0; c < columns; ++c) {
    Real column[kRows];
    for (int64_t r = 0; r < kRows; ++r) column[r] = source[r * source_pitch + c];
    std::memcpy(target + c * target_pitch, column, sizeof column);
  }
}

template <typename Real>
void transpose(const Real* source, int64_t source_pitch, int64_t rows, int64_t columns,
               Real* target, int64_t target_pitch) {
  constexpr int64_t step = 8;
  int64_t r = 0;
  for (; r + step <= rows; r += step) {
    transpose_rows<step>(source + r * source_pitch, source_pitch, columns, target + r,
                         target_pitch);
  }
  for (; r < rows; ++r) {
    transpose_rows<1>(source + r * source_pitch, source_pitch, columns, target + r, target_pitch);
  }
}

// Numbers [outputs, pixels] of a block, to or from planes [outputs, Ho, Wo].
template <typename Real, class Move>
void for_rows(const Dense& problem, const Block& block, int64_t outputs, const Move& move) {
  const bool whole = block.columns == problem.out_width;
  const int64_t rows = whole ? 1 : block.rows, count = whole ? block.pixels() : block.columns;
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t r = 0; r < rows; ++r) {
      move(o, r * block.columns,
           o * problem.out_plane() + (block.y + r) * problem.out_width + block.x, count);
    }
  }
}

// A matrix [outputs, channels * taps].
template <typename Real>
struct Kernels {
  const Real* data;
  int64_t pitch;
};

// Those of some outputs of one image, as they lie in memory: [out, in, taps].
template <typename Real>
class StoredByOutput {
 public:
  StoredByOutput(const Cut& cut, const Real* data) : problem_(cut.problem), data_(data) {}

  void start(int64_t image, int64_t first, int64_t) {
    start_ = data_ + (image * problem_.out + first) * problem_.terms();
  }

  Kernels<Real> of(int64_t first, int64_t) const {
    return {start_ + first * problem_.taps(), problem_.terms()};
  }

 private:
  const Dense& problem_;
  const Real* data_;
  const Real* start_ = nullptr;
};

// Those in memory [in, out, taps]. They are turned once, or, where they are used once, when they
// are, so that they stay in the cache until then.
template <typename Real>
class StoredByInput {
 public:
  StoredByInput(const Cut& cut, const Real* data)
      : problem_(cut.problem),
        data_(data),
        end_(data + cut.images() * problem_.out * problem_.terms()),
        once_(!cut.few && cut.pixels() == problem_.out_plane()),
        pitch_(pitch_of(once_ ? cut.terms() : problem_.terms())),
        turned_(cut.outputs * pitch_) {}

  void start(int64_t image, int64_t first, int64_t outputs) {
    start_ = data_ + (image * problem_.terms() * problem_.out) + first * problem_.taps();
    outputs_ = outputs;
    if (!once_) turn(0, problem_.in);
  }

  Kernels<Real> of(int64_t first, int64_t count) {
    if (!once_) return {turned_.data() + first * problem_.taps(), pitch_};
    turn(first, count);
    return {turned_.data(), pitch_};
  }

 private:
  void turn(int64_t first, int64_t count) {
    constexpr int64_t step = 32 / sizeof(Real);
    const int64_t taps = problem_.taps(), copied = round_up(taps, step);
    if (taps == 1) {
      transpose(start_ + first * problem_.out, problem_.out, count, outputs_, turned_.data(),
                pitch_);
      return;
    }
    for (int64_t c = 0; c < count; ++c) {
      const Real* source = start_ + (first + c) * problem_.out * taps;
      Real* target = turned_.data() + c * taps;
      for (int64_t o = 0; o < outputs_; ++o, source += taps, target += pitch_) {
        if (end_ - source < copied) {
          std::copy_n(source, taps, target);
          continue;
        }
        // What is written beyond a kernel comes next, or is not read.
        for (int64_t t = 0; t < taps; t += step) {
          std::memcpy(target + t, source + t, sizeof(Real[step]));
        }
      }
    }
  }

  const Dense& problem_;
  const Real* data_;
  const Real* end_;
  bool once_;
  int64_t pitch_;
  Scratch<Real> turned_;
  const Real* start_ = nullptr;
  int64_t outputs_ = 0;
};

// The outputs of one task, all blocks of pixels one after the other.
template <typename Real, class Stored>
class Convolver {
 public:
  Convolver(const Cut& cut, const Real* kernels, bool mirrored)
      : cut_(cut),
        kernels_(cut, kernels),
        pitch_(pitch_of(cut.pixels())),
        tile_(cut.outputs * pitch_) {
    if (!cut.few) {
      patches_.emplace(cut, mirrored);
      return;
    }
    band_.emplace(cut, cut.problem.in, mirrored);
    for (int64_t c = 0; c < cut.problem.in; ++c) {
      for (const int64_t offset : band_->offsets()) {
        offsets_.push_back(c * band_->plane_pitch() + offset);
      }
    }
  }

  // Outputs from `first` on of one image.
  void run(const Real* image, int64_t index, int64_t first, int64_t outputs, Real* out) {
    const Dense& problem = cut_.problem;
    const Real* const planes = image + index * problem.in * problem.image_plane();
    out += (index * problem.out + first) * problem.out_plane();
    kernels_.start(index, first, outputs);
    cut_.for_blocks([&](const Block& block) {
      if (cut_.few) {
        sum_from_image(block, planes, outputs);
      } else if (block.pixels() % Cut::strip == 0) {
        // Its pixels follow each other in memory, and fill vectors.
        multiply_patches(block, planes, outputs,
                         out + block.y * problem.out_width + block.x, problem.out_plane());
        return;
      } else {
        multiply_patches(block, planes, outputs, tile_.data(), pitch_);
      }
      for_rows<Real>(problem, block, outputs,
                     [&](int64_t o, int64_t from, int64_t to, int64_t count) {
        std::copy_n(tile_.data() + o * pitch_ + from, count, out + to);
      });
    });
  }

 private:
  void multiply_patches(const Block& block, const Real* planes, int64_t outputs, Real* target,
                        int64_t pitch) {
    const Dense& problem = cut_.problem;
    cut_.for_channels(0, problem.in, [&](int64_t first, int64_t count) {
      patches_->load(block, planes + first * problem.image_plane(), count);
      const Kernels<Real> kernels = kernels_.of(first, count);
      rows<Real>().matmul({kernels.data, kernels.pitch, patches_->data(), patches_->pitch(),
                           target, pitch, outputs, count * problem.taps(), block.pixels(),
                           first > 0});
    });
  }

  void sum_from_image(const Block& block, const Real* planes, int64_t outputs) {
    const Dense& problem = cut_.problem;
    const Kernels<Real> kernels = kernels_.of(0, problem.in);
    band_->load(block, planes, problem.in);
    for (int64_t r = 0; r < block.rows; ++r) {
      rows<Real>().convolve({kernels.data, kernels.pitch, band_->data() + r * band_->pitch(),
                             offsets_.data(), tile_.data() + r * block.columns, pitch_,
                             static_cast<int>(outputs), static_cast<int>(problem.terms()),
                             block.columns});
    }
  }

  const Cut& cut_;
  Stored kernels_;
  int64_t pitch_;
  Scratch<Real> tile_;
  std::optional<Unfolded<Real>> patches_;
  std::optional<Band<Real>> band_;
  std::vector<int64_t> offsets_;
};

template <class Stored, typename Real>
void convolve(const Dense& problem, const Real* image, const Real* kernels, bool mirrored,
              Real* out) {
  const Cut cut(problem);
  const int64_t parts = ceil_div(problem.out, cut.outputs);
  for_tasks(cut.images() * parts, cut.outputs * problem.terms() * problem.out_plane(),
            [&](int64_t begin, int64_t end) {
    Convolver<Real, Stored> convolver(cut, kernels, mirrored);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % parts * cut.outputs;
      convolver.run(image, task / parts, first, std::min(cut.outputs, problem.out - first), out);
    }
  });
}

// Gradients of the kernels of one image, for some of its channels. The products of patches and
// gradient are laid out by what there is more of, so that what has to be turned is small.
template <typename Real>
class KernelGradient {
 public:
  KernelGradient(const Cut& cut, int64_t most_channels)
      : cut_(cut),
        patches_(cut, false),
        by_patch_(cut.problem.out <= cut.problem.out_plane()),
        in_place_(!by_patch_ && cut.pixels() == cut.problem.out_plane() &&
                  cut.channels % Cut::strip == 0 && cut.problem.in % Cut::strip == 0),
        pitch_(pitch_of(by_patch_ ? cut.problem.out : cut.terms())),
        turned_(cut.pixels() * pitch_),
        sums_(in_place_ ? 0
                        : (by_patch_ ? most_channels * cut.problem.taps()
                                     : ceil_div(most_channels, cut.channels) * cut.problem.out) *
                              pitch_) {}

  // planes [channels, H, W], grad [out, Ho, Wo], out [out, in, taps] at the first channel
  void run(const Real* planes, const Real* grad, int64_t channels, Real* out) {
    const Dense& problem = cut_.problem;
    bool add = false;
    cut_.for_blocks([&](const Block& block) {
      if (by_patch_) turn_gradient(block, grad);
      cut_.for_channels(0, channels, [&](int64_t first, int64_t count) {
        patches_.load(block, planes + first * problem.image_plane(), count);
        if (by_patch_) {
          sum_by_patch(block, first, count, add);
        } else {
          const Real* const turned = turn_patches(block, count);
          if (in_place_) {
            sum_by_output(block, grad, turned, count, false, out + first * problem.taps(),
                          problem.terms());
          } else {
            sum_by_output(block, grad, turned, count, add, sums_by_output(first), pitch_);
          }
        }
      });
      add = true;
    });
    if (in_place_) return;
    const int64_t taps = problem.taps();
    if (by_patch_) {
      transpose(sums_.data(), pitch_, channels * taps, problem.out, out, problem.terms());
      return;
    }
    cut_.for_channels(0, channels, [&](int64_t first, int64_t count) {
      for (int64_t o = 0; o < problem.out; ++o) {
        std::copy_n(sums_by_output(first) + o * pitch_, count * taps,
                    out + o * problem.terms() + first * taps);
      }
    });
  }

 private:
  // [pixels, out]
  void turn_gradient(const Block& block, const Real* grad) {
    for_rows<Real>(cut_.problem, block, 1, [&](int64_t, int64_t to, int64_t from, int64_t count) {
      transpose(grad + from, cut_.problem.out_plane(), cut_.problem.out, count,
                turned_.data() + to * pitch_, pitch_);
    });
  }

  // sums [channels * taps, out]
  void sum_by_patch(const Block& block, int64_t first, int64_t count, bool add) {
    const int64_t taps = cut_.problem.taps();
    rows<Real>().matmul({patches_.data(), patches_.pitch(), turned_.data(), pitch_,
                         sums_.data() + first * taps * pitch_, pitch_, count * taps,
                         block.pixels(), cut_.problem.out, add});
  }

  Real* sums_by_output(int64_t first) {
    return sums_.data() + first / cut_.channels * cut_.problem.out * pitch_;
  }

  // [pixels, channels * taps]
  const Real* turn_patches(const Block& block, int64_t channels) {
    transpose(patches_.data(), patches_.pitch(), channels * cut_.problem.taps(), block.pixels(),
              turned_.data(), pitch_);
    return turned_.data();
  }

  // sums [out, channels * taps]; the block is one row, or its rows are whole
  void sum_by_output(const Block& block, const Real* grad, const Real* turned, int64_t channels,
                     bool add, Real* sums, int64_t pitch) {
    const Dense& problem = cut_.problem;
    const Real* const matrix = grad + block.y * problem.out_width + block.x;
    for (int64_t o = 0; o < problem.out; o += cut_.outputs) {
      rows<Real>().matmul({matrix + o * problem.out_plane(), problem.out_plane(), turned, pitch_,
                           sums + o * pitch, pitch, std::min(cut_.outputs, problem.out - o),
                           block.pixels(), channels * problem.taps(), add});
    }
  }

  const Cut& cut_;
  Unfolded<Real> patches_;
  bool by_patch_, in_place_;
  int64_t pitch_;
  Scratch<Real> turned_, sums_;
};

}  // namespace

template <typename Real>
void dense(const Dense& problem, const Real* image, const Real* kernels, Real* out) {
  convolve<StoredByOutput<Real>>(problem, image, kernels, false, out);
}

template <typename Real>
void dense_mirrored(const Dense& problem, const Real* grad, const Real* kernels, Real* out) {
  convolve<StoredByInput<Real>>(problem, grad, kernels, true, out);
}

template <typename Real>
void dense_grad_kernels(const Dense& problem, const Real* image, const Real* grad, Real* out) {
  constexpr int64_t wanted_tasks = 16;
  const Cut cut(problem);
  const int64_t blocks = ceil_div(problem.in, cut.channels);
  const int64_t wanted = std::clamp(ceil_div(wanted_tasks, cut.images()), int64_t{1}, blocks);
  const int64_t channels = ceil_div(blocks, wanted) * cut.channels;  // of a task
  const int64_t parts = ceil_div(problem.in, channels);
  for_tasks(cut.images() * parts, channels * problem.taps() * problem.out * problem.out_plane(),
            [&](int64_t begin, int64_t end) {
    KernelGradient<Real> gradient(cut, channels);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t index = task / parts, first = task % parts * channels;
      gradient.run(image + (index * problem.in + first) * problem.image_plane(),
                   grad + index * problem.out * problem.out_plane(),
                   std::min(channels, problem.in - first),
                   out + index * problem.out * problem.terms() + first * problem.taps());
    }
  });
}

#define KSDIFF_INSTANTIATE(Real)                                                       \
  template void dense<Real>(const Dense&, const Real*, const Real*, Real*);            \
  template void dense_mirrored<Real>(const Dense&, const Real*, const Real*, Real*);   \
  template void dense_grad_kernels<Real>(const Dense&, const Real*, const Real*, Real*);
KSDIFF_INSTANTIATE(float)
KSDIFF_INSTANTIATE(double)
#undef KSDIFF_INSTANTIATE

}  // namespace ksdiff_ops::cpu

#include "depthwise.h"

#include <cstring>

namespace ksdiff_ops::cpu {
namespace {

// As memcpy, whose call costs more than a short row takes: whole steps, the last one overlapping.
template <typename Real>
void copy_row(const Real* source, int64_t count, Real* target) {
  constexpr int64_t step = 16 / sizeof(Real);
  if (count < step) {
    std::copy_n(source, count, target);
    return;
  }
  for (int64_t i = 0; i + step < count; i += step) {
    std::memcpy(target + i, source + i, sizeof(Real[step]));
  }
  std::memcpy(target + count - step, source + count - step, sizeof(Real[step]));
}

template <typename Real>
void read(Numbers numbers, const void* data, int64_t index, int64_t count, Real* target) {
  if (numbers.bytes() == static_cast<int64_t>(sizeof(Real))) {
    copy_row(static_cast<const Real*>(data) + index, count, target);
  } else {
    load_row(numbers, data, index, count, target);
  }
}

template <typename Real>
void write(Numbers numbers, const Real* source, int64_t count, void* data, int64_t index) {
  if (numbers.bytes() == static_cast<int64_t>(sizeof(Real))) {
    copy_row(source, count, static_cast<Real*>(data) + index);
  } else {
    store_row(numbers, source, count, data, index);
  }
}

// Planes [batch, channels, height, width] in one of the two layouts.
struct Layout {
  int64_t channels, height, width;
  bool channels_last;

  int64_t row(int64_t sample, int64_t channel, int64_t y) const {
    return channels_last ? (sample * height + y) * width * channels + channel
                         : ((sample * channels + channel) * height + y) * width;
  }
  int64_t pixel() const { return channels_last ? channels : 1; }
};

// How the work is cut up; it follows from the shape alone. A block is one plane, or the channels
// that fill a cache line.
template <typename Real>
class Cut {
 public:
  explicit Cut(const Depthwise& problem)
      : problem_(problem),
        vector_(rows<Real>().product_lanes),
        block_(problem.channels_last ? kLine : 1) {
    const int64_t margin_y = (problem.kernel_y - 1) * problem.dilation_y;
    margin_x_ = (problem.kernel_x - 1) * problem.dilation_x;
    const int64_t most_columns = problem.channels_last ? 256 : 2048;
    columns_ = even(problem.out_width, most_columns);
    if (!problem.channels_last) columns_ = round_up(columns_, kLine);
    const int64_t most_rows =
        std::max<int64_t>(kTile / image_pitch() - margin_y, std::max<int64_t>(4, margin_y / 2));
    rows_ = even(problem.out_height, most_rows);
    image_rows_ = rows_ + margin_y;
    for (int64_t i = 0; i < problem.kernel_y; ++i) {
      for (int64_t j = 0; j < problem.kernel_x; ++j) {
        offsets_.push_back(i * problem.dilation_y * image_pitch() +
                           j * problem.dilation_x * block_);
      }
    }
  }

  int64_t blocks() const { return ceil_div(problem_.channels, block_); }
  int64_t tiles_x() const { return ceil_div(problem_.out_width, std::max<int64_t>(columns_, 1)); }
  int64_t tiles() const {
    return ceil_div(problem_.out_height, std::max<int64_t>(rows_, 1)) * tiles_x();
  }
  int64_t tasks() const { return problem_.batch * blocks() * tiles(); }
  int64_t work() const { return rows_ * columns_ * block_ * problem_.taps(); }

  int64_t vector() const { return vector_; }
  int64_t block() const { return block_; }
  int64_t lanes() const { return problem_.channels_last ? block_ : vector_; }
  int64_t stride() const { return problem_.channels_last ? block_ : vector_; }
  int64_t image_pitch() const {
    return problem_.channels_last ? (columns_ + margin_x_) * block_
                                  : round_up(columns_ + margin_x_, kLine) + kLine;
  }
  int64_t out_pitch() const { return columns_ * block_; }
  int64_t image_numbers() const { return image_rows_ * image_pitch(); }
  int64_t out_numbers() const { return rows_ * out_pitch(); }
  const int64_t* offsets() const { return offsets_.data(); }

  struct Task {
    int64_t index, sample, channel, channels, y, x, rows, columns;
  };

  Task task(int64_t index) const {
    const int64_t tile = index % tiles(), group = index / tiles();
    const int64_t channel = group % blocks() * block_;
    const int64_t y = tile / tiles_x() * rows_, x = tile % tiles_x() * columns_;
    return {index,
            group / blocks(),
            channel,
            std::min(block_, problem_.channels - channel),
            y,
            x,
            std::min(rows_, problem_.out_height - y),
            std::min(columns_, problem_.out_width - x)};
  }

  // Vectors that a row of the task's outputs takes for each vector of its block.
  int64_t places(const Task& task) const {
    return problem_.channels_last ? task.columns : ceil_div(task.columns, vector_);
  }

  void load_image(const Task& task, Numbers numbers, const void* data, Real* target) const {
    const Layout layout{problem_.channels, problem_.height, problem_.width,
                        problem_.channels_last};
    load(task, layout, numbers, data, task.y - problem_.padding_y, task.x - problem_.padding_x,
         task.rows + image_rows_ - rows_, columns_ + margin_x_, image_pitch(), target);
  }

  void load_grad(const Task& task, Numbers numbers, const void* data, Real* target) const {
    const Layout layout{problem_.channels, problem_.out_height, problem_.out_width,
                        problem_.channels_last};
    load(task, layout, numbers, data, task.y, task.x, task.rows, columns_, out_pitch(), target);
  }

  // Where the filter may write results itself, or nowhere.
  Real* direct(const Task& task, Numbers numbers, void* out, int64_t* pitch, int64_t* place) const {
    const bool whole = problem_.channels_last ? task.channels == block_ : task.columns >= vector_;
    if (!whole || numbers.bytes() != static_cast<int64_t>(sizeof(Real))) return nullptr;
    const Layout layout = out_layout();
    *pitch = layout.row(0, 0, 1);
    *place = problem_.channels_last ? layout.pixel() : vector_;
    return static_cast<Real*>(out) + layout.row(task.sample, task.channel, task.y) +
           task.x * layout.pixel();
  }

  void store(const Task& task, Numbers numbers, const Real* tile, void* out) const {
    const Layout layout = out_layout();
    for (int64_t r = 0; r < task.rows; ++r) {
      const Real* const source = tile + r * out_pitch();
      const int64_t index =
          layout.row(task.sample, task.channel, task.y + r) + task.x * layout.pixel();
      if (!problem_.channels_last) {
        write(numbers, source, task.columns, out, index);
        continue;
      }
      for (int64_t p = 0; p < task.columns; ++p) {
        write(numbers, source + p * block_, task.channels, out, index + p * layout.pixel());
      }
    }
  }

 private:
  static constexpr int64_t kLine = 64 / sizeof(Real);
  static constexpr int64_t kTile = 128 * 1024 / sizeof(Real);  // numbers; for the second cache

  static int64_t even(int64_t size, int64_t most) {
    return ceil_div(size, std::max<int64_t>(1, ceil_div(size, most)));
  }

  Layout out_layout() const {
    return {problem_.channels, problem_.out_height, problem_.out_width, problem_.channels_last};
  }

  bool is_whole_plane() const { return !problem_.channels_last && tiles() == 1; }

  // A tile of an image with zeros around it, into one that was zero or held another like it.
  void load(const Task& task, const Layout& layout, Numbers numbers, const void* data, int64_t y0,
            int64_t x0, int64_t tile_rows, int64_t tile_columns, int64_t pitch,
            Real* target) const {
    const int64_t from = std::clamp<int64_t>(-x0, 0, tile_columns);
    const int64_t to = std::clamp<int64_t>(layout.width - x0, from, tile_columns);
    if (is_whole_plane()) {
      // The zeros around a plane stay where they were for the one before.
      const int64_t first = std::clamp<int64_t>(-y0, 0, tile_rows);
      const int64_t last = std::clamp<int64_t>(layout.height - y0, first, tile_rows);
      for (int64_t r = first; r < last; ++r) {
        read(numbers, data,
                 layout.row(task.sample, task.channel, y0 + r) + x0 + from, to - from,
                 target + r * pitch + from);
      }
      return;
    }
    for (int64_t r = 0; r < tile_rows; ++r, target += pitch) {
      const int64_t y = y0 + r;
      if (y < 0 || y >= layout.height || from == to) {
        std::fill(target, target + pitch, Real{});
        continue;
      }
      std::fill(target, target + from * block_, Real{});
      std::fill(target + to * block_, target + pitch, Real{});
      const int64_t index =
          layout.row(task.sample, task.channel, y) + (x0 + from) * layout.pixel();
      if (!problem_.channels_last) {
        read(numbers, data, index, to - from, target + from);
        continue;
      }
      if (task.channels == block_ && numbers.bytes() == static_cast<int64_t>(sizeof(Real))) {
        const Real* const source = static_cast<const Real*>(data) + index;
        for (int64_t p = from; p < to; ++p) {
          std::memcpy(target + p * kLine, source + (p - from) * layout.pixel(), sizeof(Real[kLine]));
        }
        continue;
      }
      for (int64_t p = from; p < to; ++p) {
        Real* const pixel = target + p * block_;
        read(numbers, data, index + (p - from) * layout.pixel(), task.channels, pixel);
        std::fill(pixel + task.channels, pixel + block_, Real{});
      }
    }
  }

  const Depthwise& problem_;
  int64_t vector_, block_, margin_x_ = 0, columns_ = 0, rows_ = 0, image_rows_ = 0;
  std::vector<int64_t> offsets_;
};

}  // namespace

template <typename Real>
void depthwise(const Depthwise& problem, Numbers numbers, const void* image, const void* kernels,
               bool mirrored, void* out) {
  const Cut<Real> cut(problem);
  const int64_t taps = problem.taps(), lanes = cut.lanes(), vector = cut.vector(),
                block = cut.block();
  for_tasks(cut.tasks(), cut.work(), [&](int64_t begin, int64_t end) {
    Scratch<Real> tile(cut.image_numbers()), out_tile(cut.out_numbers()), loaded(taps),
        weights(taps * block);
    for (int64_t index = begin; index < end; ++index) {
      const auto task = cut.task(index);
      for (int64_t c = 0; c < task.channels; ++c) {
        read(numbers, kernels, (task.sample * problem.channels + task.channel + c) * taps,
                 taps, loaded.data());
        for (int64_t t = 0; t < taps; ++t) {
          weights.data()[t * block + c] = loaded.data()[mirrored ? taps - 1 - t : t];
        }
      }
      cut.load_image(task, numbers, image, tile.data());
      int64_t pitch = cut.out_pitch(), place = cut.stride();
      Real* const direct = cut.direct(task, numbers, out, &pitch, &place);
      Real* const target = direct ? direct : out_tile.data();
      const auto filter = [&](int64_t lane, int64_t from, int64_t places, int64_t stride,
                              int64_t out_stride) {
        rows<Real>().filter({tile.data() + from, cut.image_pitch(), cut.offsets(),
                             weights.data() + lane, block, target + from, pitch, out_stride,
                             static_cast<int>(taps), task.rows, places, stride});
      };
      const int64_t places = cut.places(task), last = task.columns - vector;
      if (problem.channels_last) {
        for (int64_t lane = 0; lane < lanes; lane += vector) {
          filter(lane, lane, places, cut.stride(), place);
        }
      } else if (!direct || task.columns % vector == 0) {
        filter(0, 0, places, vector, vector);
      } else if (places == 2) {
        // A row's last vector overlaps the one before, and ends where the row does.
        filter(0, 0, 2, last, last);
      } else {
        filter(0, 0, places - 1, vector, vector);
        filter(0, last, 1, vector, vector);
      }
      if (!direct) cut.store(task, numbers, out_tile.data(), out);
    }
  });
}

template <typename Real>
void depthwise_grad_kernels(const Depthwise& problem, Numbers numbers, const void* image,
                            const void* grad, void* out) {
  const Cut<Real> cut(problem);
  const int64_t taps = problem.taps(), lanes = cut.lanes(), vector = cut.vector();
  Scratch<Real> sums(cut.tasks() * taps * lanes);
  for_tasks(cut.tasks(), cut.work(), [&](int64_t begin, int64_t end) {
    Scratch<Real> tile(cut.image_numbers()), grad_tile(cut.out_numbers());
    for (int64_t index = begin; index < end; ++index) {
      const auto task = cut.task(index);
      cut.load_image(task, numbers, image, tile.data());
      cut.load_grad(task, numbers, grad, grad_tile.data());
      for (int64_t lane = 0; lane < lanes; lane += vector) {
        rows<Real>().filter_gradient({tile.data() + lane, cut.image_pitch(), cut.offsets(),
                                      grad_tile.data() + lane, cut.out_pitch(),
                                      sums.data() + index * taps * lanes + lane, lanes,
                                      static_cast<int>(taps), task.rows, cut.places(task),
                                      cut.stride()});
      }
    }
  });
  const int64_t planes = problem.batch * problem.channels;
  for_tasks(planes, cut.tiles() * taps * lanes, [&](int64_t begin, int64_t end) {
    Scratch<Real> total(taps);
    for (int64_t plane = begin; plane < end; ++plane) {
      const int64_t sample = plane / problem.channels, channel = plane % problem.channels;
      const int64_t block = problem.channels_last ? channel / lanes : channel;
      const int64_t first = problem.channels_last ? channel % lanes : 0;
      const int64_t last = problem.channels_last ? first + 1 : lanes;
      for (int64_t t = 0; t < taps; ++t) {
        double sum = 0;
        for (int64_t tile = 0; tile < cut.tiles(); ++tile) {
          const int64_t index = (sample * cut.blocks() + block) * cut.tiles() + tile;
          const Real* const part = sums.data() + (index * taps + t) * lanes;
          for (int64_t lane = first; lane < last; ++lane) sum += part[lane];
        }
        total.data()[t] = static_cast<Real>(sum);
      }
      write(numbers, total.data(), taps, out, plane * taps);
    }
  });
}

template void depthwise<float>(const Depthwise&, Numbers, const void*, const void*, bool, void*);
template void depthwise<double>(const Depthwise&, Numbers, const void*, const void*, bool, void*);
template void depthwise_grad_kernels<float>(const Depthwise&, Numbers, const void*, const void*,
                                            void*);
template void depthwise_grad_kernels<double>(const Depthwise&, Numbers, const void*, const void*,
                                             void*);

}  // namespace ksdiff_ops::cpu

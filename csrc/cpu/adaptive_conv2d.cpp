// adaptive_conv2d and its gradients on the CPU. Patches are scaled a strip of pixels at a time,
// into a panel that stays in the first cache, and multiplied by the kernel from there.
#include "small_planes.h"

namespace ksdiff_ops::cpu {
namespace {

// The kernel [Cout, Cin, taps] as a matrix of terms, in the order that a product reads it in.
template <class Way>
class Kernel {
  using Real = typename Way::Real;

 public:
  Kernel(const Tensor& weight, Numbers numbers)
      : out_(weight.size(0)), in_(weight.size(1)), taps_(weight.size(2) * weight.size(3)),
        loaded_(out_ * in_ * taps_) {
    const Tensor kernel = packed(weight);
    load_row(numbers, kernel.const_data_ptr(), 0, out_ * in_ * taps_, loaded_.data());
  }

  Matrix<Way> straight() {  // [Cout, Cin * taps]
    return arranged(out_, in_, taps_, [](int64_t o, int64_t c, int64_t tap) {
      return Place{o, c, tap};
    });
  }

  Matrix<Way> mirrored() {  // [Cin, Cout * taps], taps from the last to the first
    return arranged(in_, out_, taps_, [this](int64_t o, int64_t c, int64_t tap) {
      return Place{c, o, taps_ - 1 - tap};
    });
  }

  Matrix<Way> transposed() {  // [Cin * taps, Cout]
    return arranged(in_ * taps_, out_, 1, [this](int64_t o, int64_t c, int64_t tap) {
      return Place{c * taps_ + tap, o, 0};
    });
  }

 private:
  struct Place {
    int64_t row, channel, tap;
  };

  template <class PlaceOf>
  Matrix<Way> arranged(int64_t rows, int64_t channels, int64_t taps, const PlaceOf& place_of) {
    Matrix<Way> matrix(rows, channels, taps);
    const Real* source = loaded_.data();
    for (int64_t o = 0; o < out_; ++o) {
      for (int64_t c = 0; c < in_; ++c) {
        for (int64_t tap = 0; tap < taps_; ++tap) {
          const Place place = place_of(o, c, tap);
          matrix.set(place.row, place.channel, place.tap, *source++);
        }
      }
    }
    return matrix;
  }

  int64_t out_, in_, taps_;
  Scratch<Real> loaded_;
};

// Some rows of one image; how many follows from the shape alone, so that sums that are made per
// part are the same for every number of threads.
struct Parts {
  const Shape& shape;
  int64_t rows;  // of one part

  int64_t per_image() const { return ceil_div(shape.height, rows); }
  int64_t count() const { return shape.batch * per_image(); }
  int64_t image(int64_t part) const { return part / per_image(); }
  int64_t first(int64_t part) const { return part % per_image() * rows; }
  int64_t last(int64_t part) const { return std::min(first(part) + rows, shape.height); }
};

template <class Body>
void for_parts(const Problem& problem, const Parts& parts, const Body& body) {
  const int64_t work = parts.rows * problem.shape.width * problem.patch() * problem.others;
  for_tasks(parts.count(), work, body);
}

template <typename Real>
int64_t strip_of() {
  return 2 * rows<Real>().product_lanes;
}

// Of the next strip: one vector where no more is left of a row.
template <typename Real>
int64_t columns_of(int64_t pixels) {
  return std::min(strip_of<Real>(), round_up(pixels, rows<Real>().product_lanes));
}

// out[o][p] = sum over channels and taps of matrix[o][c, tap] * the scaled neighbours of p
template <class Way>
void convolve(const Problem& problem, Numbers numbers, const void* image, const void* attention,
              bool mirrored, const Matrix<Way>& matrix, void* out) {
  using Real = typename Way::Real;
  using Term = typename Way::Term;
  const Shape& shape = problem.shape;
  const int64_t tile = forward_tile<Real>(shape, same_window(shape, mirrored));
  const int64_t strip = strip_of<Real>(), tile_pitch = round_up(tile, strip);
  const Parts parts{shape, rows_per_task(shape.height, shape.batch)};

  for_parts(problem, parts, [&](int64_t begin, int64_t end) {
    Neighbourhoods<Way> near(problem, numbers, image, attention, mirrored, tile);
    Scratch<Term> panel(matrix.terms() * strip);
    Scratch<Real> out_tile(problem.others * tile_pitch);
    for (int64_t part = begin; part < end; ++part) {
      for (int64_t x0 = 0; x0 < shape.width; x0 += tile) {
        const int64_t pixels = std::min(tile, shape.width - x0);
        near.start(parts.image(part), x0, pixels);
        for (int64_t y = parts.first(part); y < parts.last(part); ++y) {
          near.move_to(y);
          const int64_t index = parts.image(part) * problem.others * shape.image_plane() +
                                y * shape.width + x0;
          Real* const direct = direct_rows<Real>(numbers, out, index, pixels);
          Real* const target = direct ? direct : out_tile.data();
          const int64_t pitch = direct ? shape.image_plane() : tile_pitch;
          for (int64_t p = 0; p < pixels; p += strip) {
            const int64_t columns = columns_of<Real>(pixels - p);
            near.scale_planes(p, columns, panel.data(), strip);
            Way::matmul({matrix.data(), matrix.terms(), panel.data(), strip, target + p, pitch,
                         problem.others, matrix.terms(), columns, false});
          }
          if (direct) continue;
          for (int64_t o = 0; o < problem.others; ++o) {
            store_row(numbers, target + o * pitch, pixels, out, index + o * shape.image_plane());
          }
        }
      }
    }
  });
}

// out[tap][p] = sum over channels of image[c][neighbour of p] * (matrix[c, tap][o] . grad[o][p])
template <class Way>
void correlate(const Problem& problem, Numbers numbers, const void* image, const void* grad,
               const Matrix<Way>& matrix, void* out) {
  using Real = typename Way::Real;
  const Shape& shape = problem.shape;
  const int64_t tile = forward_tile<Real>(shape, same_window(shape, false));
  const int64_t strip = strip_of<Real>();
  const Parts parts{shape, rows_per_task(shape.height, shape.batch)};

  for_parts(problem, parts, [&](int64_t begin, int64_t end) {
    Neighbourhoods<Way> near(problem, numbers, image, nullptr, false, tile);
    RowRing<Real> grad_row(1, problem.others, {0}, 1, round_up(tile, strip));
    typename Way::PlaneTerms grad_terms(problem.others, strip);
    Scratch<Real> panel(problem.patch() * strip);
    for (int64_t part = begin; part < end; ++part) {
      const int64_t image_index = parts.image(part);
      for (int64_t x0 = 0; x0 < shape.width; x0 += tile) {
        const int64_t pixels = std::min(tile, shape.width - x0);
        near.start(image_index, x0, pixels);
        grad_row.start({numbers, grad, image_index * problem.others * shape.image_plane(),
                        problem.others, shape.height, shape.width},
                       x0);
        for (int64_t y = parts.first(part); y < parts.last(part); ++y) {
          near.move_to(y);
          grad_row.offset_of(y);
          for (int64_t p = 0; p < pixels; p += strip) {
            const int64_t columns = columns_of<Real>(pixels - p);
            grad_terms.take(grad_row.data() + p, grad_row.plane_pitch());
            Way::matmul({matrix.data(), matrix.terms(), grad_terms.data(), grad_terms.pitch(),
                         panel.data(), strip, problem.patch(), matrix.terms(), columns, false});
            near.sum(p, columns, panel.data(), strip);
          }
          const int64_t index = image_index * shape.taps() * shape.out_plane() +
                                y * shape.width + x0;
          near.for_each_tap([&](int64_t tap, const Real* sums) {
            store_row(numbers, sums, pixels, out, index + tap * shape.out_plane());
          });
        }
      }
    }
  });
}

// sums[c, tap][o] = sum over pixels of the scaled neighbours of p * grad[o][p], one to a part
template <class Way>
void accumulate(const Problem& problem, Numbers numbers, const void* image, const void* attention,
                const void* grad, const Parts& parts, typename Way::Real* sums,
                int64_t sums_pitch) {
  using Real = typename Way::Real;
  using Term = typename Way::Term;
  constexpr int64_t panel_numbers = 64 * 1024;  // for the second cache
  const Shape& shape = problem.shape;
  const int64_t others = problem.others, patch = problem.patch();
  const int64_t tile = forward_tile<Real>(shape, same_window(shape, false));
  const int64_t strip = std::clamp<int64_t>(panel_numbers / patch / 16 * 16, 32, 128);
  // No power of two: rows would share a set of the cache.
  const int64_t panel_pitch = Way::terms(strip) + 16;

  for_parts(problem, parts, [&](int64_t begin, int64_t end) {
    Neighbourhoods<Way> near(problem, numbers, image, attention, false, tile);
    RowRing<Real> grad_row(1, others, {0}, 1, tile);
    Scratch<Term> panel(patch * panel_pitch), turned(Way::terms(tile) * sums_pitch);
    for (int64_t part = begin; part < end; ++part) {
      const int64_t image_index = parts.image(part);
      Real* const part_sums = sums + part * patch * sums_pitch;
      std::fill(part_sums, part_sums + patch * sums_pitch, Real{});
      for (int64_t x0 = 0; x0 < shape.width; x0 += tile) {
        const int64_t pixels = std::min(tile, shape.width - x0);
        near.start(image_index, x0, pixels);
        grad_row.start({numbers, grad, image_index * others * shape.image_plane(), others,
                        shape.height, shape.width},
                       x0);
        for (int64_t y = parts.first(part); y < parts.last(part); ++y) {
          near.move_to(y);
          grad_row.offset_of(y);
          for (int64_t o = 0; o < others; ++o) {
            Way::turn(grad_row.data() + o * grad_row.plane_pitch(), pixels, turned.data() + o,
                      sums_pitch);
          }
          for (int64_t p = 0; p < pixels; p += strip) {
            const int64_t count = std::min(strip, pixels - p);
            near.scale_pixels(p, count, panel.data(), panel_pitch);
            Way::end_rows(panel.data(), panel_pitch, patch, count);
            Way::matmul({panel.data(), panel_pitch, turned.data() + Way::terms(p) * sums_pitch,
                         sums_pitch, part_sums, sums_pitch, patch, Way::terms(count), others,
                         true});
          }
        }
      }
    }
  });
}

// The fewest rows to a part that keep the parts' sums within some megabytes, in at most 32 parts.
int64_t rows_per_sum(const Problem& problem, int64_t part_bytes) {
  constexpr int64_t most_bytes = 16 << 20, least = 4, most = 32;
  const Shape& shape = problem.shape;
  const int64_t wanted = std::clamp<int64_t>(most_bytes / std::max<int64_t>(part_bytes, 1), least, most);
  return std::max<int64_t>(ceil_div(shape.height * shape.batch, wanted), 1);
}

void check_image(const char* name, const Tensor& image, const Tensor& lead) {
  check_rank(name, image, 4);
  check_alike(name, image, lead);
  for (int64_t axis : {0, 2, 3}) check_size(name, image, axis, lead.size(axis));
}

void check_attention(const Tensor& attention, const Tensor& lead) {
  check_rank("attention", attention, 5);
  check_alike("attention", attention, lead);
  check_size("attention", attention, 0, lead.size(0));
  check_size("attention", attention, 3, lead.size(2));
  check_size("attention", attention, 4, lead.size(3));
  STD_TORCH_CHECK(attention.size(1) > 0 && attention.size(2) > 0,
                  "attention: expected a kernel of at least 1 x 1, got shape ", text_of(attention));
}

void check_weight(const Tensor& weight, const Tensor& lead) {
  check_rank("weight", weight, 4);
  check_alike("weight", weight, lead);
  STD_TORCH_CHECK(weight.size(2) > 0 && weight.size(3) > 0,
                  "weight: expected a kernel of at least 1 x 1, got shape ", text_of(weight));
}

void check_same_taps(const Tensor& attention, const Tensor& weight) {
  check_size("weight", weight, 2, attention.size(1));
  check_size("weight", weight, 3, attention.size(2));
}

Tensor forward(const Tensor& x, const Tensor& attention, const Tensor& weight) {
  check_rank("x", x, 4);
  check_attention(attention, x);
  check_weight(weight, x);
  check_same_taps(attention, weight);
  check_size("weight", weight, 1, x.size(1));
  const Problem problem = problem_of(x.size(0), x.size(1), weight.size(0), x.size(2), x.size(3),
                                     weight.size(2), weight.size(3));
  const Numbers numbers = numbers_of(x);
  const Tensor image = packed(x),
               factors = packed(attention);
  Tensor out =
      torch::stable::new_empty(x, Sizes{x.size(0), weight.size(0), x.size(2), x.size(3)});
  with_products(numbers, [&](auto way) {
    using Way = decltype(way);
    if constexpr (Way::together == 1) {
      if (is_for_whole_planes<Way>(problem)) {
        convolve_planes<Way>(problem, numbers, image.const_data_ptr(), factors.const_data_ptr(),
                             false, as_matrix<Way>(weight), out);
        return;
      }
    }
    Kernel<Way> kernel(weight, numbers);
    convolve<Way>(problem, numbers, image.const_data_ptr(), factors.const_data_ptr(), false,
                  kernel.straight(), out.mutable_data_ptr());
  });
  return out;
}

Tensor grad_input(const Tensor& grad, const Tensor& attention, const Tensor& weight) {
  check_rank("grad", grad, 4);
  check_attention(attention, grad);
  check_weight(weight, grad);
  check_same_taps(attention, weight);
  check_size("weight", weight, 0, grad.size(1));
  const Problem problem = problem_of(grad.size(0), grad.size(1), weight.size(1), grad.size(2),
                                     grad.size(3), weight.size(2), weight.size(3));
  const Numbers numbers = numbers_of(grad);
  const Tensor from = packed(grad),
               factors = packed(attention);
  Tensor out = torch::stable::new_empty(
      grad, Sizes{grad.size(0), weight.size(1), grad.size(2), grad.size(3)});
  with_products(numbers, [&](auto way) {
    using Way = decltype(way);
    if constexpr (Way::together == 1) {
      if (is_for_whole_planes<Way>(problem)) {
        convolve_planes<Way>(problem, numbers, from.const_data_ptr(), factors.const_data_ptr(), true,
                             as_mirrored_matrix<Way>(weight), out);
        return;
      }
    }
    Kernel<Way> kernel(weight, numbers);
    convolve<Way>(problem, numbers, from.const_data_ptr(), factors.const_data_ptr(), true,
                  kernel.mirrored(), out.mutable_data_ptr());
  });
  return out;
}

Tensor grad_attention(const Tensor& grad, const Tensor& x, const Tensor& weight) {
  check_rank("grad", grad, 4);
  check_image("x", x, grad);
  check_weight(weight, grad);
  check_size("weight", weight, 0, grad.size(1));
  check_size("weight", weight, 1, x.size(1));
  const Problem problem = problem_of(x.size(0), x.size(1), grad.size(1), x.size(2), x.size(3),
                                     weight.size(2), weight.size(3));
  const Numbers numbers = numbers_of(grad);
  const Tensor from = packed(grad), image = packed(x);
  Tensor out = torch::stable::new_empty(
      grad, Sizes{x.size(0), weight.size(2), weight.size(3), x.size(2), x.size(3)});
  with_products(numbers, [&](auto way) {
    using Way = decltype(way);
    if constexpr (Way::together == 1) {
      if (is_for_whole_planes<Way>(problem)) {
        correlate_planes<Way>(problem, numbers, image.const_data_ptr(), from.const_data_ptr(),
                              torch::stable::transpose(as_matrix<Way>(weight), 0, 1), out);
        return;
      }
    }
    Kernel<Way> kernel(weight, numbers);
    correlate<Way>(problem, numbers, image.const_data_ptr(), from.const_data_ptr(), kernel.transposed(),
                   out.mutable_data_ptr());
  });
  return out;
}

Tensor grad_weight(const Tensor& grad, const Tensor& x, const Tensor& attention) {
  check_rank("grad", grad, 4);
  check_image("x", x, grad);
  check_attention(attention, grad);
  const Problem problem = problem_of(x.size(0), x.size(1), grad.size(1), x.size(2), x.size(3),
                                     attention.size(1), attention.size(2));
  const Shape& shape = problem.shape;
  const Numbers numbers = numbers_of(grad);
  const Tensor from = packed(grad), image = packed(x),
               factors = packed(attention);
  Tensor out = torch::stable::new_empty(
      grad, Sizes{problem.others, shape.channels, shape.kernel_y, shape.kernel_x});
  with_products(numbers, [&](auto way) {
    using Way = decltype(way);
    using Real = typename Way::Real;
    if constexpr (Way::together == 1) {
      if (is_for_whole_planes<Way>(problem)) {
        accumulate_planes<Way>(problem, numbers, image.const_data_ptr(), factors.const_data_ptr(),
                               from.const_data_ptr(), out);
        return;
      }
    }
    const int64_t pitch = round_up(problem.others, rows<Real>().product_lanes);
    const int64_t part_numbers = problem.patch() * pitch;
    const Parts parts{shape, rows_per_sum(problem, part_numbers * sizeof(Real))};
    Scratch<Real> sums(parts.count() * part_numbers), total(problem.others * problem.patch());
    accumulate<Way>(problem, numbers, image.const_data_ptr(), factors.const_data_ptr(),
                     from.const_data_ptr(), parts, sums.data(), pitch);
    for (int64_t m = 0; m < problem.patch(); ++m) {
      for (int64_t o = 0; o < problem.others; ++o) {
        double sum = 0;
        for (int64_t part = 0; part < parts.count(); ++part) {
          sum += sums.data()[part * part_numbers + m * pitch + o];
        }
        total.data()[o * problem.patch() + m] = static_cast<Real>(sum);
      }
    }
    store_row(numbers, total.data(), problem.others * problem.patch(), out.mutable_data_ptr(), 0);
  });
  return out;
}

}  // namespace
}  // namespace ksdiff_ops::cpu

STABLE_TORCH_LIBRARY_IMPL(ksdiff_ops, CPU, m) {
  m.impl("adaptive_conv2d", TORCH_BOX(&ksdiff_ops::cpu::forward));
  m.impl("adaptive_conv2d_grad_input", TORCH_BOX(&ksdiff_ops::cpu::grad_input));
  m.impl("adaptive_conv2d_grad_attention", TORCH_BOX(&ksdiff_ops::cpu::grad_attention));
  m.impl("adaptive_conv2d_grad_weight", TORCH_BOX(&ksdiff_ops::cpu::grad_weight));
}

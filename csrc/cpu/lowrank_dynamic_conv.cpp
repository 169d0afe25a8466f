// lowrank_dynamic_conv and its gradients on the CPU: kernels are mixed tile by tile.
#include "pixel_conv.h"

namespace ksdiff_ops::cpu {
namespace {

struct LowRank {
  Shape shape;
  int64_t rank;

  int64_t basis_numbers() const { return rank * shape.taps(); }
};

// kernels[tap][p] = sum over r of coeff[r][p] * basis[r][tap]
template <typename Real>
class MixedKernels {
 public:
  MixedKernels(const LowRank& problem, Numbers numbers, const void* coeff, const void* basis,
               int64_t slots, int64_t width)
      : problem_(problem),
        numbers_(numbers),
        coeff_(coeff),
        basis_(basis),
        ring_(slots, problem.rank, {0}, 1, width),
        loaded_(problem.basis_numbers()),
        matrix_(problem.basis_numbers()),
        matrix_offset_(problem.shape.taps()),
        row_offset_(problem.shape.taps()) {}

  void start(int64_t image_index, int64_t first, int64_t) {
    const Shape& shape = problem_.shape;
    load_row(numbers_, basis_, image_index * problem_.basis_numbers(), problem_.basis_numbers(),
             loaded_.data());
    for (int64_t r = 0; r < problem_.rank; ++r) {
      for (int64_t tap = 0; tap < shape.taps(); ++tap) {
        matrix_.data()[tap * problem_.rank + r] = loaded_.data()[r * shape.taps() + tap];
      }
    }
    first_ = first;
    ring_.start({numbers_, coeff_, image_index * problem_.rank * shape.out_plane(), problem_.rank,
                 shape.out_height, shape.out_width},
                first);
  }

  void fill(const Taps& taps, int64_t pixels, Real* tile, int64_t pitch) {
    matrix_offset_.clear();
    row_offset_.clear();
    for (const Tap& tap : taps) {
      matrix_offset_.push_back(tap.index * problem_.rank);
      row_offset_.push_back(ring_.offset_of(tap.row) + tap.column - first_);
    }
    rows<Real>().mix({matrix_.data(), matrix_offset_.data(), ring_.data(), row_offset_.data(),
                      ring_.plane_pitch(), tile, pitch, static_cast<int>(taps.size()),
                      static_cast<int>(problem_.rank), pixels});
  }

 private:
  const LowRank& problem_;
  Numbers numbers_;
  const void* coeff_;
  const void* basis_;
  RowRing<Real> ring_;
  Scratch<Real> loaded_, matrix_;
  Offsets matrix_offset_, row_offset_;
  int64_t first_ = 0;
};

// The same sums, of an image with one channel to a group, in another order: the image is filtered
// with each of the basis' kernels, and the results are mixed. That takes R products for a tap and
// pixel, where mixing the kernels first takes R and one more for every channel.
template <typename Real>
class MixedImages {
 public:
  MixedImages(const LowRank& problem, Numbers numbers, const void* coeff, const void* basis,
              int64_t tile)
      : problem_(problem),
        numbers_(numbers),
        coeff_(coeff),
        basis_(basis),
        pitch_(round_up(tile, kRowQuantum)),
        matrix_(problem.basis_numbers()),
        filtered_(problem.rank * pitch_),
        shares_(1, problem.rank, {0}, 1, tile) {
    for (int64_t r = 0; r < problem.rank; ++r) {
      filtered_offset_.push_back(r * pitch_);
      shares_offset_.push_back(r * shares_.plane_pitch());
    }
  }

  void start(int64_t image_index, int64_t first, int64_t) {
    const Shape& shape = problem_.shape;
    load_row(numbers_, basis_, image_index * problem_.basis_numbers(), problem_.basis_numbers(),
             matrix_.data());
    shares_.start({numbers_, coeff_, image_index * problem_.rank * shape.out_plane(),
                   problem_.rank, shape.out_height, shape.out_width},
                  first);
  }

  void sum(const Taps& taps, RowRing<Real>& ring, const Offsets& offsets, int64_t pixels,
           Real* out, int64_t) {
    if (taps.empty()) {
      std::fill(out, out + pixels, Real{});
      return;
    }
    // Taps that meet the image follow one another.
    rows<Real>().convolve({matrix_.data() + taps.begin()->index, problem_.shape.taps(),
                           ring.data(), offsets.data(), filtered_.data(), pitch_,
                           static_cast<int>(problem_.rank), static_cast<int>(taps.size()),
                           pixels});
    shares_.offset_of(taps.begin()->row);
    constexpr int64_t here = 0;
    rows<Real>().contract({shares_.data(), shares_offset_.data(), filtered_.data(), &here,
                           filtered_offset_.data(), out, pitch_, 1,
                           static_cast<int>(problem_.rank), pixels});
  }

 private:
  const LowRank& problem_;
  Numbers numbers_;
  const void* coeff_;
  const void* basis_;
  int64_t pitch_;
  Scratch<Real> matrix_, filtered_;
  RowRing<Real> shares_;
  std::vector<int64_t> filtered_offset_, shares_offset_;
};

// grad of coeff[r][p] = sum over taps of tile[tap][p] * basis[r][tap]
template <typename Real>
class CoefficientGradients {
 public:
  CoefficientGradients(const LowRank& problem, Numbers numbers, const void* basis, void* data,
                       int64_t tile)
      : problem_(problem),
        numbers_(numbers),
        basis_(basis),
        data_(data),
        matrix_(problem.basis_numbers()),
        rows_(problem.rank * round_up(tile, kRowQuantum)),
        row_offset_(problem.rank, 0) {
    for (int64_t r = 0; r < problem.rank; ++r) {
      matrix_offset_.push_back(r * problem.shape.taps());
    }
  }

  void start(int64_t, int64_t image_index) {
    image_index_ = image_index;
    load_row(numbers_, basis_, image_index * problem_.basis_numbers(), problem_.basis_numbers(),
             matrix_.data());
  }

  void take(const Real* tile, int64_t pitch, int64_t y, int64_t x0, int64_t pixels) {
    const Shape& shape = problem_.shape;
    rows<Real>().mix({matrix_.data(), matrix_offset_.data(), tile, row_offset_.data(), pitch,
                      rows_.data(), pitch, static_cast<int>(problem_.rank),
                      static_cast<int>(shape.taps()), pixels});
    for (int64_t r = 0; r < problem_.rank; ++r) {
      store_row(numbers_, rows_.data() + r * pitch, pixels, data_,
                (image_index_ * problem_.rank + r) * shape.out_plane() + y * shape.out_width + x0);
    }
  }

  void finish(int64_t) const {}

 private:
  const LowRank& problem_;
  Numbers numbers_;
  const void* basis_;
  void* data_;
  Scratch<Real> matrix_, rows_;
  std::vector<int64_t> matrix_offset_, row_offset_;
  int64_t image_index_ = 0;
};

// grad of basis[r][tap] = sum over p of tile[tap][p] * coeff[r][p], one partial sum per task
template <typename Real>
class BasisGradients {
 public:
  BasisGradients(const LowRank& problem, Numbers numbers, const void* coeff, double* partial,
                 int64_t tile)
      : problem_(problem),
        numbers_(numbers),
        coeff_(coeff),
        partial_(partial),
        ring_(1, problem.rank, {0}, 1, round_up(tile, kRowQuantum)),
        sums_(sums()) {}

  void start(int64_t, int64_t image_index) {
    image_index_ = image_index;
    x0_ = -1;
    std::fill(sums_.data(), sums_.data() + sums(), Real{});
  }

  void take(const Real* tile, int64_t pitch, int64_t y, int64_t x0, int64_t pixels) {
    const Shape& shape = problem_.shape;
    if (x0 != x0_) {
      x0_ = x0;
      ring_.start({numbers_, coeff_, image_index_ * problem_.rank * shape.out_plane(),
                   problem_.rank, shape.out_height, shape.out_width},
                  x0);
    }
    const Real* const left = ring_.data() + ring_.offset_of(y);
    rows<Real>().multiply({left, ring_.plane_pitch(), static_cast<int>(problem_.rank), tile, pitch,
                           static_cast<int>(shape.taps()), pixels, sums_.data()});
  }

  void finish(int64_t task) {
    const int64_t lanes = rows<Real>().product_lanes;
    double* const target = partial_ + task * problem_.basis_numbers();
    std::fill(target, target + problem_.basis_numbers(), 0.0);
    // Lane by lane: the lanes of one sum after the other would wait for each other.
    for (int64_t lane = 0; lane < lanes; ++lane) {
      for (int64_t k = 0; k < problem_.basis_numbers(); ++k) {
        target[k] += sums_.data()[k * lanes + lane];
      }
    }
  }

 private:
  int64_t sums() const { return problem_.basis_numbers() * rows<Real>().product_lanes; }

  const LowRank& problem_;
  Numbers numbers_;
  const void* coeff_;
  double* partial_;
  RowRing<Real> ring_;
  Scratch<Real> sums_;
  int64_t image_index_ = 0, x0_ = -1;
};

void check_coeff(const Tensor& coeff, const Tensor& lead) {
  check_rank("coeff", coeff, 5);
  check_alike("coeff", coeff, lead);
  check_groups("coeff", lead.size(1), coeff.size(1));
  check_size("coeff", coeff, 0, lead.size(0));
}

void check_basis(const Tensor& basis, const Tensor& lead) {
  check_rank("basis", basis, 5);
  check_alike("basis", basis, lead);
  check_groups("basis", lead.size(1), basis.size(1));
  check_size("basis", basis, 0, lead.size(0));
}

void check_same_groups_and_rank(const Tensor& coeff, const Tensor& basis) {
  check_size("basis", basis, 1, coeff.size(1));
  check_size("basis", basis, 2, coeff.size(2));
}

Tensor forward(const Tensor& x, const Tensor& coeff, const Tensor& basis, Sizes stride,
               Sizes padding, Sizes dilation) {
  check_rank("x", x, 4);
  check_coeff(coeff, x);
  check_basis(basis, x);
  check_same_groups_and_rank(coeff, basis);
  const Window window = window_of(stride, padding, dilation);
  const LowRank problem{{x.size(0), coeff.size(1), x.size(1) / coeff.size(1), x.size(2), x.size(3),
                         basis.size(3), basis.size(4), coeff.size(3), coeff.size(4)},
                        coeff.size(2)};
  const Shape& shape = problem.shape;
  const Numbers numbers = numbers_of(x);
  const Tensor image = packed(x), shares = packed(coeff),
               kernels = packed(basis);
  Tensor out = new_output(x, Sizes{shape.batch, x.size(1), shape.out_height, shape.out_width});
  with_real(numbers, [&](auto real) {
    using Real = decltype(real);
    const auto walk = [&](int64_t tile, const auto& make_sums) {
      walk_forward<Real>(shape, window, numbers, image.const_data_ptr(), out.mutable_data_ptr(),
                         tile, make_sums);
    };
    if (shape.channels == 1) {
      const int64_t tile = forward_tile<Real>(shape, window, problem.rank);
      walk(tile, [&] {
        return MixedImages<Real>(problem, numbers, shares.const_data_ptr(),
                                 kernels.const_data_ptr(), tile);
      });
      return;
    }
    const int64_t tile = forward_tile<Real>(shape, window);
    walk(tile, [&] {
      return KernelSums<Real, MixedKernels<Real>>(shape, tile, problem, numbers,
                                                  shares.const_data_ptr(),
                                                  kernels.const_data_ptr(), 1, tile);
    });
  });
  return out;
}

Tensor grad_input(const Tensor& grad, const Tensor& coeff, const Tensor& basis, Sizes size,
                  Sizes stride, Sizes padding, Sizes dilation) {
  check_rank("grad", grad, 4);
  check_coeff(coeff, grad);
  check_basis(basis, grad);
  check_same_groups_and_rank(coeff, basis);
  check_size("grad", grad, 2, coeff.size(3));
  check_size("grad", grad, 3, coeff.size(4));
  check_pair("size", size, 0);
  const Window window = window_of(stride, padding, dilation);
  const LowRank problem{{grad.size(0), coeff.size(1), grad.size(1) / coeff.size(1), size[0],
                         size[1], basis.size(3), basis.size(4), coeff.size(3), coeff.size(4)},
                        coeff.size(2)};
  const Shape& shape = problem.shape;
  const Numbers numbers = numbers_of(grad);
  const Tensor from = packed(grad), shares = packed(coeff),
               kernels = packed(basis);
  Tensor out = new_output(grad, Sizes{shape.batch, grad.size(1), shape.height, shape.width});
  const GradColumnTaps columns(shape.kernel_x, window.stride_x, window.padding_x,
                               window.dilation_x);
  with_real(numbers, [&](auto real) {
    using Real = decltype(real);
    const int64_t width = grad_input_tile<Real>(shape, window) + columns.most - columns.least;
    walk_grad_input<Real>(
        shape, window, numbers, from.const_data_ptr(), out.mutable_data_ptr(), [&] {
          return KernelSums<Real, MixedKernels<Real>>(
              shape, grad_input_tile<Real>(shape, window), problem, numbers,
              shares.const_data_ptr(), kernels.const_data_ptr(), grad_input_slots(shape, window),
              width);
        });
  });
  return out;
}

Tensor grad_coeff(const Tensor& grad, const Tensor& x, const Tensor& basis, Sizes stride,
                  Sizes padding, Sizes dilation) {
  check_rank("grad", grad, 4);
  check_rank("x", x, 4);
  check_alike("x", x, grad);
  check_basis(basis, grad);
  check_size("x", x, 0, grad.size(0));
  check_size("x", x, 1, grad.size(1));
  const Window window = window_of(stride, padding, dilation);
  const LowRank problem{{x.size(0), basis.size(1), x.size(1) / basis.size(1), x.size(2), x.size(3),
                         basis.size(3), basis.size(4), grad.size(2), grad.size(3)},
                        basis.size(2)};
  const Shape& shape = problem.shape;
  const Numbers numbers = numbers_of(grad);
  const Tensor from = packed(grad), image = packed(x),
               kernels = packed(basis);
  Tensor out = new_output(grad, Sizes{shape.batch, shape.groups, problem.rank, shape.out_height,
                                      shape.out_width});
  with_real(numbers, [&](auto real) {
    using Real = decltype(real);
    walk_correlate<Real>(shape, window, numbers, from.const_data_ptr(), image.const_data_ptr(),
                         [&] {
                           return CoefficientGradients<Real>(
                               problem, numbers, kernels.const_data_ptr(), out.mutable_data_ptr(),
                               forward_tile<Real>(shape, window));
                         });
  });
  return out;
}

Tensor grad_basis(const Tensor& grad, const Tensor& x, const Tensor& coeff, Sizes kernel,
                  Sizes stride, Sizes padding, Sizes dilation) {
  check_rank("grad", grad, 4);
  check_rank("x", x, 4);
  check_alike("x", x, grad);
  check_coeff(coeff, grad);
  check_size("x", x, 0, grad.size(0));
  check_size("x", x, 1, grad.size(1));
  check_size("coeff", coeff, 3, grad.size(2));
  check_size("coeff", coeff, 4, grad.size(3));
  check_pair("kernel", kernel, 1);
  const Window window = window_of(stride, padding, dilation);
  const LowRank problem{{x.size(0), coeff.size(1), x.size(1) / coeff.size(1), x.size(2), x.size(3),
                         kernel[0], kernel[1], grad.size(2), grad.size(3)},
                        coeff.size(2)};
  const Shape& shape = problem.shape;
  const Numbers numbers = numbers_of(grad);
  const Tensor from = packed(grad), image = packed(x),
               shares = packed(coeff);
  Tensor out = torch::stable::new_empty(
      grad, Sizes{shape.batch, shape.groups, problem.rank, kernel[0], kernel[1]});
  const int64_t chunks = correlate_chunks(shape), images = shape.batch * shape.groups;
  const int64_t count = problem.basis_numbers();
  std::vector<double> partial(images * chunks * count);
  with_real(numbers, [&](auto real) {
    using Real = decltype(real);
    walk_correlate<Real>(shape, window, numbers, from.const_data_ptr(), image.const_data_ptr(),
                         [&] {
                           return BasisGradients<Real>(problem, numbers, shares.const_data_ptr(),
                                                       partial.data(),
                                                       forward_tile<Real>(shape, window));
                         });
    Scratch<Real> total(count);
    for (int64_t image_index = 0; image_index < images; ++image_index) {
      for (int64_t k = 0; k < count; ++k) {
        double sum = 0;
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
          sum += partial[(image_index * chunks + chunk) * count + k];
        }
        total.data()[k] = static_cast<Real>(sum);
      }
      store_row(numbers, total.data(), count, out.mutable_data_ptr(), image_index * count);
    }
  });
  return out;
}

}  // namespace
}  // namespace ksdiff_ops::cpu

STABLE_TORCH_LIBRARY_IMPL(ksdiff_ops, CPU, m) {
  m.impl("lowrank_dynamic_conv", TORCH_BOX(&ksdiff_ops::cpu::forward));
  m.impl("lowrank_dynamic_conv_grad_input", TORCH_BOX(&ksdiff_ops::cpu::grad_input));
  m.impl("lowrank_dynamic_conv_grad_coeff", TORCH_BOX(&ksdiff_ops::cpu::grad_coeff));
  m.impl("lowrank_dynamic_conv_grad_basis", TORCH_BOX(&ksdiff_ops::cpu::grad_basis));
}

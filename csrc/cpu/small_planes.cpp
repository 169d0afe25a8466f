#include "small_planes.h"

namespace ksdiff_ops::cpu {
namespace {

using torch::headeronly::ScalarType;

template <typename Real>
constexpr ScalarType kType = std::is_same_v<Real, double> ? ScalarType::Double : ScalarType::Float;

template <typename Real>
Tensor empty_reals(const Tensor& like, int64_t rows, int64_t columns) {
  return torch::stable::new_empty(like, Sizes{rows, columns}, kType<Real>);
}

template <typename Real>
Real* reals(const Tensor& tensor) {
  return static_cast<Real*>(tensor.mutable_data_ptr());
}

// Planes of some samples side by side, zeros between them: vectors may reach past a plane's end.
struct SideBySide {
  int64_t first, samples;  // of the batch
  int64_t plane, pitch;

  int64_t columns() const { return samples * pitch; }
};

// Calls body for as many samples at a time as fit into some megabytes of patches.
template <typename Real, class Body>
void for_samples(const Problem& problem, const Body& body) {
  constexpr int64_t most_bytes = 8 << 20, gap = 16;
  const int64_t plane = problem.shape.image_plane(), pitch = round_up(plane, 16) + gap;
  const int64_t bytes = problem.patch() * pitch * static_cast<int64_t>(sizeof(Real));
  const int64_t most = std::max<int64_t>(most_bytes / std::max<int64_t>(bytes, 1), 1);
  for (int64_t first = 0; first < problem.shape.batch; first += most) {
    body(SideBySide{first, std::min(most, problem.shape.batch - first), plane, pitch});
  }
}

// [channels, columns]
template <typename Real>
Tensor planes_of(const Tensor& like, const SideBySide& part, Numbers numbers, const void* data,
                 int64_t channels) {
  const Tensor planes = empty_reals<Real>(like, channels, part.columns());
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t s = 0; s < part.samples; ++s) {
      Real* const target = reals<Real>(planes) + c * part.columns() + s * part.pitch;
      load_row(numbers, data, ((part.first + s) * channels + c) * part.plane, part.plane, target);
      std::fill(target + part.plane, target + part.pitch, Real{});
    }
  }
  return planes;
}

// Calls body(neighbourhoods, sample, row, column) at every row of every sample.
template <class Way, class Body>
void for_rows(const Problem& problem, const SideBySide& part, Numbers numbers, const void* image,
              const void* attention, bool mirrored, const Body& body) {
  const Shape& shape = problem.shape;
  for_tasks(part.samples, problem.patch() * part.plane, [&](int64_t begin, int64_t end) {
    Neighbourhoods<Way> near(problem, numbers, image, attention, mirrored, shape.width);
    for (int64_t s = begin; s < end; ++s) {
      near.start(part.first + s, 0, shape.width);
      for (int64_t y = 0; y < shape.height; ++y) {
        near.move_to(y);
        body(near, s, y, s * part.pitch + y * shape.width);
      }
    }
  });
}

// [patch, columns]
template <class Way>
Tensor patches_of(const Tensor& like, const Problem& problem, const SideBySide& part,
                  Numbers numbers, const void* image, const void* attention, bool mirrored) {
  using Real = typename Way::Real;
  const Shape& shape = problem.shape;
  const Tensor patches = empty_reals<Real>(like, problem.patch(), part.columns());
  for_rows<Way>(problem, part, numbers, image, attention, mirrored,
                [&](auto& near, int64_t s, int64_t y, int64_t column) {
    // A row's last vector reaches into the row below, which comes next, or into the gap.
    near.scale_planes(0, shape.width, reals<Real>(patches) + column, part.columns());
    if (y + 1 < shape.height) return;
    for (int64_t m = 0; m < problem.patch(); ++m) {
      Real* const row = reals<Real>(patches) + m * part.columns() + s * part.pitch;
      std::fill(row + part.plane, row + part.pitch, Real{});
    }
  });
  return patches;
}

}  // namespace

template <class Way>
Tensor as_matrix(const Tensor& weight) {
  constexpr ScalarType type = kType<typename Way::Real>;
  const Tensor typed =
      weight.scalar_type() == type ? weight : torch::stable::to(weight, type);
  return reshaped(typed, Sizes{weight.size(0), weight.size(1) * weight.size(2) * weight.size(3)});
}

template <class Way>
Tensor as_mirrored_matrix(const Tensor& weight) {
  using Real = typename Way::Real;
  const int64_t out = weight.size(0), in = weight.size(1), taps = weight.size(2) * weight.size(3);
  const Tensor straight = packed(as_matrix<Way>(weight));
  const Tensor mirrored = empty_reals<Real>(weight, in, out * taps);
  const Real* source = static_cast<const Real*>(straight.const_data_ptr());
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t c = 0; c < in; ++c, source += taps) {
      std::reverse_copy(source, source + taps, reals<Real>(mirrored) + (c * out + o) * taps);
    }
  }
  return mirrored;
}

template <class Way>
void convolve_planes(const Problem& problem, Numbers numbers, const void* image,
                     const void* attention, bool mirrored, const Tensor& matrix,
                     const Tensor& out) {
  using Real = typename Way::Real;
  for_samples<Real>(problem, [&](const SideBySide& part) {
    const Tensor y = torch::stable::matmul(
        matrix, patches_of<Way>(out, problem, part, numbers, image, attention, mirrored));
    for (int64_t s = 0; s < part.samples; ++s) {
      for (int64_t o = 0; o < problem.others; ++o) {
        store_row(numbers, reals<Real>(y) + o * part.columns() + s * part.pitch, part.plane,
                  out.mutable_data_ptr(), ((part.first + s) * problem.others + o) * part.plane);
      }
    }
  });
}

template <class Way>
void correlate_planes(const Problem& problem, Numbers numbers, const void* image, const void* grad,
                      const Tensor& matrix, const Tensor& out) {
  using Real = typename Way::Real;
  const Shape& shape = problem.shape;
  for_samples<Real>(problem, [&](const SideBySide& part) {
    const Tensor products = torch::stable::matmul(
        matrix, planes_of<Real>(out, part, numbers, grad, problem.others));
    for_rows<Way>(problem, part, numbers, image, nullptr, false,
                  [&](auto& near, int64_t s, int64_t y, int64_t column) {
      near.sum(0, shape.width, reals<Real>(products) + column, part.columns());
      const int64_t index = (part.first + s) * shape.taps() * part.plane + y * shape.width;
      near.for_each_tap([&](int64_t tap, const Real* sums) {
        store_row(numbers, sums, shape.width, out.mutable_data_ptr(), index + tap * part.plane);
      });
    });
  });
}

template <class Way>
void accumulate_planes(const Problem& problem, Numbers numbers, const void* image,
                       const void* attention, const void* grad, const Tensor& out) {
  using Real = typename Way::Real;
  const int64_t count = problem.others * problem.patch();
  Scratch<Real> total(count);
  for_samples<Real>(problem, [&](const SideBySide& part) {
    const Tensor patches = patches_of<Way>(out, problem, part, numbers, image, attention, false);
    const Tensor sums =
        torch::stable::matmul(planes_of<Real>(out, part, numbers, grad, problem.others),
                              torch::stable::transpose(patches, 0, 1));
    const Real* const source = reals<Real>(sums);
    for (int64_t k = 0; k < count; ++k) total.data()[k] += source[k];
  });
  store_row(numbers, total.data(), count, out.mutable_data_ptr(), 0);
}

#define KSDIFF_INSTANTIATE(Way)                                                                  \
  template Tensor as_matrix<Way>(const Tensor&);                                                 \
  template Tensor as_mirrored_matrix<Way>(const Tensor&);                                        \
  template void convolve_planes<Way>(const Problem&, Numbers, const void*, const void*, bool,    \
                                     const Tensor&, const Tensor&);                              \
  template void correlate_planes<Way>(const Problem&, Numbers, const void*, const void*,         \
                                      const Tensor&, const Tensor&);                             \
  template void accumulate_planes<Way>(const Problem&, Numbers, const void*, const void*,        \
                                       const void*, const Tensor&);
KSDIFF_INSTANTIATE(Singly<float>)
KSDIFF_INSTANTIATE(Singly<double>)
#undef KSDIFF_INSTANTIATE

}  // namespace ksdiff_ops::cpu

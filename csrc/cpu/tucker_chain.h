// One sample of tucker_kernel up to its last mode: the core multiplied by its small factors, and
// the gradients of these products, all in a piece of memory that the caller gives.
#pragma once

#include <algorithm>
#include <array>

#include "row_ring.h"

namespace ksdiff_ops::cpu {

struct Modes {
  int64_t batch;
  std::array<int64_t, 4> rank;  // r1, r2, r3, r4
  std::array<int64_t, 4> size;  // Cout, Cin, kh, kw

  // The tensor that is multiplied along all modes behind `mode`, as a matrix.
  int64_t rows(int mode) const {
    int64_t count = 1;
    for (int m = 0; m <= mode; ++m) count *= rank[m];
    return count;
  }
  int64_t columns(int mode) const {
    int64_t count = 1;
    for (int m = mode + 1; m < 4; ++m) count *= size[m];
    return count;
  }
  int64_t core() const { return rows(3); }
  int64_t factor(int mode) const { return size[mode] * rank[mode]; }
  int64_t row() const { return columns(0); }  // numbers of one output channel
};

// tensor(3) is the core, and tensor(mode - 1) is tensor(mode) multiplied along that mode by its
// factor: [r1 ... r(mode + 1)] rows of what the later modes make, the last of them contiguous.
template <typename Real>
class TuckerChain {
 public:
  explicit TuckerChain(const Modes& modes) : modes_(modes) {
    for (int mode = 0; mode < 4; ++mode) {
      tensor_[mode] = take(modes.rows(mode) * pitch(mode));
      factor_[mode] = take(modes.factor(mode));
    }
    for (int mode = 1; mode < 4; ++mode) {
      if (is_turned(mode)) transposed_[mode] = take(modes.rank[mode] * transposed_pitch(mode));
    }
  }

  // Numbers that the sample takes, and as many again for their gradients.
  int64_t size() const { return size_; }
  // Numbers that `differentiate` needs besides.
  int64_t scratch() const {
    int64_t most = 0;
    for (int mode = 1; mode < 4; ++mode) most = std::max(most, products(mode));
    return most;
  }

  // Rows are padded with zeros to whole vectors, except those of a single number.
  int64_t pitch(int mode) const {
    return mode > 0 && modes_.columns(mode) == 1 ? 1 : round_up(modes_.columns(mode), lanes());
  }
  Real* tensor(Real* sample, int mode) const { return sample + tensor_[mode]; }
  Real* factor(Real* sample, int mode) const { return sample + factor_[mode]; }

  // From the core and the factors to tensor(0); the rest of the sample is zero.
  void multiply(Real* sample) const {
    for (int mode = 3; mode > 0; --mode) {
      if (is_turned(mode)) transpose(sample, mode);
      rows<Real>().tucker.mode_product(product(sample, mode));
    }
  }

  // From the gradient of tensor(0) to those of the core and the factors; the rest of `gradients`
  // is zero.
  void differentiate(Real* sample, Real* gradients, Real* scratch) const {
    for (int mode = 1; mode < 4; ++mode) {
      std::fill(scratch, scratch + products(mode), Real{});
      Real* const tensor = this->tensor(gradients, mode);
      Real* const factor = this->factor(gradients, mode);
      Real* const turned = gradients + transposed_[mode];
      rows<Real>().tucker.mode_gradients({product(sample, mode),
                                          this->tensor(gradients, mode - 1),
                                          is_turned(mode) ? turned : tensor,
                                          is_turned(mode) ? tensor : factor, scratch});
      if (is_turned(mode)) transpose_back(gradients, mode);
    }
  }

 private:
  static int64_t lanes() { return rows<Real>().product_lanes; }

  // Each array has room for a vector behind its end.
  int64_t take(int64_t count) {
    const int64_t at = size_;
    size_ += round_up(count + lanes(), lanes());
    return at;
  }

  // Where rows are single numbers, the factor's transpose and the tensor change roles, so that
  // vectors run along the factor's size.
  bool is_turned(int mode) const { return modes_.columns(mode) == 1; }
  int64_t transposed_pitch(int mode) const { return round_up(modes_.size[mode], lanes()); }
  int64_t products(int mode) const {
    const int64_t size = is_turned(mode) ? modes_.rows(mode - 1) : modes_.size[mode];
    return size * modes_.rank[mode] * lanes();
  }

  ModeProduct<Real> product(Real* sample, int mode) const {
    const int64_t outer = modes_.rows(mode - 1), rank = modes_.rank[mode];
    const int64_t size = modes_.size[mode], columns = modes_.columns(mode);
    Real* const result = tensor(sample, mode - 1);
    if (is_turned(mode)) {
      return {sample + transposed_[mode], transposed_pitch(mode), tensor(sample, mode), result,
              0, pitch(mode - 1), 1, rank, outer, size};
    }
    return {tensor(sample, mode), pitch(mode), factor(sample, mode), result,
            pitch(mode - 1), columns, outer, rank, size, columns};
  }

  void transpose(Real* sample, int mode) const {
    const int64_t rank = modes_.rank[mode], pitch = transposed_pitch(mode);
    const Real* const from = factor(sample, mode);
    Real* const to = sample + transposed_[mode];
    for (int64_t x = 0; x < modes_.size[mode]; ++x) {
      for (int64_t s = 0; s < rank; ++s) to[s * pitch + x] = from[x * rank + s];
    }
  }
  void transpose_back(Real* sample, int mode) const {
    const int64_t rank = modes_.rank[mode], pitch = transposed_pitch(mode);
    const Real* const from = sample + transposed_[mode];
    Real* const to = factor(sample, mode);
    for (int64_t x = 0; x < modes_.size[mode]; ++x) {
      for (int64_t s = 0; s < rank; ++s) to[x * rank + s] = from[s * pitch + x];
    }
  }

  Modes modes_;
  std::array<int64_t, 4> tensor_, factor_, transposed_{};
  int64_t size_ = 0;
};

}  // namespace ksdiff_ops::cpu

// Two ways to multiply matrices: number by number in the type that sums are made in, or in pairs of
// bfloat16, on CPUs that sum those in float32.
#pragma once

#include <algorithm>
#include <cstring>

#include "row_ring.h"

namespace ksdiff_ops::cpu {

template <typename Number>
struct Singly {
  using Real = Number;
  using Term = Number;
  static constexpr int64_t together = 1;  // numbers of a term

  static int64_t terms(int64_t count) { return count; }
  static void put(Term& term, int64_t, Real value) { term = value; }

  static void matmul(const MatrixProduct<Real>& product) { rows<Real>().matmul(product); }
  static void scale_planes(const Patches<Real>& patches) { rows<Real>().scale_patches(patches); }
  static void scale_pixels(const Patches<Real>& patches) { rows<Real>().scale_patches(patches); }

  // A row of pixels as one column of terms.
  static void turn(const Real* source, int64_t pixels, Term* target, int64_t pitch) {
    for (int64_t p = 0; p < pixels; ++p) target[p * pitch] = source[p];
  }

  static void end_rows(Term*, int64_t, int64_t, int64_t) {}

  // A strip of some planes, as a panel of terms.
  class PlaneTerms {
   public:
    PlaneTerms(int64_t, int64_t) {}

    void take(const Real* planes, int64_t pitch) {
      data_ = planes;
      pitch_ = pitch;
    }
    const Term* data() const { return data_; }
    int64_t pitch() const { return pitch_; }

   private:
    const Real* data_ = nullptr;
    int64_t pitch_ = 0;
  };
};

struct InPairs {
  using Real = float;
  using Term = Pair;
  static constexpr int64_t together = 2;

  static int64_t terms(int64_t count) { return (count + 1) / 2; }
  // Into a term that was zero there; a number that was bfloat16, so that nothing is lost.
  static void put(Term& term, int64_t place, Real value) {
    Pair bits;
    std::memcpy(&bits, &value, sizeof bits);
    term |= bits >> 16 << 16 * place;
  }

  static void matmul(const MatrixProduct<Real, Pair>& product) { pair_rows().matmul(product); }
  static void scale_planes(const Patches<Real, Pair>& patches) { pair_rows().scale_planes(patches); }
  static void scale_pixels(const Patches<Real, Pair>& patches) { pair_rows().scale_pixels(patches); }

  static void turn(const Real* source, int64_t pixels, Term* target, int64_t pitch) {
    for (int64_t p = 0; p < pixels; p += 2) target[p / 2 * pitch] = 0;
    for (int64_t p = 0; p < pixels; ++p) put(target[p / 2 * pitch], p % 2, source[p]);
  }

  // What is beyond a row's last pixel need not be a number, and zero times that is none either.
  static void end_rows(Term* panel, int64_t pitch, int64_t rows, int64_t pixels) {
    if (pixels % 2 == 0) return;
    for (int64_t row = 0; row < rows; ++row) panel[row * pitch + pixels / 2] &= 0xffffu;
  }

  class PlaneTerms {
   public:
    PlaneTerms(int64_t planes, int64_t strip)
        : planes_(planes), strip_(strip), ones_(strip), panel_(terms(planes) * strip) {
      std::fill(ones_.data(), ones_.data() + strip, Real{1});
    }

    void take(const Real* planes, int64_t pitch) {
      constexpr int64_t here = 0;
      scale_planes({planes, pitch, planes_, &here, &here, 1, ones_.data(), 0, panel_.data(), 1,
                    strip_, strip_});
    }
    const Term* data() { return panel_.data(); }
    int64_t pitch() const { return strip_; }

   private:
    int64_t planes_, strip_;
    Scratch<Real> ones_;
    Scratch<Term> panel_;
  };
};

// Calls body with the way in which numbers of this kind are multiplied.
template <class Body>
void with_products(Numbers numbers, const Body& body) {
  if (numbers.storage == Storage::bfloat16 && multiplies_bfloat16()) {
    body(InPairs{});
  } else {
    with_real(numbers, [&](auto real) { body(Singly<decltype(real)>{}); });
  }
}

// rows x (channels * taps), neighbouring channels of the same tap making up a term.
template <class Way>
class Matrix {
 public:
  Matrix(int64_t rows, int64_t channels, int64_t taps)
      : groups_(Way::terms(channels)), taps_(taps), data_(rows * terms()) {}

  int64_t terms() const { return groups_ * taps_; }  // of a row

  void set(int64_t row, int64_t channel, int64_t tap, typename Way::Real value) {
    const int64_t term = (row * groups_ + channel / Way::together) * taps_ + tap;
    Way::put(data_[term], channel % Way::together, value);
  }

  const typename Way::Term* data() const { return data_.data(); }

 private:
  int64_t groups_, taps_;
  std::vector<typename Way::Term> data_;
};

}  // namespace ksdiff_ops::cpu

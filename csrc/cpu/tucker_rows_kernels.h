// The functions of tucker_rows.h, in the instruction set's own namespace; rows_kernels.h says why.
#pragma once

#include "tucker_rows.h"
#include "vectors.h"

namespace ksdiff_ops::cpu::KSDIFF_INSTRUCTION_SET {

// All ones in lanes first <= lane < last, else zero.
template <typename Real>
struct Lanes {
  typedef decltype(Vector<Real>{} < Vector<Real>{}) Mask;
  Mask mask;

  Lanes(int64_t first, int64_t last) {
    for (int lane = 0; lane < VectorOf<Real>::lanes; ++lane) {
      mask[lane] = lane >= first && lane < last ? -1 : 0;
    }
  }
  // The value, with zeros in the other lanes even where it is not finite.
  Vector<Real> of(Vector<Real> value) const { return (Vector<Real>)((Mask)value & mask); }
};

template <typename Real, int kBytes>
struct Part {
  typedef Real type __attribute__((vector_size(kBytes)));
};

// Halves are added to each other until few numbers are left.
template <typename Real, int kBytes = KSDIFF_VECTOR_BYTES>
inline Real sum_of_lanes(typename Part<Real, kBytes>::type value) {
  if constexpr (kBytes == 16) {
    Real sum = value[0];
#pragma GCC unroll 4
    for (int lane = 1; lane < int{kBytes / sizeof(Real)}; ++lane) sum += value[lane];
    return sum;
  } else {
    typename Part<Real, kBytes / 2>::type halves[2];
    __builtin_memcpy(halves, &value, sizeof value);
    return sum_of_lanes<Real, kBytes / 2>(halves[0] + halves[1]);
  }
}

template <typename Real>
void mode_product(const ModeProduct<Real>& given) {
  const ModeProduct<Real> m = given;  // here and below, a copy that no store can change
  constexpr int step = VectorOf<Real>::lanes;
  // What a row writes behind its end belongs to the next, which is written later.
  for (int64_t a = 0; a < m.outer; ++a) {
    const Real* const tensor = m.tensor + a * m.terms * m.tensor_pitch;
    Real* result = m.result + a * m.result_pitch;
    for (int64_t x = 0; x < m.size; ++x, result += m.result_step) {
      const Real* const factor = m.factor + x * m.terms;
      for (int64_t c = 0; c < m.columns; c += step) {
        Vector<Real> sum{};
        for (int64_t s = 0; s < m.terms; ++s) {
          sum += factor[s] * load(tensor + s * m.tensor_pitch + c);
        }
        store(result + c, sum);
      }
    }
  }
}

template <typename Real, int kTerms>
inline void mode_gradients_block(const ModeGradients<Real>& g, int64_t a, int64_t first,
                                 int64_t column) {
  constexpr int step = VectorOf<Real>::lanes;
  const ModeProduct<Real>& m = g.product;
  const Lanes<Real> inside(0, m.columns - column);
  const int64_t offset = (a * m.terms + first) * m.tensor_pitch + column;
  Vector<Real> tensor[kTerms], sums[kTerms] = {};
#pragma GCC unroll 4
  for (int s = 0; s < kTerms; ++s) tensor[s] = load(m.tensor + offset + s * m.tensor_pitch);
  const Real* grad = g.grad + a * m.result_pitch + column;
  const Real* factor = m.factor + first;
  Real* products = g.products + first * step;
  for (int64_t x = 0; x < m.size; ++x) {
    const Vector<Real> value = inside.of(load(grad));
#pragma GCC unroll 4
    for (int s = 0; s < kTerms; ++s) {
      sums[s] += factor[s] * value;
      store(products + s * step, load(products + s * step) + value * tensor[s]);
    }
    grad += m.result_step;
    factor += m.terms;
    products += m.terms * step;
  }
#pragma GCC unroll 4
  for (int s = 0; s < kTerms; ++s) {
    Real* const out = g.grad_tensor + offset + s * m.tensor_pitch;
    store(out, load(out) + sums[s]);
  }
}

template <typename Real>
void mode_gradients(const ModeGradients<Real>& given) {
  const ModeGradients<Real> g = given;
  constexpr int step = VectorOf<Real>::lanes;
  const ModeProduct<Real>& m = g.product;
  for (int64_t a = 0; a < m.outer; ++a) {
    for (int64_t column = 0; column < m.columns; column += step) {
      int64_t term = 0;
      for (; term + 4 <= m.terms; term += 4) mode_gradients_block<Real, 4>(g, a, term, column);
      for (; term < m.terms; ++term) mode_gradients_block<Real, 1>(g, a, term, column);
    }
  }
  for (int64_t x = 0; x < m.size; ++x) {
    for (int64_t s = 0; s < m.terms; ++s) {
      g.grad_factor[x * m.terms + s] =
          sum_of_lanes<Real>(load(g.products + (x * m.terms + s) * step));
    }
  }
}

template <typename Real, int kRows, int kVectors>
inline void last_mode_block(const LastMode<Real>& m, int64_t row, int64_t column) {
  constexpr int step = VectorOf<Real>::lanes;
  Vector<Real> sums[kRows][kVectors] = {};
  const Real* const factor = m.factor + row * m.terms;
  const Real* panel = m.panel + column;
  for (int64_t t = 0; t < m.terms; ++t, panel += m.panel_pitch) {
    Vector<Real> common[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) common[v] = load(panel + v * step);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[i][v] += factor[i * m.terms + t] * common[v];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const int64_t place = column + v * step;
      if (m.base) sums[i][v] *= load(m.base + (row + i) * m.base_pitch + place);
      store(m.result + (row + i) * m.result_pitch + place, sums[i][v]);
    }
  }
}

template <typename Real, int kRows>
inline void last_mode_rows(const LastMode<Real>& given, int64_t row) {
  const LastMode<Real> m = given;
  constexpr int step = VectorOf<Real>::lanes;
  int64_t column = 0;
  for (; column + 2 * step <= m.columns; column += 2 * step) {
    last_mode_block<Real, kRows, 2>(m, row, column);
  }
  for (; column + step <= m.columns; column += step) {
    last_mode_block<Real, kRows, 1>(m, row, column);
  }
  // The last vector ends with the row, and computes some numbers once more.
  if (column < m.columns) last_mode_block<Real, kRows, 1>(m, row, m.columns - step);
}

template <typename Real>
void last_mode(const LastMode<Real>& m) {
  int64_t row = 0;
  for (; row + 4 <= m.rows; row += 4) last_mode_rows<Real, 4>(m, row);
  for (; row < m.rows; ++row) last_mode_rows<Real, 1>(m, row);
}

// What a row's sweep carries along: products[i][t] for the gradient of factor[row + i][term + t].
template <typename Real, int kRows, int kTerms>
struct LastModeSums {
  Vector<Real> products[kRows][kTerms] = {};

  // One vector; `fresh` are its lanes that no vector before it has had.
  template <bool kBase, bool kWhole>
  inline void add(const LastModeGradients<Real>& g, int64_t row, int64_t term, int64_t column,
                  const Lanes<Real>& fresh) {
    const LastMode<Real>& m = g.product;
    const Real* const panel = m.panel + term * m.panel_pitch + column;
    Real* const grad_panel = g.grad_panel + term * m.panel_pitch + column;
    const Real* const factor = m.factor + row * m.terms + term;
    Vector<Real> common[kTerms], sums[kTerms];
#pragma GCC unroll 4
    for (int t = 0; t < kTerms; ++t) common[t] = load(panel + t * m.panel_pitch);
#pragma GCC unroll 4
    for (int t = 0; t < kTerms; ++t) sums[t] = load(grad_panel + t * m.panel_pitch);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      const Vector<Real> grad = load(g.grad + (row + i) * g.grad_pitch + column);
      Vector<Real> scaled = grad;
      if constexpr (kBase) {
        const int64_t place = (row + i) * m.base_pitch + column;
        scaled *= load(m.base + place);
        Vector<Real> expanded{};
#pragma GCC unroll 4
        for (int t = 0; t < kTerms; ++t) expanded += factor[i * m.terms + t] * common[t];
        expanded *= grad;
        if constexpr (!kWhole) expanded = fresh.of(expanded);
        store(g.grad_base + place, load(g.grad_base + place) + expanded);
      }
      if constexpr (!kWhole) scaled = fresh.of(scaled);
#pragma GCC unroll 4
      for (int t = 0; t < kTerms; ++t) {
        products[i][t] += scaled * common[t];
        sums[t] += factor[i * m.terms + t] * scaled;
      }
    }
#pragma GCC unroll 4
    for (int t = 0; t < kTerms; ++t) store(grad_panel + t * m.panel_pitch, sums[t]);
  }
};

template <typename Real, bool kBase, int kRows, int kTerms>
inline void last_mode_gradients_block(const LastModeGradients<Real>& given, int64_t row,
                                      int64_t term) {
  const LastModeGradients<Real> g = given;
  constexpr int step = VectorOf<Real>::lanes;
  const int64_t columns = g.product.columns;
  LastModeSums<Real, kRows, kTerms> sums;
  const int64_t left = columns % step;
  const Lanes<Real> fresh(step - left, step);
  for (int64_t column = 0; column + step <= columns; column += step) {
    sums.template add<kBase, true>(g, row, term, column, fresh);
  }
  if (left > 0) sums.template add<kBase, false>(g, row, term, columns - step, fresh);
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int t = 0; t < kTerms; ++t) {
      g.grad_factor[(row + i) * g.product.terms + term + t] =
          sum_of_lanes<Real>(sums.products[i][t]);
    }
  }
}

template <typename Real, bool kBase, int kRows>
inline void last_mode_gradients_rows(const LastModeGradients<Real>& g, int64_t row) {
  const int64_t terms = g.product.terms;
  int64_t term = 0;
  for (; term + 4 <= terms; term += 4) {
    last_mode_gradients_block<Real, kBase, kRows, 4>(g, row, term);
  }
  for (; term < terms; ++term) last_mode_gradients_block<Real, kBase, kRows, 1>(g, row, term);
}

template <typename Real, bool kBase>
inline void last_mode_gradients_of(const LastModeGradients<Real>& g) {
  // As many as the accumulators' registers allow.
  constexpr int most = KSDIFF_VECTOR_BYTES == 64 ? 4 : 2;
  int64_t row = 0;
  for (; row + most <= g.product.rows; row += most) {
    last_mode_gradients_rows<Real, kBase, most>(g, row);
  }
  for (; row < g.product.rows; ++row) last_mode_gradients_rows<Real, kBase, 1>(g, row);
}

template <typename Real>
void last_mode_gradients(const LastModeGradients<Real>& g) {
  if (g.product.base) {
    last_mode_gradients_of<Real, true>(g);
  } else {
    last_mode_gradients_of<Real, false>(g);
  }
}

template <typename Real>
constexpr TuckerRows<Real> tucker_table() {
  return {mode_product<Real>, mode_gradients<Real>, last_mode<Real>, last_mode_gradients<Real>};
}

}  // namespace ksdiff_ops::cpu::KSDIFF_INSTRUCTION_SET

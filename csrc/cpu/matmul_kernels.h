// The matrix product of rows.h, for the vectors of vectors.h.
#pragma once

#include <stdint.h>

#include "vectors.h"

namespace ksdiff_ops::cpu::KSDIFF_INSTRUCTION_SET {

template <typename Numbers>
inline void multiply_add(Numbers& sum, Numbers left, Numbers right) {
  sum += left * right;
}

// `kRows` x `kVectors` accumulators stay in registers through the whole sum. The product comes by
// value: results could overwrite one that is referred to.
template <typename Real, typename Term, int kRows, int kVectors>
inline void matmul_block(const MatrixProduct<Real, Term> m, int64_t row, int64_t column) {
  constexpr int step = VectorOf<Real>::lanes;
  Vector<Real> sums[kRows][kVectors] = {};
  const Term* const matrix = m.matrix + row * m.matrix_pitch;
  const Term* panel = m.panel + column;
  constexpr int64_t line = 64 / sizeof(Term);
  for (int64_t first = 0; first < m.terms; first += line) {
    // The next rows are far away, and short.
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      __builtin_prefetch(matrix + (kRows + i) * m.matrix_pitch + first);
    }
    const int64_t last = first + line < m.terms ? first + line : m.terms;
    for (int64_t t = first; t < last; ++t, panel += m.panel_pitch) {
      Vector<Term> common[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) common[v] = load(panel + v * step);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        const Vector<Term> weight = matrix[i * m.matrix_pitch + t] - Vector<Term>{};
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) multiply_add(sums[i][v], weight, common[v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      Real* const out = m.out + (row + i) * m.out_pitch + column + v * step;
      store(out, m.add ? load(out) + sums[i][v] : sums[i][v]);
    }
  }
}

template <typename Real, typename Term, int kVectors>
inline void matmul_columns(const MatrixProduct<Real, Term>& m, int64_t column) {
  constexpr int most = 6;
  const int64_t blocks = (m.rows + most - 1) / most;
  int64_t row = 0;
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t end = m.rows * (block + 1) / blocks;
    switch (end - row) {
      case 1: matmul_block<Real, Term, 1, kVectors>(m, row, column); break;
      case 2: matmul_block<Real, Term, 2, kVectors>(m, row, column); break;
      case 3: matmul_block<Real, Term, 3, kVectors>(m, row, column); break;
      case 4: matmul_block<Real, Term, 4, kVectors>(m, row, column); break;
      case 5: matmul_block<Real, Term, 5, kVectors>(m, row, column); break;
      default: matmul_block<Real, Term, 6, kVectors>(m, row, column); break;
    }
    row = end;
  }
}

template <typename Real, typename Term>
void matmul(const MatrixProduct<Real, Term>& m) {
  constexpr int step = VectorOf<Real>::lanes;
  int64_t column = 0;
  for (; column + step < m.columns; column += 2 * step) matmul_columns<Real, Term, 2>(m, column);
  if (column < m.columns) matmul_columns<Real, Term, 1>(m, column);
}

}  // namespace ksdiff_ops::cpu::KSDIFF_INSTRUCTION_SET

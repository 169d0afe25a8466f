// The inner loops of tucker_kernel. Like those of rows.h they are compiled once per instruction
// set, and chosen through a table.
#pragma once

#include <cstdint>

namespace ksdiff_ops::cpu {

// Memory that these functions write rows to has room for one vector behind the last row.

// result[a][x][c] = sum over s < terms of factor[x][s] * tensor[a * terms + s][c]: a tensor of
// `outer` matrices multiplied along its mode of size `terms`.
template <typename Real>
struct ModeProduct {
  const Real* tensor;  // rows that are zero behind `columns`, up to a whole vector
  int64_t tensor_pitch;
  const Real* factor;  // [size, terms]
  Real* result;
  int64_t result_pitch, result_step;  // from a to a, from x to x
  int64_t outer, terms, size, columns;
};

// The gradients of that product's operands; `grad` is laid out as the result. Sums are added to
// what is in `grad_tensor` and to the zeros in `products`.
template <typename Real>
struct ModeGradients {
  ModeProduct<Real> product;
  const Real* grad;
  Real* grad_tensor;  // as the tensor
  Real* grad_factor;  // as the factor
  Real* products;     // [size, terms], each a vector: scratch
};

// result[o][n] = base[o][n] * sum over t < terms of factor[o][t] * panel[t][n], without a base
// where it is null. There are as many columns as a vector has lanes, at least.
template <typename Real>
struct LastMode {
  const Real* factor;  // [rows, terms]
  const Real* panel;
  int64_t panel_pitch;
  const Real* base;
  int64_t base_pitch;
  Real* result;
  int64_t result_pitch;
  int64_t rows, terms, columns;
};

// The gradients of that product's operands; `grad` is of the result, and read once for every four
// terms. Sums are added to what is in `grad_panel` and `grad_base`.
template <typename Real>
struct LastModeGradients {
  LastMode<Real> product;
  const Real* grad;
  int64_t grad_pitch;
  Real* grad_factor;
  Real* grad_panel;  // as the panel
  Real* grad_base;   // as the base
};

template <typename Real>
struct TuckerRows {
  void (*mode_product)(const ModeProduct<Real>&);
  void (*mode_gradients)(const ModeGradients<Real>&);
  void (*last_mode)(const LastMode<Real>&);
  void (*last_mode_gradients)(const LastModeGradients<Real>&);
};

}  // namespace ksdiff_ops::cpu

// Vectors of KSDIFF_VECTOR_BYTES bytes for the row functions, in their instruction set's own
// namespace; rows_kernels.h says why.
#pragma once

#include <stdint.h>

namespace ksdiff_ops::cpu::KSDIFF_INSTRUCTION_SET {

template <typename Real>
struct VectorOf {
  typedef Real type __attribute__((vector_size(KSDIFF_VECTOR_BYTES)));
  static constexpr int lanes = KSDIFF_VECTOR_BYTES / sizeof(Real);
};

template <typename Real>
using Vector = typename VectorOf<Real>::type;

template <typename Real>
inline Vector<Real> load(const Real* source) {
  Vector<Real> value;
  __builtin_memcpy(&value, source, sizeof value);
  return value;
}

template <typename Real>
inline void store(Real* target, Vector<Real> value) {
  __builtin_memcpy(target, &value, sizeof value);
}

}  // namespace ksdiff_ops::cpu::KSDIFF_INSTRUCTION_SET

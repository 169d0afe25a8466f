// The row functions of rows.h for vectors of KSDIFF_VECTOR_BYTES bytes. Included by one source per
// instruction set, inside a namespace of its own: nothing here, and nothing it includes, may
// define an inline function that another source also has, or the linker could keep the version
// that needs the wider instruction set.
#include <stdint.h>

#include "block_rows_kernels.h"
#include "half_kernels.h"
#include "matmul_kernels.h"
#include "stream_kernels.h"
#include "tucker_rows_kernels.h"
#include "vectors.h"

namespace ksdiff_ops::cpu::KSDIFF_INSTRUCTION_SET {

// `kLanes` x `kVectors` accumulators stay in registers through the whole sum.
template <typename Real, int kLanes, int kVectors>
inline void contract_block(const Contraction<Real>& c, int lane, int64_t pixel) {
  constexpr int step = VectorOf<Real>::lanes;
  Vector<Real> sums[kLanes][kVectors] = {};
  const Real* moving[kLanes];
#pragma GCC unroll 8
  for (int a = 0; a < kLanes; ++a) moving[a] = c.moving + c.lane_offset[lane + a] + pixel;
  const Real* const shared = c.shared + pixel;
  for (int r = 0; r < c.terms; ++r) {
    const Real* const row = shared + c.shared_offset[r];
    const int64_t offset = c.term_offset[r];
    Vector<Real> common[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) common[v] = load(row + v * step);
#pragma GCC unroll 8
    for (int a = 0; a < kLanes; ++a) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        sums[a][v] += common[v] * load(moving[a] + offset + v * step);
      }
    }
  }
#pragma GCC unroll 8
  for (int a = 0; a < kLanes; ++a) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      store(c.out + (lane + a) * c.out_pitch + pixel + v * step, sums[a][v]);
    }
  }
}

template <typename Real, int kLanes>
inline void contract_lanes(const Contraction<Real>& c, int lane) {
  constexpr int step = VectorOf<Real>::lanes;
  constexpr int vectors = kLanes == 1 ? 6 : kLanes == 2 ? 4 : kLanes <= 4 ? 3 : 2;
  int64_t pixel = 0;
  for (; pixel + (vectors - 1) * step < c.pixels; pixel += vectors * step) {
    contract_block<Real, kLanes, vectors>(c, lane, pixel);
  }
  for (; pixel < c.pixels; pixel += step) contract_block<Real, kLanes, 1>(c, lane, pixel);
}

template <typename Real>
void contract(const Contraction<Real>& c) {
  constexpr int most = KSDIFF_VECTOR_BYTES == 64 ? 8 : 6;  // AVX-512 has more registers, too
  const int blocks = (c.lanes + most - 1) / most;
  int lane = 0;
  for (int block = 0; block < blocks; ++block) {
    const int end = static_cast<int>(static_cast<int64_t>(c.lanes) * (block + 1) / blocks);
    switch (end - lane) {
      case 1: contract_lanes<Real, 1>(c, lane); break;
      case 2: contract_lanes<Real, 2>(c, lane); break;
      case 3: contract_lanes<Real, 3>(c, lane); break;
      case 4: contract_lanes<Real, 4>(c, lane); break;
      case 5: contract_lanes<Real, 5>(c, lane); break;
      case 6: contract_lanes<Real, 6>(c, lane); break;
      case 7: contract_lanes<Real, 7>(c, lane); break;
      default: contract_lanes<Real, 8>(c, lane); break;
    }
    lane = end;
  }
}

template <typename Real, int kVectors>
inline void mix_block(const Mixture<Real>& m, int output, int64_t pixel) {
  constexpr int step = VectorOf<Real>::lanes;
  Vector<Real> sums[kVectors] = {};
  const Real* row = m.rows + m.row_offset[output] + pixel;
  const Real* const weights = m.matrix + m.matrix_offset[output];
  for (int t = 0; t < m.terms; ++t, row += m.row_pitch) {
    const Vector<Real> weight = weights[t] - Vector<Real>{};
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sums[v] += weight * load(row + v * step);
  }
  Real* const out = m.out + output * m.out_pitch + pixel;
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) store(out + v * step, sums[v]);
}

template <typename Real>
void mix(const Mixture<Real>& m) {
  constexpr int step = VectorOf<Real>::lanes;
  constexpr int vectors = 8;
  for (int output = 0; output < m.outputs; ++output) {
    int64_t pixel = 0;
    for (; pixel + (vectors - 1) * step < m.pixels; pixel += vectors * step) {
      mix_block<Real, vectors>(m, output, pixel);
    }
    for (; pixel < m.pixels; pixel += step) mix_block<Real, 1>(m, output, pixel);
  }
}

template <typename Real, int kOutputs, int kVectors>
inline void convolve_block(const Convolution<Real>& c, int output, int64_t pixel) {
  constexpr int step = VectorOf<Real>::lanes;
  Vector<Real> sums[kOutputs][kVectors] = {};
  const Real* const matrix = c.matrix + output * c.matrix_pitch;
  for (int t = 0; t < c.terms; ++t) {
    const Real* const image = c.image + c.offset[t] + pixel;
    Vector<Real> common[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) common[v] = load(image + v * step);
#pragma GCC unroll 8
    for (int i = 0; i < kOutputs; ++i) {
      const Vector<Real> weight = matrix[i * c.matrix_pitch + t] - Vector<Real>{};
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[i][v] += weight * common[v];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kOutputs; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      store(c.out + (output + i) * c.out_pitch + pixel + v * step, sums[i][v]);
    }
  }
}

template <typename Real, int kOutputs>
inline void convolve_outputs(const Convolution<Real>& c, int output) {
  constexpr int step = VectorOf<Real>::lanes;
  constexpr int vectors = kOutputs == 1 ? 6 : 3;
  int64_t pixel = 0;
  for (; pixel + (vectors - 1) * step < c.pixels; pixel += vectors * step) {
    convolve_block<Real, kOutputs, vectors>(c, output, pixel);
  }
  for (; pixel < c.pixels; pixel += step) convolve_block<Real, kOutputs, 1>(c, output, pixel);
}

template <typename Real>
void convolve(const Convolution<Real>& c) {
  int output = 0;
  for (; output + 4 <= c.outputs; output += 4) convolve_outputs<Real, 4>(c, output);
  for (; output + 2 <= c.outputs; output += 2) convolve_outputs<Real, 2>(c, output);
  for (; output < c.outputs; ++output) convolve_outputs<Real, 1>(c, output);
}

template <typename Real, int kRights>
inline void multiply_block(const Products<Real>& p, int left, int right) {
  constexpr int step = VectorOf<Real>::lanes;
  Vector<Real> sums[kRights] = {};
  const Real* const a = p.left + left * p.left_pitch;
  const Real* const b = p.right + right * p.right_pitch;
  for (int64_t pixel = 0; pixel < p.pixels; pixel += step) {
    const Vector<Real> common = load(a + pixel);
#pragma GCC unroll 8
    for (int j = 0; j < kRights; ++j) sums[j] += common * load(b + j * p.right_pitch + pixel);
  }
  Real* const out = p.sums + (static_cast<int64_t>(left) * p.rights + right) * step;
#pragma GCC unroll 8
  for (int j = 0; j < kRights; ++j) store(out + j * step, load(out + j * step) + sums[j]);
}

template <typename Real>
void multiply(const Products<Real>& p) {
  for (int left = 0; left < p.lefts; ++left) {
    int right = 0;
    for (; right + 8 <= p.rights; right += 8) multiply_block<Real, 8>(p, left, right);
    for (; right < p.rights; ++right) multiply_block<Real, 1>(p, left, right);
  }
}

template <typename Real>
void scale_patches(const Patches<Real>& p) {
  constexpr int step = VectorOf<Real>::lanes;
  for (int64_t pixel = 0; pixel < p.pixels; pixel += step) {
    for (int64_t plane = 0; plane < p.planes; ++plane) {
      const Real* const image = p.image + plane * p.plane_pitch + pixel;
      Real* const panel = p.panel + plane * p.panel_taps * p.panel_pitch + pixel;
      for (int k = 0; k < p.taps; ++k) {
        store(panel + p.tap[k] * p.panel_pitch,
              load(image + p.image_offset[k]) * load(p.factors + k * p.factors_pitch + pixel));
      }
    }
  }
}

template <typename Real, int kTaps>
inline void sum_patches_block(const Patches<Real>& p, int first, int64_t pixel) {
  Vector<Real> sums[kTaps] = {};
  const Real* image = p.image + pixel;
  const Real* panel = p.panel + pixel;
  for (int64_t plane = 0; plane < p.planes; ++plane) {
#pragma GCC unroll 8
    for (int k = 0; k < kTaps; ++k) {
      sums[k] += load(image + p.image_offset[first + k]) *
                 load(panel + p.tap[first + k] * p.panel_pitch);
    }
    image += p.plane_pitch;
    panel += p.panel_taps * p.panel_pitch;
  }
#pragma GCC unroll 8
  for (int k = 0; k < kTaps; ++k) {
    store(p.factors + (first + k) * p.factors_pitch + pixel, sums[k]);
  }
}

template <typename Real>
void sum_patches(const Patches<Real>& p) {
  constexpr int step = VectorOf<Real>::lanes;
  for (int64_t pixel = 0; pixel < p.pixels; pixel += step) {
    int tap = 0;
    for (; tap + 6 <= p.taps; tap += 6) sum_patches_block<Real, 6>(p, tap, pixel);
    for (; tap + 3 <= p.taps; tap += 3) sum_patches_block<Real, 3>(p, tap, pixel);
    for (; tap < p.taps; ++tap) sum_patches_block<Real, 1>(p, tap, pixel);
  }
}

template <typename Real, bool kOneNumber, int kRows, int kPlaces>
inline void filter_block(const Filter<Real>& f, int64_t row, int64_t place) {
  Vector<Real> sums[kRows][kPlaces] = {};
  const Real* const image = f.image + row * f.image_pitch + place * f.stride;
  const Real* weight = f.weight;
  for (int t = 0; t < f.taps; ++t, weight += f.weight_pitch) {
    const Vector<Real> common = kOneNumber ? Vector<Real>{} + *weight : load(weight);
    const Real* const source = image + f.offset[t];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
      for (int k = 0; k < kPlaces; ++k) {
        sums[i][k] += common * load(source + i * f.image_pitch + k * f.stride);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int k = 0; k < kPlaces; ++k) {
      store(f.out + (row + i) * f.out_pitch + (place + k) * f.out_stride, sums[i][k]);
    }
  }
}

template <typename Real, bool kOneNumber, int kRows, int kMostPlaces>
inline void filter_rows(const Filter<Real>& f, int64_t row) {
  int64_t place = 0;
  if constexpr (kMostPlaces == 3) {
    for (; place + 3 <= f.count; place += 3) {
      filter_block<Real, kOneNumber, kRows, 3>(f, row, place);
    }
    if (place + 2 == f.count) filter_block<Real, kOneNumber, kRows, 2>(f, row, place);
  }
  if (place + 1 == f.count) filter_block<Real, kOneNumber, kRows, 1>(f, row, place);
}

// So many rows at a time, and what is left together: few sums at a time would wait for each other.
template <typename Real, bool kOneNumber, int kRows, int kMostPlaces>
inline void filter_from(const Filter<Real>& f, int64_t row) {
  for (; row + kRows <= f.rows; row += kRows) {
    filter_rows<Real, kOneNumber, kRows, kMostPlaces>(f, row);
  }
  if constexpr (kRows > 1) filter_from<Real, kOneNumber, kRows - 1, kMostPlaces>(f, row);
}

template <typename Real, bool kOneNumber>
inline void filter_all(const Filter<Real>& f) {
  if (f.count == 1) {
    filter_from<Real, kOneNumber, 8, 1>(f, 0);
  } else {
    filter_from<Real, kOneNumber, 4, 3>(f, 0);
  }
}

template <typename Real>
void filter(const Filter<Real>& f) {
  if (f.weight_pitch == 1) {
    filter_all<Real, true>(f);
  } else {
    filter_all<Real, false>(f);
  }
}

template <typename Real, int kTaps>
inline void filter_gradient_block(const FilterGradient<Real>& f, int tap) {
  Vector<Real> sums[kTaps] = {};
  for (int64_t row = 0; row < f.rows; ++row) {
    const Real* image = f.image + row * f.image_pitch;
    const Real* grad = f.grad + row * f.grad_pitch;
    for (int64_t place = 0; place < f.count; ++place, image += f.stride, grad += f.stride) {
      const Vector<Real> common = load(grad);
#pragma GCC unroll 16
      for (int t = 0; t < kTaps; ++t) sums[t] += common * load(image + f.offset[tap + t]);
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < kTaps; ++t) {
    Real* const out = f.sums + (tap + t) * f.sums_pitch;
    store(out, load(out) + sums[t]);
  }
}

template <typename Real>
void filter_gradient(const FilterGradient<Real>& f) {
  int tap = 0;
  for (; tap + 9 <= f.taps; tap += 9) filter_gradient_block<Real, 9>(f, tap);
  for (; tap + 4 <= f.taps; tap += 4) filter_gradient_block<Real, 4>(f, tap);
  for (; tap < f.taps; ++tap) filter_gradient_block<Real, 1>(f, tap);
}

template <typename Real>
constexpr Rows<Real> table() {
  return {contract<Real>,        mix<Real>,           convolve<Real>,    multiply<Real>,
          matmul<Real, Real>,    scale_patches<Real>, sum_patches<Real>, filter<Real>,
          filter_gradient<Real>, VectorOf<Real>::lanes, tucker_table<Real>()};
}

extern const InstructionSet instruction_set;
const InstructionSet instruction_set = {
    KSDIFF_INSTRUCTION_SET_NAME,
    table<float>(),
    table<double>(),
    {stream<float, float>, stream<double, double>, stream<Float16, float>,
     stream<Bfloat16, float>, stream<Float16, Float16>, stream<Bfloat16, Bfloat16>},
    {load_float16, load_bfloat16, store_float16, store_bfloat16},
    {filter_pixels, normalise, gelu, add_bias},
};

}  // namespace ksdiff_ops::cpu::KSDIFF_INSTRUCTION_SET

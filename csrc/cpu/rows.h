// The inner loops of the CPU kernels: plain functions over rows of numbers, compiled once per
// instruction set. Everything around them (windows, edges, threads) is ordinary code that calls
// them through a table chosen when the library is loaded, so that one build runs on every machine.
#pragma once

#include <cstdint>
#include <type_traits>

#include "block_rows.h"
#include "tucker_rows.h"

namespace ksdiff_ops::cpu {

// Rows handed to these functions may be read and written up to the next multiple of this many
// elements; callers allocate for it.
constexpr int64_t kRowQuantum = 64;
constexpr int64_t kWidestVector = 16;  // numbers in it

// acc[a][p] = sum over r < terms of shared[term_shared[r] + p] * moving[lane[a] + term[r] + p]:
// the one sum behind every convolution here. In a forward pass the terms are taps and the lanes
// channels, so that a row of kernels is read once for several channels; in the gradient of the
// kernels the terms are channels and the lanes taps.
template <typename Real>
struct Contraction {
  const Real* shared;
  const int64_t* shared_offset;  // [terms]
  const Real* moving;
  const int64_t* lane_offset;  // [lanes]
  const int64_t* term_offset;  // [terms]
  Real* out;                   // [lanes, out_pitch]
  int64_t out_pitch;
  int lanes;
  int terms;
  int64_t pixels;
};

// out[o][p] = sum over t < terms of matrix[matrix_offset[o] + t]
//             * rows[row_offset[o] + t * row_pitch + p]
template <typename Real>
struct Mixture {
  const Real* matrix;
  const int64_t* matrix_offset;  // [outputs]
  const Real* rows;
  const int64_t* row_offset;  // [outputs]
  int64_t row_pitch;
  Real* out;
  int64_t out_pitch;
  int outputs;
  int terms;
  int64_t pixels;
};

// out[i][p] = sum over t < terms of matrix[i][t] * image[offset[t] + p]
template <typename Real>
struct Convolution {
  const Real* matrix;
  int64_t matrix_pitch;
  const Real* image;
  const int64_t* offset;  // [terms]
  Real* out;
  int64_t out_pitch;
  int outputs;
  int terms;
  int64_t pixels;
};

// sums[i][j][lane] += left[i][p] * right[j][p], with p falling into lane p % product_lanes; the
// rows of `right` are zero from `pixels` up to the next multiple of kWidestVector.
template <typename Real>
struct Products {
  const Real* left;
  int64_t left_pitch;
  int lefts;
  const Real* right;
  int64_t right_pitch;
  int rights;
  int64_t pixels;
  Real* sums;  // [lefts, rights, product_lanes]
};

// out[i][p] = sum over t < terms of matrix[i][t] * panel[t][p], added to what is there if `add`.
// A term is one number, or a Pair.
template <typename Real, typename Term = Real>
struct MatrixProduct {
  const Term* matrix;
  int64_t matrix_pitch;
  const Term* panel;
  int64_t panel_pitch;
  Real* out;
  int64_t out_pitch;
  int64_t rows;
  int64_t terms;
  int64_t columns;
  bool add;
};

// A panel of patches, [planes * panel_taps, pixels]: row c * panel_taps + tap[k] belongs to plane
// c's neighbour at image_offset[k]. `scale_patches` fills it with
// image[c][image_offset[k] + p] * factors[k][p]; `sum_patches` multiplies it with the image and
// writes the sums over the planes to factors[k][p].
template <typename Real, typename Term = Real>
struct Patches {
  const Real* image;
  int64_t plane_pitch;
  int64_t planes;
  const int64_t* image_offset;  // [taps]
  const int64_t* tap;           // [taps]
  int taps;
  Real* factors;
  int64_t factors_pitch;
  Term* panel;
  int64_t panel_taps;
  int64_t panel_pitch;
  int64_t pixels;
};

// One weight vector per tap, or one number for all its lanes where `weight_pitch` is 1, and vectors
// at `count` places, `stride` numbers apart, of some rows: out[r][k] = sum over t < taps of weight[t] * image[r][offset[t] + k], each a vector.
template <typename Real>
struct Filter {
  const Real* image;
  int64_t image_pitch;    // from row to row
  const int64_t* offset;  // [taps]
  const Real* weight;
  int64_t weight_pitch;  // from tap to tap
  Real* out;
  int64_t out_pitch, out_stride;
  int taps;
  int64_t rows, count, stride;
};

// sums[t] += sum over rows and places of grad[r][k] * image[r][offset[t] + k], each a vector.
template <typename Real>
struct FilterGradient {
  const Real* image;
  int64_t image_pitch;
  const int64_t* offset;  // [taps]
  const Real* grad;
  int64_t grad_pitch;
  Real* sums;
  int64_t sums_pitch;  // from tap to tap
  int taps;
  int64_t rows, count, stride;
};

// Half precision as it lies in memory.
struct Float16 {
  uint16_t bits;
};
struct Bfloat16 {
  uint16_t bits;
};

// What numbers are summed in.
template <typename Stored>
using SumOf = std::conditional_t<std::is_same_v<Stored, double>, double, float>;

// out[r][p] = sum over t < terms of left[t][r][p] * right[t][r][p], added to base[r][p] where there
// is a base, which may be `out`; exactly `columns` numbers of a row are read and written. Lefts are
// in memory far away: while left[t] is read, the same places of soon[t], which need not exist, are
// asked for.
constexpr int64_t kMostStreams = 9;

template <typename Stored, typename Out>
struct Streams {
  const Stored* left[kMostStreams];
  const SumOf<Stored>* right[kMostStreams];
  const Stored* soon[kMostStreams];
  int64_t left_pitch, right_pitch;  // from row to row
  const SumOf<Stored>* base;
  Out* out;
  int64_t out_pitch;  // of the base, too
  int terms;
  int64_t rows, columns;
};

template <typename Real>
struct Rows {
  void (*contract)(const Contraction<Real>&);
  void (*mix)(const Mixture<Real>&);
  void (*convolve)(const Convolution<Real>&);
  void (*multiply)(const Products<Real>&);
  void (*matmul)(const MatrixProduct<Real>&);
  void (*scale_patches)(const Patches<Real>&);
  void (*sum_patches)(const Patches<Real>&);
  void (*filter)(const Filter<Real>&);
  void (*filter_gradient)(const FilterGradient<Real>&);
  int product_lanes;  // of a vector
  TuckerRows<Real> tucker;
};

// Two neighbouring terms of a product in bfloat16, the first in the lower half.
using Pair = uint32_t;

// For CPUs that sum products of bfloat16 in float32, two at a time. `scale_planes` and
// `scale_pixels` are scale_patches into pairs: of neighbouring planes, in rows
// c / 2 * panel_taps + tap (the second of an odd last plane is zero), or of neighbouring pixels, in
// rows c * panel_taps + tap.
struct PairRows {
  void (*matmul)(const MatrixProduct<float, Pair>&);
  void (*scale_planes)(const Patches<float, Pair>&);
  void (*scale_pixels)(const Patches<float, Pair>&);
};

// Sums of half precision are left as they are, or rounded.
struct StreamRows {
  void (*of_float32)(const Streams<float, float>&);
  void (*of_float64)(const Streams<double, double>&);
  void (*of_float16)(const Streams<Float16, float>&);
  void (*of_bfloat16)(const Streams<Bfloat16, float>&);
  void (*to_float16)(const Streams<Float16, Float16>&);
  void (*to_bfloat16)(const Streams<Bfloat16, Bfloat16>&);
};

enum class Storage { float32, float64, float16, bfloat16 };

// Half precision is widened when it is loaded and rounded when it is stored.
struct Conversions {
  void (*load_float16)(const uint16_t*, int64_t, float*);
  void (*load_bfloat16)(const uint16_t*, int64_t, float*);
  void (*store_float16)(const float*, int64_t, uint16_t*);
  void (*store_bfloat16)(const float*, int64_t, uint16_t*);
};

struct InstructionSet {
  const char* name;
  Rows<float> float_rows;
  Rows<double> double_rows;
  StreamRows stream;
  Conversions conversions;
  BlockRows block;
};

const InstructionSet& active();

// Whether the CPU has, and may use, instructions that sum products of bfloat16 in float32.
bool multiplies_bfloat16();

// To be called where it does alone.
const PairRows& pair_rows();

template <typename Real>
const Rows<Real>& rows();

template <typename Stored, typename Out>
void stream(const Streams<Stored, Out>& streams);

}  // namespace ksdiff_ops::cpu

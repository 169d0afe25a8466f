// The sums over streams of rows.h, in the instruction set's own namespace; rows_kernels.h says why.
#pragma once

#include "half_kernels.h"
#include "vectors.h"

namespace ksdiff_ops::cpu::KSDIFF_INSTRUCTION_SET {

// Some vectors of sums, so many numbers from where the streams, the base and the output start;
// `kAhead` asks for `soon`, too.
template <typename Stored, typename Out, int kTerms, int kVectors, bool kAhead>
inline void stream_block(const Streams<Stored, Out>& s, int64_t left, int64_t right, int64_t out,
                         Vector<SumOf<Stored>>* sums) {
  using Real = SumOf<Stored>;
  constexpr int step = VectorOf<Real>::lanes, line = 64 / sizeof(Stored);
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    sums[v] = s.base ? load(s.base + out + v * step) : Vector<Real>{};
  }
#pragma GCC unroll 16
  for (int t = 0; t < kTerms; ++t) {
    if (kAhead) {
#pragma GCC unroll 8
      for (int p = 0; p < kVectors * step; p += line) {
        __builtin_prefetch(s.soon[t] + left + p, 0, 2);
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      sums[v] += widened(s.left[t] + left + v * step) * load(s.right[t] + right + v * step);
    }
  }
}

template <typename Stored, typename Out, int kTerms>
inline void stream_terms(const Streams<Stored, Out>& s) {
  using Real = SumOf<Stored>;
  constexpr int step = VectorOf<Real>::lanes;
  constexpr int vectors = 128 / KSDIFF_VECTOR_BYTES;  // two cache lines
  const int64_t whole = s.columns - s.columns % step;
  for (int64_t row = 0; row < s.rows; ++row) {
    const int64_t left = row * s.left_pitch, right = row * s.right_pitch, out = row * s.out_pitch;
    if (whole == 0) {
      for (int64_t p = 0; p < s.columns; ++p) {
        Real sum = s.base ? s.base[out + p] : Real{};
#pragma GCC unroll 16
        for (int t = 0; t < kTerms; ++t) {
          sum += widened(s.left[t][left + p]) * s.right[t][right + p];
        }
        put(s.out + out + p, sum);
      }
      continue;
    }
    // The last vector reaches back over the one before: it is summed up before that is stored.
    const int64_t end = s.columns - step;
    Vector<Real> sums[vectors], last = {};
    if (whole < s.columns) {
      stream_block<Stored, Out, kTerms, 1, false>(s, left + end, right + end, out + end, &last);
    }
    int64_t p = 0;
    for (; p + vectors * step <= whole; p += vectors * step) {
      stream_block<Stored, Out, kTerms, vectors, true>(s, left + p, right + p, out + p, sums);
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) put(s.out + out + p + v * step, sums[v]);
    }
    for (; p < whole; p += step) {
      stream_block<Stored, Out, kTerms, 1, true>(s, left + p, right + p, out + p, sums);
      put(s.out + out + p, sums[0]);
    }
    if (whole < s.columns) put(s.out + out + end, last);
  }
}

template <typename Stored, typename Out>
void stream(const Streams<Stored, Out>& s) {
  switch (s.terms) {
    case 0: stream_terms<Stored, Out, 0>(s); break;
    case 1: stream_terms<Stored, Out, 1>(s); break;
    case 2: stream_terms<Stored, Out, 2>(s); break;
    case 3: stream_terms<Stored, Out, 3>(s); break;
    case 4: stream_terms<Stored, Out, 4>(s); break;
    case 5: stream_terms<Stored, Out, 5>(s); break;
    case 6: stream_terms<Stored, Out, 6>(s); break;
    case 7: stream_terms<Stored, Out, 7>(s); break;
    case 8: stream_terms<Stored, Out, 8>(s); break;
    default: stream_terms<Stored, Out, 9>(s); break;
  }
}

}  // namespace ksdiff_ops::cpu::KSDIFF_INSTRUCTION_SET

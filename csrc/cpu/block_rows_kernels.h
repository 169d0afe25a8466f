// The functions of block_rows.h, for the vectors of vectors.h.
#pragma once

#include <stdint.h>

#include "vectors.h"

namespace ksdiff_ops::cpu::KSDIFF_INSTRUCTION_SET {

// Sums and a row of weights stay in registers, and every pixel of a row is loaded once.
template <int kPixels>
inline void filter_pixels_block(const PixelFilter& f, int64_t pixel, int64_t channel) {
  const float* weight = f.weight + channel;
  Vector<float> sums[kPixels];
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p) sums[p] = load(f.bias + channel);
  for (int i = 0; i < kFilterSide; ++i) {
    const float* image = f.row[i] + pixel * f.channels + channel;
    Vector<float> weights[kFilterSide];
#pragma GCC unroll 8
    for (int j = 0; j < kFilterSide; ++j, weight += f.channels) weights[j] = load(weight);
#pragma GCC unroll 16
    for (int q = 0; q < kPixels + kFilterSide - 1; ++q, image += f.channels) {
      const Vector<float> common = load(image);
#pragma GCC unroll 8
      for (int p = 0; p < kPixels; ++p) {
        if (q - p >= 0 && q - p < kFilterSide) sums[p] += common * weights[q - p];
      }
    }
  }
  float* const out = f.out + pixel * f.channels + channel;
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p) store(out + p * f.channels, sums[p]);
}

inline void filter_pixels(const PixelFilter& f, int64_t first_channel) {
  constexpr int step = VectorOf<float>::lanes, together = 8;
  const int64_t end = first_channel + kBlockChannels;
  int64_t pixel = 0;
  for (; pixel + together <= f.pixels; pixel += together) {
    for (int64_t c = first_channel; c < end; c += step) filter_pixels_block<together>(f, pixel, c);
  }
  for (; pixel < f.pixels; ++pixel) {
    for (int64_t c = first_channel; c < end; c += step) filter_pixels_block<1>(f, pixel, c);
  }
}

inline float sum_of(Vector<float> value) {
  float sum = 0;
  for (int lane = 0; lane < VectorOf<float>::lanes; ++lane) sum += value[lane];
  return sum;
}

inline void normalise(float* pixel, int64_t count, int64_t channels, float epsilon) {
  constexpr int step = VectorOf<float>::lanes;
  for (int64_t p = 0; p < count; ++p, pixel += channels) {
    Vector<float> total = {}, squares = {};
    for (int64_t c = 0; c < channels; c += step) total += load(pixel + c);
    const Vector<float> mean = sum_of(total) / channels - Vector<float>{};
    for (int64_t c = 0; c < channels; c += step) {
      const Vector<float> off = load(pixel + c) - mean;
      squares += off * off;
    }
    const float scale = 1 / __builtin_sqrtf(sum_of(squares) / channels + epsilon);
    for (int64_t c = 0; c < channels; c += step) store(pixel + c, (load(pixel + c) - mean) * scale);
  }
}

// The error function as z P(z^2) / Q(z^2), fitted to have the least largest error up to kErfEnd:
// 1.5e-8. Beyond it is 1 in float32.
constexpr float kErfEnd = 3.9f;
constexpr float kErfAbove[] = {2.05039931e-06f, 2.87457107e-04f, 3.83684673e-03f,
                               5.29668290e-02f, 1.91940242e-01f, 1.12837903e+00f};
constexpr float kErfBelow[] = {3.82308606e-05f, 1.18172830e-03f, 1.51091450e-02f,
                               1.14757895e-01f, 5.03434389e-01f, 1.0f};

inline Vector<float> erf(Vector<float> z) {
  const Vector<float> square = z * z;
  Vector<float> above = kErfAbove[0] - Vector<float>{}, below = kErfBelow[0] - Vector<float>{};
#pragma GCC unroll 8
  for (int k = 1; k < 6; ++k) {
    above = above * square + kErfAbove[k];
    below = below * square + kErfBelow[k];
  }
  const Vector<float> one = 1 - Vector<float>{};
  const Vector<float> inside = z * above / below;
  return z > kErfEnd ? one : z < -kErfEnd ? -one : inside;
}

inline void gelu(float* pixel, int64_t count, int64_t channels, const float* bias) {
  constexpr int step = VectorOf<float>::lanes;
  constexpr float root_half = 0.70710678f;
  for (int64_t p = 0; p < count; ++p, pixel += channels) {
    for (int64_t c = 0; c < channels; c += step) {
      const Vector<float> x = load(pixel + c) + load(bias + c);
      store(pixel + c, x * 0.5f * (1 + erf(x * root_half)));
    }
  }
}

inline void add_bias(const float* pixel, int64_t count, int64_t channels, const float* bias,
                     float* out) {
  constexpr int step = VectorOf<float>::lanes;
  for (int64_t p = 0; p < count; ++p, pixel += channels, out += channels) {
    for (int64_t c = 0; c < channels; c += step) {
      store(out + c, load(pixel + c) + load(bias + c));
    }
  }
}

}  // namespace ksdiff_ops::cpu::KSDIFF_INSTRUCTION_SET

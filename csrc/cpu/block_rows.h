// What a ConvNeXt block does with neighbouring pixels beside its products of matrices, as functions
// of rows.h's kind. A pixel is all its channels, in a row; channels are multiples of kBlockChannels.
#pragma once

#include <cstdint>

namespace ksdiff_ops::cpu {

constexpr int64_t kBlockChannels = 16;
constexpr int kFilterSide = 7;

// out[p][c] = bias[c] + sum over i, j < kFilterSide of weight[i][j][c] * row[i][p + j][c], for
// kBlockChannels of the channels: so many are a line of the cache.
struct PixelFilter {
  const float* row[kFilterSide];
  const float* weight;
  const float* bias;
  float* out;
  int64_t channels, pixels;
};

struct BlockRows {
  void (*filter_pixels)(const PixelFilter&, int64_t first_channel);
  // Every pixel less its mean over the channels, over its standard deviation.
  void (*normalise)(float* pixels, int64_t count, int64_t channels, float epsilon);
  // values = GELU(values + bias)
  void (*gelu)(float* pixels, int64_t count, int64_t channels, const float* bias);
  // out = values + bias
  void (*add_bias)(const float* pixels, int64_t count, int64_t channels, const float* bias,
                   float* out);
};

}  // namespace ksdiff_ops::cpu

// A whole ConvNeXt block for inference. Strips of pixels pass through all its layers while they are
// in the first two caches; memory sees the image and the result alone.
#include "block_rows.h"
#include "row_ring.h"
#include "tasks.h"
#include "tensors.h"

namespace ksdiff_ops::cpu {
namespace {

using torch::headeronly::ScalarType;

constexpr int64_t kStrip = 64;  // pixels that pass through the layers together
constexpr int64_t kTaskRows = 16;
constexpr int64_t kTaps = kFilterSide * kFilterSide;
constexpr int64_t kFiltered = 8;  // pixels that the depthwise filter takes together
constexpr int64_t kColumns = kFiltered + kFilterSide - 1;

const float* data_of(const Tensor& tensor) {
  return static_cast<const float*>(tensor.const_data_ptr());
}

void check(const char* name, const Tensor& tensor, const Tensor& x, const Sizes& sizes) {
  check_alike(name, tensor, x);
  check_rank(name, tensor, sizes.size());
  for (size_t axis = 0; axis < sizes.size(); ++axis) check_size(name, tensor, axis, sizes[axis]);
  STD_TORCH_CHECK(tensor.is_contiguous(), name, ": expected a contiguous tensor");
}

// The layers' parameters as strips take them: the normalisation's scale and shift are in `into` and
// `hidden_bias`, the block's scale is in `out` and `out_bias`.
struct Weights {
  Weights(const Tensor& depthwise, const Tensor& depthwise_bias, const Tensor& norm_weight,
          const Tensor& norm_bias, const Tensor& expand, const Tensor& expand_bias,
          const Tensor& project, const Tensor& project_bias, const Tensor& scale)
      : channels(depthwise.size(0)),
        hidden(expand.size(0)),
        filter_bias(data_of(depthwise_bias)),
        filter(kTaps * channels),
        into(channels * hidden),
        hidden_bias(hidden),
        out(hidden * channels),
        out_bias(channels) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t t = 0; t < kTaps; ++t) {
        filter.data()[t * channels + c] = data_of(depthwise)[c * kTaps + t];
      }
      const float factor = data_of(scale)[c];
      for (int64_t h = 0; h < hidden; ++h) {
        out.data()[h * channels + c] = data_of(project)[c * hidden + h] * factor;
      }
      out_bias.data()[c] = data_of(project_bias)[c] * factor;
    }
    for (int64_t h = 0; h < hidden; ++h) {
      double bias = data_of(expand_bias)[h];
      for (int64_t c = 0; c < channels; ++c) {
        const float weight = data_of(expand)[h * channels + c];
        into.data()[c * hidden + h] = weight * data_of(norm_weight)[c];
        bias += weight * data_of(norm_bias)[c];
      }
      hidden_bias.data()[h] = static_cast<float>(bias);
    }
  }

  int64_t channels, hidden;
  const float* filter_bias;
  Scratch<float> filter;              // [taps, channels]
  Scratch<float> into, hidden_bias;  // [channels, hidden], [hidden]
  Scratch<float> out, out_bias;      // [hidden, channels], [channels]
};

// One image [height, width, channels].
struct Image {
  const float* data;
  int64_t height, width, channels;

  const float* pixel(int64_t y, int64_t x) const { return data + (y * width + x) * channels; }
};

class Strips {
 public:
  Strips(Weights& weights, float epsilon)
      : weights_(weights),
        epsilon_(epsilon),
        zeros_(kColumns * weights.channels),
        copies_(kStrip / kFiltered * kFilterSide * kColumns * weights.channels),
        filtered_(kStrip * weights.channels),
        hidden_(kStrip * weights.hidden) {}

  // `count` pixels from (y, x) on through the block.
  void run(const Image& image, int64_t y, int64_t x, int64_t count, float* out) {
    const int64_t channels = weights_.channels, hidden = weights_.hidden;
    const Rows<float>& rows = cpu::rows<float>();
    const BlockRows& block = active().block;
    filter(image, y, x, count);
    block.normalise(filtered_.data(), count, channels, epsilon_);
    rows.matmul({filtered_.data(), channels, weights_.into.data(), hidden, hidden_.data(), hidden,
                 count, channels, hidden, false});
    block.gelu(hidden_.data(), count, hidden, weights_.hidden_bias.data());
    block.add_bias(image.pixel(y, x), count, channels, weights_.out_bias.data(), out);
    rows.matmul({hidden_.data(), hidden, weights_.out.data(), channels, out, channels, count,
                 hidden, channels, true});
  }

 private:
  void filter(const Image& image, int64_t y, int64_t x, int64_t count) {
    PixelFilter parts[kStrip / kFiltered];
    const int64_t blocks = ceil_div(count, kFiltered);
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t first = b * kFiltered;
      parts[b] = part(image, y, x + first, std::min(kFiltered, count - first), b);
      parts[b].out = filtered_.data() + first * weights_.channels;
    }
    for (int64_t c = 0; c < weights_.channels; c += kBlockChannels) {
      for (int64_t b = 0; b < blocks; ++b) active().block.filter_pixels(parts[b], c);
    }
  }

  // The filter of `count` pixels; where it reaches beyond the image it reads a copy with zeros.
  PixelFilter part(const Image& image, int64_t y, int64_t x, int64_t count, int64_t block) {
    PixelFilter filter{
        {}, weights_.filter.data(), weights_.filter_bias, nullptr, weights_.channels, count};
    const int64_t left = x - kFilterSide / 2, top = y - kFilterSide / 2;
    const int64_t columns = count + kFilterSide - 1, pitch = kColumns * weights_.channels;
    const int64_t from = std::clamp<int64_t>(-left, 0, columns);
    const int64_t to = std::clamp<int64_t>(image.width - left, from, columns);
    float* copy = copies_.data() + block * kFilterSide * pitch;
    for (int64_t i = 0; i < kFilterSide; ++i, copy += pitch) {
      if (top + i < 0 || top + i >= image.height) {
        filter.row[i] = zeros_.data();
      } else if (from == 0 && to == columns) {
        filter.row[i] = image.pixel(top + i, left);
      } else {
        std::fill(copy, copy + pitch, 0.0f);
        std::copy(image.pixel(top + i, left + from), image.pixel(top + i, left + to),
                  copy + from * weights_.channels);
        filter.row[i] = copy;
      }
    }
    return filter;
  }

  Weights& weights_;
  float epsilon_;
  Scratch<float> zeros_, copies_, filtered_, hidden_;
};

// x [B, H, W, C] -> out, of the same shape and elsewhere in memory.
void convnext_block(const Tensor& x, const Tensor& depthwise, const Tensor& depthwise_bias,
                    const Tensor& norm_weight, const Tensor& norm_bias, const Tensor& expand,
                    const Tensor& expand_bias, const Tensor& project, const Tensor& project_bias,
                    const Tensor& scale, double epsilon, const Tensor& out) {
  check_rank("x", x, 4);
  STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float, "x: expected float32");
  const int64_t batch = x.size(0), height = x.size(1), width = x.size(2), channels = x.size(3);
  check("x", x, x, {batch, height, width, channels});
  check_rank("expand", expand, 2);
  const int64_t hidden = expand.size(0);
  STD_TORCH_CHECK(channels % kBlockChannels == 0 && hidden % kBlockChannels == 0,
                  "expected multiples of ", kBlockChannels, " channels, got ", channels, " and ",
                  hidden);
  check("depthwise", depthwise, x, {channels, 1, kFilterSide, kFilterSide});
  check("depthwise_bias", depthwise_bias, x, {channels});
  check("norm_weight", norm_weight, x, {channels});
  check("norm_bias", norm_bias, x, {channels});
  check("expand", expand, x, {hidden, channels});
  check("expand_bias", expand_bias, x, {hidden});
  check("project", project, x, {channels, hidden});
  check("project_bias", project_bias, x, {channels});
  check("scale", scale, x, {channels});
  check("out", out, x, {batch, height, width, channels});

  Weights weights(depthwise, depthwise_bias, norm_weight, norm_bias, expand, expand_bias, project,
                  project_bias, scale);
  const int64_t down = ceil_div(height, kTaskRows), across = ceil_div(width, kStrip);
  const int64_t work = kTaskRows * kStrip * channels * (kTaps + 2 * hidden);
  float* const target = static_cast<float*>(out.mutable_data_ptr());
  for_tasks(batch * down * across, work, [&](int64_t begin, int64_t end) {
    Strips strips(weights, static_cast<float>(epsilon));
    for (int64_t task = begin; task < end; ++task) {
      const int64_t left = task % across * kStrip, top = task / across % down * kTaskRows;
      const int64_t first = task / across / down * height * width * channels;
      const Image image{data_of(x) + first, height, width, channels};
      const int64_t bottom = std::min(top + kTaskRows, height);
      for (int64_t y = top; y < bottom; ++y) {
        strips.run(image, y, left, std::min(kStrip, width - left),
                   target + first + (y * width + left) * channels);
      }
    }
  });
}

STABLE_TORCH_LIBRARY_IMPL(ksdiff_ops, CPU, m) {
  m.impl("convnext_block", TORCH_BOX(&convnext_block));
}

}  // namespace
}  // namespace ksdiff_ops::cpu

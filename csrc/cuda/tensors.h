// Tensors as the CUDA kernels see them, and the checks that keep a wrong call of a low-level
// operator from reading what is not there.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <string>
#include <vector>

#include "../launch_plan.h"

namespace ksdiff_ops::cuda {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Sizes = std::vector<int64_t>;

inline std::string text_of(const Tensor& tensor) {
  std::string text = "[";
  for (int64_t axis = 0; axis < tensor.dim(); ++axis) {
    text += (axis == 0 ? "" : ", ") + std::to_string(tensor.size(axis));
  }
  return text + "]";
}

inline void check_rank(const char* name, const Tensor& tensor, int64_t rank) {
  STD_TORCH_CHECK(tensor.dim() == rank, name, ": expected ", rank, " axes, got shape ",
                  text_of(tensor));
}

inline void check_size(const char* name, const Tensor& tensor, int64_t axis, int64_t expected) {
  STD_TORCH_CHECK(tensor.size(axis) == expected, name, ": expected ", expected, " along axis ",
                  axis, ", got shape ", text_of(tensor));
}

inline void check_alike(const char* name, const Tensor& tensor, const Tensor& lead) {
  STD_TORCH_CHECK(tensor.device() == lead.device(), name,
                  ": expected the same device for all tensors");
  STD_TORCH_CHECK(tensor.scalar_type() == lead.scalar_type(), name,
                  ": expected the same dtype for all tensors");
}

// An int for the kernels, which count inside one plane in 32 bits.
inline int extent(const char* name, int64_t size, int64_t least = 0) {
  STD_TORCH_CHECK(size >= least && size <= kMaxExtent, name, ": expected ", least, " to ",
                  kMaxExtent, ", got ", size);
  return static_cast<int>(size);
}

inline ScalarKind scalar_kind(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return ScalarKind::float32;
    case ScalarType::Double: return ScalarKind::float64;
    case ScalarType::Half: return ScalarKind::float16;
    case ScalarType::BFloat16: return ScalarKind::bfloat16;
    default: break;
  }
  STD_TORCH_CHECK(false, "expected float32, float64, float16 or bfloat16 tensors");
}

inline ScalarType accumulation_type(const Tensor& tensor) {
  return tensor.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// The shape of a per-pixel convolution of images [batch, channels, size] to [.., out_size].
inline ConvShape conv_shape(int64_t batch, int64_t channels, int64_t groups, const Sizes& size,
                            const Sizes& out_size, const Sizes& kernel, const Sizes& stride,
                            const Sizes& padding, const Sizes& dilation) {
  for (const auto& [name, pair] : {std::pair{"size", &size}, std::pair{"kernel", &kernel},
                                   std::pair{"stride", &stride}, std::pair{"padding", &padding},
                                   std::pair{"dilation", &dilation}}) {
    STD_TORCH_CHECK(pair->size() == 2, name, ": expected two ints, got ", pair->size());
  }
  STD_TORCH_CHECK(groups > 0 && channels % groups == 0, "groups: expected a divisor of ",
                  channels, " channels, got ", groups);
  ConvShape shape;
  shape.batch = batch;
  shape.channels = extent("channels", channels);
  shape.groups = extent("groups", groups);
  shape.in_h = extent("height", size[0]);
  shape.in_w = extent("width", size[1]);
  shape.out_h = extent("output height", out_size[0]);
  shape.out_w = extent("output width", out_size[1]);
  shape.kernel_h = extent("kernel", kernel[0], 1);
  shape.kernel_w = extent("kernel", kernel[1], 1);
  shape.stride_h = extent("stride", stride[0], 1);
  shape.stride_w = extent("stride", stride[1], 1);
  shape.pad_h = extent("padding", padding[0], -kMaxExtent);
  shape.pad_w = extent("padding", padding[1], -kMaxExtent);
  shape.dilation_h = extent("dilation", dilation[0], 1);
  shape.dilation_w = extent("dilation", dilation[1], 1);
  // Where the last output pixel's last tap reads, which kernels count in 32 bits.
  const auto reach = [](int64_t out, int64_t step, int64_t taps, int64_t spacing) {
    return std::max<int64_t>(out - 1, 0) * step + (taps - 1) * spacing;
  };
  extent("rows that a dilated kernel reaches over",
         reach(shape.out_h, shape.stride_h, shape.kernel_h, shape.dilation_h));
  extent("columns that a dilated kernel reaches over",
         reach(shape.out_w, shape.stride_w, shape.kernel_w, shape.dilation_w));
  return shape;
}

}  // namespace ksdiff_ops::cuda

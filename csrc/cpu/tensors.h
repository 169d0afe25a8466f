// Tensors as the CPU kernels see them, and the checks that keep a wrong call of a low-level
// operator from reading what is not there.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <array>
#include <string>
#include <vector>

#include "rows.h"

namespace ksdiff_ops::cpu {

using torch::stable::Tensor;
using Sizes = std::vector<int64_t>;

// How a kernel walks over an image.
struct Window {
  int64_t stride_y, stride_x;
  int64_t padding_y, padding_x;  // above the first row, left of the first column
  int64_t dilation_y, dilation_x;
};

inline Window window_of(const Sizes& stride, const Sizes& padding, const Sizes& dilation) {
  STD_TORCH_CHECK(stride.size() == 2 && stride[0] > 0 && stride[1] > 0,
                  "stride: expected two positive ints");
  STD_TORCH_CHECK(padding.size() == 2, "padding: expected two ints");
  STD_TORCH_CHECK(dilation.size() == 2 && dilation[0] > 0 && dilation[1] > 0,
                  "dilation: expected two positive ints");
  return {stride[0], stride[1], padding[0], padding[1], dilation[0], dilation[1]};
}

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

inline void check_pair(const char* name, const Sizes& sizes, int64_t least) {
  STD_TORCH_CHECK(sizes.size() == 2 && sizes[0] >= least && sizes[1] >= least, name,
                  ": expected two ints of at least ", least);
}

inline void check_groups(const char* name, int64_t channels, int64_t groups) {
  STD_TORCH_CHECK(groups > 0 && channels % groups == 0, name,
                  ": expected a number of groups that divides ", channels, " channels, got ",
                  groups);
}

inline void check_alike(const char* name, const Tensor& tensor, const Tensor& lead) {
  STD_TORCH_CHECK(tensor.is_cpu(), name, ": expected a tensor on the CPU");
  STD_TORCH_CHECK(tensor.scalar_type() == lead.scalar_type(), name,
                  ": expected the same dtype for all tensors");
}

// What the rows of a tensor are made of.
struct Numbers {
  Storage storage;

  int64_t bytes() const {
    return storage == Storage::float64 ? 8 : storage == Storage::float32 ? 4 : 2;
  }
};

Numbers numbers_of(const Tensor& tensor);

// The tensor itself where it is contiguous: asking PyTorch for that costs a call of an operator.
inline Tensor packed(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

// As reshape, without the call of an operator where the tensor is contiguous.
Tensor reshaped(const Tensor& tensor, const Sizes& sizes);

// As new_empty. Memory fresh from the system is handed out by the page when it is first written,
// which for a large tensor takes longer than all else: where it can be, it is asked for in large
// pages.
Tensor new_output(const Tensor& like, const Sizes& sizes);

// Calls body(float{}) or body(double{}): the type that sums are made in.
template <class Body>
void with_real(Numbers numbers, Body&& body) {
  if (numbers.storage == Storage::float64) {
    body(double{});
  } else {
    body(float{});
  }
}

// Asks for memory that will be needed some microseconds later; the address need not exist.
inline void prefetch_row(Numbers numbers, const void* data, int64_t index, int64_t count) {
  constexpr int64_t line = 64;
  const char* const first = static_cast<const char*>(data) + index * numbers.bytes();
  const int64_t bytes = count * numbers.bytes();
  for (int64_t offset = 0; offset < bytes; offset += line) {
    __builtin_prefetch(first + offset, 0, 2);
  }
}

// Copies `count` numbers at `index` of a tensor's memory into reals, or back.
void load_row(Numbers numbers, const void* data, int64_t index, int64_t count, float* target);
void load_row(Numbers numbers, const void* data, int64_t index, int64_t count, double* target);
void store_row(Numbers numbers, const float* source, int64_t count, void* data, int64_t index);
void store_row(Numbers numbers, const double* source, int64_t count, void* data, int64_t index);

}  // namespace ksdiff_ops::cpu

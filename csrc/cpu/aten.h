// The few of PyTorch's own operators that the kernels fall back on, through the stable ABI.
#pragma once

#include "tensors.h"

namespace ksdiff_ops::cpu::aten {

// As torch.nn.functional.conv2d, without bias.
Tensor convolution(const Tensor& x, const Tensor& weight, const Sizes& stride,
                   const Sizes& padding, const Sizes& dilation, int64_t groups);

// What `convolution` sends back to an image of the size and layout of `like`. The layout matters:
// where it is not that of `grad`, PyTorch converts from one to the other.
Tensor convolution_grad_input(const Tensor& grad, const Tensor& like, const Tensor& weight,
                              const Sizes& stride, const Sizes& padding, const Sizes& dilation,
                              int64_t groups);

// What `convolution` sends back to kernels of `size` [Cout, Cin / groups, kh, kw].
Tensor convolution_grad_weight(const Tensor& grad, const Tensor& x, const Sizes& size,
                               const Sizes& stride, const Sizes& padding, const Sizes& dilation,
                               int64_t groups);

// As torch.mul.
Tensor multiply(const Tensor& one, const Tensor& other);

Tensor permute(const Tensor& tensor, const Sizes& axes);

// As torch.nn.functional.unfold: [B, C, H, W] -> [B, C * kh * kw, Ho * Wo], and its adjoint.
Tensor unfold(const Tensor& x, const Sizes& kernel, const Sizes& dilation, const Sizes& padding,
              const Sizes& stride);
Tensor fold(const Tensor& patches, const Sizes& size, const Sizes& kernel, const Sizes& dilation,
            const Sizes& padding, const Sizes& stride);

}  // namespace ksdiff_ops::cpu::aten

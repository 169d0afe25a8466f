// Convolution of every sample with dense kernels of its own, stride 1. The patches of some hundred
// pixels are laid out as a matrix, some channels at a time, so that it stays in the second cache,
// and multiplied there with kernels that are read as they lie.
#pragma once

#include "pixel_conv.h"
#include "sliding.h"

namespace ksdiff_ops::cpu {

struct Dense : Sliding {
  int64_t batch, groups;
  int64_t in, out;  // channels of a group

  int64_t terms() const { return in * taps(); }
};

// image [B, groups * in, H, W], kernels [B, groups * out, in, taps], out [B, groups * out, Ho, Wo]
template <typename Real>
void dense(const Dense& problem, const Real* image, const Real* kernels, Real* out);

// The same with kernels [B, groups * in, out, taps] read from the last tap to the first, and with
// both kinds of channels changing places: `problem` is that of the gradient of the image.
template <typename Real>
void dense_mirrored(const Dense& problem, const Real* grad, const Real* kernels, Real* out);

// image as for `dense`, grad [B, groups * out, Ho, Wo], out [B, groups * out, in, taps]
template <typename Real>
void dense_grad_kernels(const Dense& problem, const Real* image, const Real* grad, Real* out);

}  // namespace ksdiff_ops::cpu

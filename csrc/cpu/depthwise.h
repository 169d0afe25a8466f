// Convolution of every channel of every sample with its own kernel, stride 1. A tile of the image
// is copied beside zeros; a vector holds neighbouring pixels, or, in channels_last, neighbouring
// channels of one pixel.
#pragma once

#include "pixel_conv.h"
#include "sliding.h"

namespace ksdiff_ops::cpu {

struct Depthwise : Sliding {
  int64_t batch, channels;
  bool channels_last;  // the image and the output
};

// kernels [B, C, taps], read from the last tap to the first if `mirrored`
template <typename Real>
void depthwise(const Depthwise& problem, Numbers numbers, const void* image, const void* kernels,
               bool mirrored, void* out);

// grad [B, C, Ho, Wo] and the image in one layout; out [B, C, taps]
template <typename Real>
void depthwise_grad_kernels(const Depthwise& problem, Numbers numbers, const void* image,
                            const void* grad, void* out);

}  // namespace ksdiff_ops::cpu

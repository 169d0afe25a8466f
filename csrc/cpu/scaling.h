// dynamic_conv with kernels of a single tap that meets its own pixel: an image scaled plane by
// plane, straight from and to memory.
#pragma once

#include "pixel_conv.h"

namespace ksdiff_ops::cpu {

// Whether a kernel is one factor for the pixel it stands on.
bool scales(const Shape& shape, const Window& window);

// out[c][p] = kernels[p] * image[c][p]; the gradient of the image is the same of the output's.
// Both tensors are contiguous.
Tensor scale(const Shape& shape, const Tensor& image, const Tensor& kernels);

// out[p] = sum over channels of grad[c][p] * image[c][p]
void scale_grad_weight(const Shape& shape, Numbers numbers, const void* grad, const void* image,
                       void* out);

}  // namespace ksdiff_ops::cpu

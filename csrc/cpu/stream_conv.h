// dynamic_conv where a kernel serves so few channels that reading it takes all the time. Kernels
// are read, and their gradients written, in long spans of few planes at a time, straight from and
// to memory: one row of each of k * k planes in turn is more streams than a core keeps up with.
#pragma once

#include "pixel_conv.h"

namespace ksdiff_ops::cpu {

// Whether the functions below apply and are faster than those of pixel_conv.h.
bool streams(const Shape& shape, const Window& window);

void stream_forward(const Shape& shape, const Window& window, Numbers numbers, const void* image,
                    const void* kernels, void* out);

void stream_grad_input(const Shape& shape, const Window& window, Numbers numbers, const void* grad,
                       const void* kernels, void* out);

void stream_grad_weight(const Shape& shape, const Window& window, Numbers numbers,
                        const void* grad, const void* image, void* out);

}  // namespace ksdiff_ops::cpu

// dynamic_conv and its gradients on the CPU: kernels come from memory.
#include "scaling.h"
#include "stored_kernels.h"
#include "stream_conv.h"

namespace ksdiff_ops::cpu {
namespace {

template <typename Real>
class KernelGradients {
 public:
  KernelGradients(const Shape& shape, Numbers numbers, void* data)
      : shape_(shape), numbers_(numbers), data_(data) {}

  void start(int64_t, int64_t image_index) {
    first_ = image_index * shape_.taps() * shape_.out_plane();
  }

  void take(const Real* tile, int64_t pitch, int64_t y, int64_t x0, int64_t pixels) const {
    for (int64_t tap = 0; tap < shape_.taps(); ++tap) {
      store_row(numbers_, tile + tap * pitch, pixels, data_,
                first_ + tap * shape_.out_plane() + y * shape_.out_width + x0);
    }
  }

  void finish(int64_t) const {}

 private:
  const Shape& shape_;
  Numbers numbers_;
  void* data_;
  int64_t first_ = 0;
};

// weight [B, G, kh, kw, Ho, Wo] beside an image or gradient with `channels` channels
Shape shape_of(const Tensor& weight, int64_t channels, int64_t height, int64_t width) {
  check_rank("weight", weight, 6);
  check_groups("weight", channels, weight.size(1));
  return {weight.size(0), weight.size(1), channels / weight.size(1), height,        width,
          weight.size(2), weight.size(3), weight.size(4),            weight.size(5)};
}

Tensor forward(const Tensor& x, const Tensor& weight, Sizes stride, Sizes padding,
               Sizes dilation) {
  check_rank("x", x, 4);
  check_alike("weight", weight, x);
  const Window window = window_of(stride, padding, dilation);
  const Shape shape = shape_of(weight, x.size(1), x.size(2), x.size(3));
  check_size("weight", weight, 0, x.size(0));
  const Numbers numbers = numbers_of(x);
  const Tensor image = packed(x), kernels = packed(weight);
  if (scales(shape, window)) return scale(shape, image, kernels);
  Tensor out = new_output(x, Sizes{shape.batch, x.size(1), shape.out_height, shape.out_width});
  if (streams(shape, window)) {
    stream_forward(shape, window, numbers, image.const_data_ptr(), kernels.const_data_ptr(),
                   out.mutable_data_ptr());
    return out;
  }
  with_real(numbers, [&](auto real) {
    using Real = decltype(real);
    const int64_t tile = forward_tile<Real>(shape, window);
    walk_forward<Real>(shape, window, numbers, image.const_data_ptr(), out.mutable_data_ptr(), tile,
                       [&] {
                         return KernelSums<Real, StoredKernels<Real>>(shape, tile, shape, numbers,
                                                                      kernels.const_data_ptr());
                       });
  });
  return out;
}

Tensor grad_input(const Tensor& grad, const Tensor& weight, Sizes size, Sizes stride,
                  Sizes padding, Sizes dilation) {
  check_rank("grad", grad, 4);
  check_alike("weight", weight, grad);
  check_pair("size", size, 0);
  const Window window = window_of(stride, padding, dilation);
  const Shape shape = shape_of(weight, grad.size(1), size[0], size[1]);
  check_size("weight", weight, 0, grad.size(0));
  check_size("grad", grad, 2, shape.out_height);
  check_size("grad", grad, 3, shape.out_width);
  const Numbers numbers = numbers_of(grad);
  const Tensor from = packed(grad), kernels = packed(weight);
  if (scales(shape, window)) return scale(shape, from, kernels);
  Tensor out = new_output(grad, Sizes{shape.batch, grad.size(1), shape.height, shape.width});
  if (streams(shape, window)) {
    stream_grad_input(shape, window, numbers, from.const_data_ptr(), kernels.const_data_ptr(),
                      out.mutable_data_ptr());
    return out;
  }
  with_real(numbers, [&](auto real) {
    using Real = decltype(real);
    walk_grad_input<Real>(shape, window, numbers, from.const_data_ptr(), out.mutable_data_ptr(),
                          [&] {
                            return KernelSums<Real, StoredKernels<Real>>(
                                shape, grad_input_tile<Real>(shape, window), shape, numbers,
                                kernels.const_data_ptr());
                          });
  });
  return out;
}

Tensor grad_weight(const Tensor& grad, const Tensor& x, int64_t groups, Sizes kernel, Sizes stride,
                   Sizes padding, Sizes dilation) {
  check_rank("grad", grad, 4);
  check_rank("x", x, 4);
  check_alike("x", x, grad);
  check_pair("kernel", kernel, 1);
  check_groups("groups", x.size(1), groups);
  check_size("x", x, 0, grad.size(0));
  check_size("x", x, 1, grad.size(1));
  const Window window = window_of(stride, padding, dilation);
  const Shape shape{x.size(0), groups,    x.size(1) / groups, x.size(2),   x.size(3),
                    kernel[0], kernel[1], grad.size(2),       grad.size(3)};
  const Numbers numbers = numbers_of(grad);
  const Tensor from = packed(grad), image = packed(x);
  Tensor out = new_output(grad, Sizes{shape.batch, groups, kernel[0], kernel[1],
                                      shape.out_height, shape.out_width});
  if (scales(shape, window)) {
    scale_grad_weight(shape, numbers, from.const_data_ptr(), image.const_data_ptr(),
                      out.mutable_data_ptr());
    return out;
  }
  if (streams(shape, window)) {
    stream_grad_weight(shape, window, numbers, from.const_data_ptr(), image.const_data_ptr(),
                       out.mutable_data_ptr());
    return out;
  }
  with_real(numbers, [&](auto real) {
    using Real = decltype(real);
    walk_correlate<Real>(shape, window, numbers, from.const_data_ptr(), image.const_data_ptr(),
                         [&] {
                           return KernelGradients<Real>(shape, numbers, out.mutable_data_ptr());
                         });
  });
  return out;
}

}  // namespace
}  // namespace ksdiff_ops::cpu

STABLE_TORCH_LIBRARY_IMPL(ksdiff_ops, CPU, m) {
  m.impl("dynamic_conv", TORCH_BOX(&ksdiff_ops::cpu::forward));
  m.impl("dynamic_conv_grad_input", TORCH_BOX(&ksdiff_ops::cpu::grad_input));
  m.impl("dynamic_conv_grad_weight", TORCH_BOX(&ksdiff_ops::cpu::grad_weight));
}

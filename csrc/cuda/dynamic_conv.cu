// Checks, memory, launch and registration of dynamic_conv and its gradients.
#include "dynamic_conv.cuh"

#include "launcher.h"
#include "tensors.h"

namespace ksdiff_ops::cuda {
namespace {

Tensor forward(Tensor x, Tensor weight, Sizes stride, Sizes padding, Sizes dilation) {
  check_rank("x", x, 4);
  check_rank("weight", weight, 6);
  check_alike("weight", weight, x);
  check_size("weight", weight, 0, x.size(0));
  const ConvShape shape = conv_shape(
      x.size(0), x.size(1), weight.size(1), {x.size(2), x.size(3)},
      {weight.size(4), weight.size(5)}, {weight.size(2), weight.size(3)}, stride, padding,
      dilation);
  const DeviceLauncher launch(x);
  x = torch::stable::contiguous(x);
  weight = torch::stable::contiguous(weight);
  const Sizes sizes{shape.batch, shape.channels, shape.out_h, shape.out_w};
  Tensor y = torch::stable::new_empty(x, sizes);
  const ScalarKind scalar = scalar_kind(x);
  const ConvPlan plan = plan_conv(shape, ConvRole::forward, scalar, launch.limits());
  dynamic_conv(launch, plan, scalar, shape, x.const_data_ptr(), weight.const_data_ptr(),
               y.mutable_data_ptr());
  return y;
}

Tensor grad_input(Tensor grad, Tensor weight, Sizes size, Sizes stride, Sizes padding,
                  Sizes dilation) {
  check_rank("grad", grad, 4);
  check_rank("weight", weight, 6);
  check_alike("weight", weight, grad);
  check_size("weight", weight, 0, grad.size(0));
  check_size("weight", weight, 4, grad.size(2));
  check_size("weight", weight, 5, grad.size(3));
  const ConvShape shape = conv_shape(
      grad.size(0), grad.size(1), weight.size(1), size, {grad.size(2), grad.size(3)},
      {weight.size(2), weight.size(3)}, stride, padding, dilation);
  const DeviceLauncher launch(grad);
  grad = torch::stable::contiguous(grad);
  weight = torch::stable::contiguous(weight);
  const Sizes sizes{shape.batch, shape.channels, shape.in_h, shape.in_w};
  Tensor grad_x = torch::stable::new_empty(grad, sizes);
  const ScalarKind scalar = scalar_kind(grad);
  const ConvPlan plan = plan_conv(shape, ConvRole::grad_input, scalar, launch.limits());
  dynamic_conv_grad_input(launch, plan, scalar, shape, grad.const_data_ptr(),
                          weight.const_data_ptr(), grad_x.mutable_data_ptr());
  return grad_x;
}

Tensor grad_weight(Tensor grad, Tensor x, int64_t groups, Sizes kernel, Sizes stride,
                   Sizes padding, Sizes dilation) {
  check_rank("grad", grad, 4);
  check_rank("x", x, 4);
  check_alike("x", x, grad);
  check_size("x", x, 0, grad.size(0));
  check_size("x", x, 1, grad.size(1));
  const ConvShape shape = conv_shape(x.size(0), x.size(1), groups, {x.size(2), x.size(3)},
                                     {grad.size(2), grad.size(3)}, kernel, stride, padding,
                                     dilation);
  const DeviceLauncher launch(grad);
  grad = torch::stable::contiguous(grad);
  x = torch::stable::contiguous(x);
  const Sizes sizes{shape.batch,    shape.groups, shape.kernel_h,
                    shape.kernel_w, shape.out_h,  shape.out_w};
  Tensor grad_weight = torch::stable::new_empty(grad, sizes);
  const ScalarKind scalar = scalar_kind(grad);
  const ConvPlan plan = plan_conv(shape, ConvRole::correlate, scalar, launch.limits());
  dynamic_conv_grad_weight(launch, plan, scalar, shape, grad.const_data_ptr(),
                           x.const_data_ptr(), grad_weight.mutable_data_ptr());
  return grad_weight;
}

}  // namespace
}  // namespace ksdiff_ops::cuda

STABLE_TORCH_LIBRARY_IMPL(ksdiff_ops, KSDIFF_DISPATCH_KEY, m) {
  m.impl("dynamic_conv", TORCH_BOX(&ksdiff_ops::cuda::forward));
  m.impl("dynamic_conv_grad_input", TORCH_BOX(&ksdiff_ops::cuda::grad_input));
  m.impl("dynamic_conv_grad_weight", TORCH_BOX(&ksdiff_ops::cuda::grad_weight));
}

// Checks, memory, launch and registration of lowrank_dynamic_conv and its gradients.
#include "lowrank_dynamic_conv.cuh"

#include "launcher.h"
#include "tensors.h"

namespace ksdiff_ops::cuda {
namespace {

void check_mixture(const Tensor& coeff, const Tensor& basis, const Tensor& lead) {
  check_rank("coeff", coeff, 5);
  check_rank("basis", basis, 5);
  check_alike("coeff", coeff, lead);
  check_alike("basis", basis, lead);
  check_size("coeff", coeff, 0, lead.size(0));
  for (int64_t axis = 0; axis < 3; ++axis) check_size("basis", basis, axis, coeff.size(axis));
}

ConvShape with_rank(ConvShape shape, int64_t rank) {
  shape.low_rank = true;
  shape.rank = extent("rank", rank);
  return shape;
}

Tensor forward(Tensor x, Tensor coeff, Tensor basis, Sizes stride, Sizes padding,
               Sizes dilation) {
  check_rank("x", x, 4);
  check_mixture(coeff, basis, x);
  const ConvShape shape = with_rank(
      conv_shape(x.size(0), x.size(1), coeff.size(1), {x.size(2), x.size(3)},
                 {coeff.size(3), coeff.size(4)}, {basis.size(3), basis.size(4)}, stride, padding,
                 dilation),
      coeff.size(2));
  const DeviceLauncher launch(x);
  x = torch::stable::contiguous(x);
  coeff = torch::stable::contiguous(coeff);
  basis = torch::stable::contiguous(basis);
  const Sizes sizes{shape.batch, shape.channels, shape.out_h, shape.out_w};
  Tensor y = torch::stable::new_empty(x, sizes);
  const ScalarKind scalar = scalar_kind(x);
  const ConvPlan plan = plan_conv(shape, ConvRole::forward, scalar, launch.limits());
  lowrank_dynamic_conv(launch, plan, scalar, shape, x.const_data_ptr(), coeff.const_data_ptr(),
                       basis.const_data_ptr(), y.mutable_data_ptr());
  return y;
}

Tensor grad_input(Tensor grad, Tensor coeff, Tensor basis, Sizes size, Sizes stride,
                  Sizes padding, Sizes dilation) {
  check_rank("grad", grad, 4);
  check_mixture(coeff, basis, grad);
  check_size("coeff", coeff, 3, grad.size(2));
  check_size("coeff", coeff, 4, grad.size(3));
  const ConvShape shape = with_rank(
      conv_shape(grad.size(0), grad.size(1), coeff.size(1), size, {grad.size(2), grad.size(3)},
                 {basis.size(3), basis.size(4)}, stride, padding, dilation),
      coeff.size(2));
  const DeviceLauncher launch(grad);
  grad = torch::stable::contiguous(grad);
  coeff = torch::stable::contiguous(coeff);
  basis = torch::stable::contiguous(basis);
  const Sizes sizes{shape.batch, shape.channels, shape.in_h, shape.in_w};
  Tensor grad_x = torch::stable::new_empty(grad, sizes);
  const ScalarKind scalar = scalar_kind(grad);
  const ConvPlan plan = plan_conv(shape, ConvRole::grad_input, scalar, launch.limits());
  lowrank_dynamic_conv_grad_input(launch, plan, scalar, shape, grad.const_data_ptr(),
                                  coeff.const_data_ptr(), basis.const_data_ptr(),
                                  grad_x.mutable_data_ptr());
  return grad_x;
}

Tensor grad_coeff(Tensor grad, Tensor x, Tensor basis, Sizes stride, Sizes padding,
                  Sizes dilation) {
  check_rank("grad", grad, 4);
  check_rank("x", x, 4);
  check_rank("basis", basis, 5);
  check_alike("x", x, grad);
  check_alike("basis", basis, grad);
  check_size("x", x, 0, grad.size(0));
  check_size("x", x, 1, grad.size(1));
  check_size("basis", basis, 0, grad.size(0));
  const ConvShape shape = with_rank(
      conv_shape(x.size(0), x.size(1), basis.size(1), {x.size(2), x.size(3)},
                 {grad.size(2), grad.size(3)}, {basis.size(3), basis.size(4)}, stride, padding,
                 dilation),
      basis.size(2));
  const DeviceLauncher launch(grad);
  grad = torch::stable::contiguous(grad);
  x = torch::stable::contiguous(x);
  basis = torch::stable::contiguous(basis);
  const Sizes sizes{shape.batch, shape.groups, shape.rank, shape.out_h, shape.out_w};
  Tensor grad_coeff = torch::stable::new_empty(grad, sizes);
  const ScalarKind scalar = scalar_kind(grad);
  const ConvPlan plan = plan_conv(shape, ConvRole::correlate, scalar, launch.limits());
  lowrank_dynamic_conv_grad_coeff(launch, plan, scalar, shape, grad.const_data_ptr(),
                                  x.const_data_ptr(), basis.const_data_ptr(),
                                  grad_coeff.mutable_data_ptr());
  return grad_coeff;
}

Tensor grad_basis(Tensor grad, Tensor x, Tensor coeff, Sizes kernel, Sizes stride, Sizes padding,
                  Sizes dilation) {
  check_rank("grad", grad, 4);
  check_rank("x", x, 4);
  check_rank("coeff", coeff, 5);
  check_alike("x", x, grad);
  check_alike("coeff", coeff, grad);
  check_size("x", x, 0, grad.size(0));
  check_size("x", x, 1, grad.size(1));
  check_size("coeff", coeff, 0, grad.size(0));
  check_size("coeff", coeff, 3, grad.size(2));
  check_size("coeff", coeff, 4, grad.size(3));
  const ConvShape shape = with_rank(
      conv_shape(x.size(0), x.size(1), coeff.size(1), {x.size(2), x.size(3)},
                 {grad.size(2), grad.size(3)}, kernel, stride, padding, dilation),
      coeff.size(2));
  const DeviceLauncher launch(grad);
  grad = torch::stable::contiguous(grad);
  x = torch::stable::contiguous(x);
  coeff = torch::stable::contiguous(coeff);
  const ScalarKind scalar = scalar_kind(grad);
  const ConvPlan plan = plan_conv(shape, ConvRole::reduce, scalar, launch.limits());
  Tensor workspace = torch::stable::new_empty(grad, Sizes{grad_basis_workspace(plan, shape)},
                                              accumulation_type(grad));
  const Sizes sizes{shape.batch, shape.groups, shape.rank, shape.kernel_h, shape.kernel_w};
  Tensor grad_basis = torch::stable::new_empty(grad, sizes);
  lowrank_dynamic_conv_grad_basis(launch, plan, scalar, shape, grad.const_data_ptr(),
                                  x.const_data_ptr(), coeff.const_data_ptr(),
                                  workspace.mutable_data_ptr(), grad_basis.mutable_data_ptr());
  return grad_basis;
}

}  // namespace
}  // namespace ksdiff_ops::cuda

STABLE_TORCH_LIBRARY_IMPL(ksdiff_ops, KSDIFF_DISPATCH_KEY, m) {
  m.impl("lowrank_dynamic_conv", TORCH_BOX(&ksdiff_ops::cuda::forward));
  m.impl("lowrank_dynamic_conv_grad_input", TORCH_BOX(&ksdiff_ops::cuda::grad_input));
  m.impl("lowrank_dynamic_conv_grad_coeff", TORCH_BOX(&ksdiff_ops::cuda::grad_coeff));
  m.impl("lowrank_dynamic_conv_grad_basis", TORCH_BOX(&ksdiff_ops::cuda::grad_basis));
}

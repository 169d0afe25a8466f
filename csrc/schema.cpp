// The schema of every operator, in one place. Only the padding above and to the left is given;
// the output's size follows from the kernels, the coefficients or the gradient, or is given.
// `size` is (H, W) of the result, `kernel` is (kh, kw).
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(ksdiff_ops, m) {
  m.def(
      "dynamic_conv(Tensor x, Tensor weight, "
      "int[] stride, SymInt[] padding, int[] dilation) -> Tensor");
  m.def(
      "dynamic_conv_grad_input(Tensor grad, Tensor weight, SymInt[] size, "
      "int[] stride, SymInt[] padding, int[] dilation) -> Tensor");
  m.def(
      "dynamic_conv_grad_weight(Tensor grad, Tensor x, SymInt groups, SymInt[] kernel, "
      "int[] stride, SymInt[] padding, int[] dilation) -> Tensor");
  m.def(
      "lowrank_dynamic_conv(Tensor x, Tensor coeff, Tensor basis, "
      "int[] stride, SymInt[] padding, int[] dilation) -> Tensor");
  m.def(
      "lowrank_dynamic_conv_grad_input(Tensor grad, Tensor coeff, Tensor basis, SymInt[] size, "
      "int[] stride, SymInt[] padding, int[] dilation) -> Tensor");
  m.def(
      "lowrank_dynamic_conv_grad_coeff(Tensor grad, Tensor x, Tensor basis, "
      "int[] stride, SymInt[] padding, int[] dilation) -> Tensor");
  m.def(
      "lowrank_dynamic_conv_grad_basis(Tensor grad, Tensor x, Tensor coeff, SymInt[] kernel, "
      "int[] stride, SymInt[] padding, int[] dilation) -> Tensor");
  m.def(
      "tucker_kernel(Tensor core, Tensor u1, Tensor u2, Tensor u3, Tensor u4, "
      "Tensor? base) -> Tensor");
  m.def(
      "tucker_kernel_backward(Tensor grad, Tensor core, Tensor u1, Tensor u2, Tensor u3, "
      "Tensor u4, Tensor? base) -> Tensor[]");
  m.def(
      "batched_conv2d(Tensor x, Tensor weight, SymInt[] size, "
      "int[] stride, SymInt[] padding, int[] dilation, SymInt groups) -> Tensor");
  m.def(
      "batched_conv2d_grad_input(Tensor grad, Tensor weight, SymInt[] size, "
      "int[] stride, SymInt[] padding, int[] dilation, SymInt groups) -> Tensor");
  m.def(
      "batched_conv2d_grad_weight(Tensor grad, Tensor x, SymInt[] kernel, "
      "int[] stride, SymInt[] padding, int[] dilation, SymInt groups) -> Tensor");
  m.def("adaptive_conv2d(Tensor x, Tensor attention, Tensor weight) -> Tensor");
  m.def("adaptive_conv2d_grad_input(Tensor grad, Tensor attention, Tensor weight) -> Tensor");
  m.def("adaptive_conv2d_grad_attention(Tensor grad, Tensor x, Tensor weight) -> Tensor");
  m.def("adaptive_conv2d_grad_weight(Tensor grad, Tensor x, Tensor attention) -> Tensor");
  // x and out [B, H, W, C]; without gradients.
  m.def(
      "convnext_block(Tensor x, Tensor depthwise, Tensor depthwise_bias, Tensor norm_weight, "
      "Tensor norm_bias, Tensor expand, Tensor expand_bias, Tensor project, Tensor project_bias, "
      "Tensor scale, float epsilon, Tensor(a!) out) -> ()");
}

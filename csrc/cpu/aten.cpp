#include "aten.h"

namespace ksdiff_ops::cpu::aten {
namespace {

using torch::stable::detail::from;
using torch::stable::detail::to;

template <size_t kArguments>
void call(const char* name, std::array<StableIValue, kArguments>& stack) {
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher(name, "", stack.data(), TORCH_ABI_VERSION));
}

std::array<Tensor, 3> backward(const Tensor& grad, const Tensor& x, const Tensor& weight,
                               const Sizes& stride, const Sizes& padding, const Sizes& dilation,
                               int64_t groups, bool wants_x) {
  const std::array<bool, 3> wanted{wants_x, !wants_x, false};
  std::array<StableIValue, 11> stack{from(grad),
                                     from(x),
                                     from(weight),
                                     from(std::nullopt),
                                     from(stride),
                                     from(padding),
                                     from(dilation),
                                     from(false),
                                     from(Sizes{0, 0}),
                                     from(groups),
                                     from(torch::headeronly::HeaderOnlyArrayRef<bool>(
                                         wanted.data(), wanted.size()))};
  call("aten::convolution_backward", stack);
  return {to<Tensor>(stack[0]), to<Tensor>(stack[1]), to<Tensor>(stack[2])};
}

}  // namespace

Tensor convolution(const Tensor& x, const Tensor& weight, const Sizes& stride,
                   const Sizes& padding, const Sizes& dilation, int64_t groups) {
  std::array<StableIValue, 9> stack{from(x),        from(weight),   from(std::nullopt),
                                    from(stride),   from(padding),  from(dilation),
                                    from(false),    from(Sizes{0, 0}), from(groups)};
  call("aten::convolution", stack);
  return to<Tensor>(stack[0]);
}

Tensor convolution_grad_input(const Tensor& grad, const Tensor& like, const Tensor& weight,
                              const Sizes& stride, const Sizes& padding, const Sizes& dilation,
                              int64_t groups) {
  return backward(grad, like, weight, stride, padding, dilation, groups, true)[0];
}

Tensor convolution_grad_weight(const Tensor& grad, const Tensor& x, const Sizes& size,
                               const Sizes& stride, const Sizes& padding, const Sizes& dilation,
                               int64_t groups) {
  const Tensor like = torch::stable::new_empty(grad, size);
  return backward(grad, x, like, stride, padding, dilation, groups, false)[1];
}

Tensor multiply(const Tensor& one, const Tensor& other) {
  std::array<StableIValue, 2> stack{from(one), from(other)};
  STABLE_TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::mul", "Tensor", stack.data(), TORCH_ABI_VERSION));
  return to<Tensor>(stack[0]);
}

Tensor permute(const Tensor& tensor, const Sizes& axes) {
  std::array<StableIValue, 2> stack{from(tensor), from(axes)};
  call("aten::permute", stack);
  return to<Tensor>(stack[0]);
}

Tensor unfold(const Tensor& x, const Sizes& kernel, const Sizes& dilation, const Sizes& padding,
              const Sizes& stride) {
  std::array<StableIValue, 5> stack{from(x), from(kernel), from(dilation), from(padding),
                                    from(stride)};
  call("aten::im2col", stack);
  return to<Tensor>(stack[0]);
}

Tensor fold(const Tensor& patches, const Sizes& size, const Sizes& kernel, const Sizes& dilation,
            const Sizes& padding, const Sizes& stride) {
  std::array<StableIValue, 6> stack{from(patches),  from(size),    from(kernel),
                                    from(dilation), from(padding), from(stride)};
  call("aten::col2im", stack);
  return to<Tensor>(stack[0]);
}

}  // namespace ksdiff_ops::cpu::aten

// Checks, memory, launch and registration of tucker_kernel and its backward.
#include "tucker_kernel.cuh"

#include <optional>

#include "launcher.h"
#include "tensors.h"

namespace ksdiff_ops::cuda {
namespace {

// The operands, contiguous: core, U1, U2, U3, U4 and, where there is one, the base kernel.
using Operands = std::vector<Tensor>;

TuckerShape check_operands(const Operands& operands) {
  const char* names[] = {"core", "u1", "u2", "u3", "u4", "base"};
  const int64_t axes[] = {5, 3, 3, 3, 3, 4};
  const Tensor& core = operands[0];
  for (size_t n = 0; n < operands.size(); ++n) {
    check_rank(names[n], operands[n], axes[n]);
    check_alike(names[n], operands[n], core);
  }
  for (int64_t mode = 1; mode <= 4; ++mode) {
    check_size(names[mode], operands[mode], 0, core.size(0));
    check_size(names[mode], operands[mode], 2, core.size(mode));
    if (operands.size() == 6) check_size("base", operands[5], mode - 1, operands[mode].size(1));
  }
  TuckerShape shape;
  shape.batch = extent("batch", core.size(0));
  shape.out = extent("output channels", operands[1].size(1));
  shape.in = extent("input channels", operands[2].size(1));
  shape.kernel_h = extent("kernel height", operands[3].size(1));
  shape.kernel_w = extent("kernel width", operands[4].size(1));
  shape.rank_out = extent("rank of u1", core.size(1));
  shape.rank_in = extent("rank of u2", core.size(2));
  shape.rank_h = extent("rank of u3", core.size(3));
  shape.rank_w = extent("rank of u4", core.size(4));
  // What a kernel counts in 32 bits.
  const int64_t taps = int64_t{shape.kernel_h} * shape.kernel_w;
  const int64_t ranks = int64_t{shape.rank_h} * shape.rank_w;
  extent("core per sample", int64_t{shape.rank_out} * shape.rank_in * ranks);
  extent("kernel per sample", int64_t{shape.out} * shape.in * taps);
  extent("rank of u1 times kernel", shape.rank_out * std::max(taps, ranks));
  return shape;
}

Operands contiguous(const Tensor& core, const Tensor& u1, const Tensor& u2, const Tensor& u3,
                    const Tensor& u4, const std::optional<Tensor>& base) {
  Operands operands;
  for (const Tensor* tensor : {&core, &u1, &u2, &u3, &u4}) {
    operands.push_back(torch::stable::contiguous(*tensor));
  }
  if (base.has_value()) operands.push_back(torch::stable::contiguous(*base));
  return operands;
}

TuckerAddresses addresses(const Operands& operands) {
  return {operands[0].const_data_ptr(), operands[1].const_data_ptr(),
          operands[2].const_data_ptr(), operands[3].const_data_ptr(),
          operands[4].const_data_ptr(),
          operands.size() == 6 ? operands[5].const_data_ptr() : nullptr};
}

Tensor forward(Tensor core, Tensor u1, Tensor u2, Tensor u3, Tensor u4,
               std::optional<Tensor> base) {
  const DeviceLauncher launch(core);
  const Operands operands = contiguous(core, u1, u2, u3, u4, base);
  const TuckerShape shape = check_operands(operands);
  const ScalarKind scalar = scalar_kind(core);
  const Sizes sizes{shape.batch, shape.out, shape.in, shape.kernel_h, shape.kernel_w};
  Tensor output = torch::stable::new_empty(core, sizes);
  tucker_kernel(launch, plan_tucker(shape, scalar, launch.limits()), scalar, shape,
                addresses(operands), output.mutable_data_ptr());
  return output;
}

std::vector<Tensor> backward(Tensor grad, Tensor core, Tensor u1, Tensor u2, Tensor u3, Tensor u4,
                             std::optional<Tensor> base) {
  const DeviceLauncher launch(core);
  const Operands operands = contiguous(core, u1, u2, u3, u4, base);
  const TuckerShape shape = check_operands(operands);
  check_rank("grad", grad, 5);
  check_alike("grad", grad, core);
  const Sizes sizes{shape.batch, shape.out, shape.in, shape.kernel_h, shape.kernel_w};
  for (int64_t axis = 0; axis < 5; ++axis) check_size("grad", grad, axis, sizes[axis]);
  grad = torch::stable::contiguous(grad);

  const TuckerBackwardPlan plan = plan_tucker_backward(shape, base.has_value());
  Tensor workspace =
      torch::stable::new_empty(core, Sizes{plan.workspace}, accumulation_type(core));
  std::vector<Tensor> gradients;
  for (const Tensor& operand : operands) {
    gradients.push_back(torch::stable::empty_like(operand));
  }
  const TuckerGradientAddresses to{
      gradients[0].mutable_data_ptr(), gradients[1].mutable_data_ptr(),
      gradients[2].mutable_data_ptr(), gradients[3].mutable_data_ptr(),
      gradients[4].mutable_data_ptr(),
      gradients.size() == 6 ? gradients[5].mutable_data_ptr() : nullptr};
  tucker_kernel_backward(launch, plan, scalar_kind(core), shape, grad.const_data_ptr(),
                         addresses(operands), workspace.mutable_data_ptr(), to);
  return gradients;
}

}  // namespace
}  // namespace ksdiff_ops::cuda

STABLE_TORCH_LIBRARY_IMPL(ksdiff_ops, KSDIFF_DISPATCH_KEY, m) {
  m.impl("tucker_kernel", TORCH_BOX(&ksdiff_ops::cuda::forward));
  m.impl("tucker_kernel_backward", TORCH_BOX(&ksdiff_ops::cuda::backward));
}

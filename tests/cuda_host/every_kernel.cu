// Makes nvcc compile every kernel that the launch functions can choose, without PyTorch's headers.
#include "cuda/dynamic_conv.cuh"
#include "cuda/lowrank_dynamic_conv.cuh"
#include "cuda/tucker_kernel.cuh"

namespace ksdiff_ops::cuda {

struct Launcher {
  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), const Grid&, const Arguments&... arguments) const {
    kernel<<<1, 1>>>(arguments...);
  }
};

void* const kLaunches[] = {
    reinterpret_cast<void*>(dynamic_conv<Launcher>),
    reinterpret_cast<void*>(dynamic_conv_grad_input<Launcher>),
    reinterpret_cast<void*>(dynamic_conv_grad_weight<Launcher>),
    reinterpret_cast<void*>(lowrank_dynamic_conv<Launcher>),
    reinterpret_cast<void*>(lowrank_dynamic_conv_grad_input<Launcher>),
    reinterpret_cast<void*>(lowrank_dynamic_conv_grad_coeff<Launcher>),
    reinterpret_cast<void*>(lowrank_dynamic_conv_grad_basis<Launcher>),
    reinterpret_cast<void*>(tucker_kernel<Launcher>),
    reinterpret_cast<void*>(tucker_kernel_backward<Launcher>),
};

}  // namespace ksdiff_ops::cuda

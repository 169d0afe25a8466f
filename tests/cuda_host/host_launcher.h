// Stands in for csrc/cuda/launcher.h's launcher where the operators run on the host.
#pragma once

#include <torch/csrc/stable/tensor.h>

#define KSDIFF_DISPATCH_KEY CPU

namespace ksdiff_ops::cuda {

class DeviceLauncher {
 public:
  explicit DeviceLauncher(const torch::stable::Tensor&) {}

  // So few multiprocessors that small images fill some launches and not others.
  DeviceLimits limits() const {
    DeviceLimits limits;
    limits.multiprocessors = 4;
    return limits;
  }

  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), const Grid& grid,
                  const Arguments&... arguments) const {
    cuda_on_host::device.run(kernel, grid.blocks, grid.threads_x, grid.threads_y,
                             grid.shared_bytes, static_cast<Parameters>(arguments)...);
  }
};

}  // namespace ksdiff_ops::cuda

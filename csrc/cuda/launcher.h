// Starts kernels on the device that a tensor lives on.
#pragma once

#include "../launch_plan.h"
#include "dispatch.cuh"

#if defined(__CUDACC__)

#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/tensor.h>

// Part of the stable ABI, but its header shows it only to builds that define USE_CUDA.
extern "C" AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** stream);

// The dispatch key that the operators are registered for.
#define KSDIFF_DISPATCH_KEY CUDA

namespace ksdiff_ops::cuda {

inline void check_cuda(cudaError_t status) {
  STD_TORCH_CHECK(status == cudaSuccess, "CUDA: ", cudaGetErrorString(status));
}

// Makes a tensor's device the current one while it lives, and launches on its current stream.
class DeviceLauncher {
 public:
  explicit DeviceLauncher(const torch::stable::Tensor& tensor)
      : device_(device_of(tensor)), guard_(device_) {
    // The runtime linked into this library keeps its own current device.
    check_cuda(cudaSetDevice(device_));
    void* stream = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device_, &stream));
    stream_ = static_cast<cudaStream_t>(stream);
  }

  DeviceLimits limits() const {
    DeviceLimits limits;
    check_cuda(cudaDeviceGetAttribute(&limits.multiprocessors, cudaDevAttrMultiProcessorCount,
                                      device_));
    check_cuda(cudaDeviceGetAttribute(&limits.shared_bytes,
                                      cudaDevAttrMaxSharedMemoryPerBlockOptin, device_));
    return limits;
  }

  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), const Grid& grid,
                  const Arguments&... arguments) const {
    if (grid.blocks == 0) return;
    STD_TORCH_CHECK(grid.blocks <= kMaxBlocks, "expected smaller tensors: ", grid.blocks,
                    " blocks do not fit into one grid");
    if (grid.shared_bytes > kDefaultSharedBytes) {
      check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      grid.shared_bytes));
    }
    const dim3 block(grid.threads_x, grid.threads_y);
    kernel<<<static_cast<unsigned>(grid.blocks), block, grid.shared_bytes, stream_>>>(
        arguments...);
    check_cuda(cudaGetLastError());
  }

 private:
  static int32_t device_of(const torch::stable::Tensor& tensor) {
    STD_TORCH_CHECK(tensor.is_cuda(), "expected all tensors on one CUDA device");
    return tensor.get_device_index();
  }

  int32_t device_;
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_ = nullptr;
};

}  // namespace ksdiff_ops::cuda

#else
#include <host_launcher.h>
#endif

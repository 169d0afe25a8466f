#include "tensors.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstring>

namespace ksdiff_ops::cpu {

using torch::headeronly::ScalarType;

Numbers numbers_of(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return {Storage::float32};
    case ScalarType::Double: return {Storage::float64};
    case ScalarType::Half: return {Storage::float16};
    case ScalarType::BFloat16: return {Storage::bfloat16};
    default: break;
  }
  STD_TORCH_CHECK(false, "expected float32, float64, float16 or bfloat16 tensors");
}

Tensor reshaped(const Tensor& tensor, const Sizes& sizes) {
  if (!tensor.is_contiguous()) return torch::stable::reshape(tensor, sizes);
  constexpr int64_t further = 0;  // than where the tensor's numbers begin
  Sizes strides(sizes.size());
  int64_t stride = 1;
  for (size_t axis = sizes.size(); axis-- > 0; stride *= sizes[axis]) strides[axis] = stride;
  AtenTensorHandle handle;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch__reinterpret_tensor(
      tensor.get(), static_cast<int64_t>(sizes.size()), sizes.data(), strides.data(), further,
      &handle));
  return Tensor(handle);
}

Tensor new_output(const Tensor& like, const Sizes& sizes) {
  // torch::stable::new_empty finds the operator by its name and boxes its arguments, which takes
  // longer than a small kernel.
  int32_t dtype, layout, device, index;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &dtype));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_layout(like.get(), &layout));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &index));
  AtenTensorHandle handle;
  STABLE_TORCH_ERROR_CODE_CHECK(
      aoti_torch_aten_new_empty(like.get(), sizes.data(), static_cast<int64_t>(sizes.size()),
                                &dtype, &layout, &device, index, nullptr, &handle));
  Tensor output(handle);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t page = 2 << 20, least = 4 * page;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(output.mutable_data_ptr());
  const uintptr_t bytes = output.numel() * numbers_of(output).bytes();
  if (bytes >= least) {
    // Only pages that lie in the tensor; where the system refuses, all stays as it was.
    const uintptr_t first = (begin + page - 1) / page * page;
    madvise(reinterpret_cast<void*>(first), (begin + bytes) / page * page - first, MADV_HUGEPAGE);
  }
#endif
  return output;
}

void load_row(Numbers numbers, const void* data, int64_t index, int64_t count, float* target) {
  switch (numbers.storage) {
    case Storage::float16:
      active().conversions.load_float16(static_cast<const uint16_t*>(data) + index, count, target);
      return;
    case Storage::bfloat16:
      active().conversions.load_bfloat16(static_cast<const uint16_t*>(data) + index, count, target);
      return;
    default: std::memcpy(target, static_cast<const float*>(data) + index, count * sizeof(float));
  }
}

void load_row(Numbers, const void* data, int64_t index, int64_t count, double* target) {
  std::memcpy(target, static_cast<const double*>(data) + index, count * sizeof(double));
}

void store_row(Numbers numbers, const float* source, int64_t count, void* data, int64_t index) {
  switch (numbers.storage) {
    case Storage::float16:
      active().conversions.store_float16(source, count, static_cast<uint16_t*>(data) + index);
      return;
    case Storage::bfloat16:
      active().conversions.store_bfloat16(source, count, static_cast<uint16_t*>(data) + index);
      return;
    default: std::memcpy(static_cast<float*>(data) + index, source, count * sizeof(float));
  }
}

void store_row(Numbers, const double* source, int64_t count, void* data, int64_t index) {
  std::memcpy(static_cast<double*>(data) + index, source, count * sizeof(double));
}

}  // namespace ksdiff_ops::cpu

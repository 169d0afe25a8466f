// For Python tests: launch plans, what their blocks cover, and probes of the host's CUDA itself.
#include <pybind11/pybind11.h>

#include <vector>

#include "cuda/dispatch.cuh"

namespace py = pybind11;
using namespace ksdiff_ops;

namespace {

// Counts, for every pixel of every plane that a conv writes, how many threads write it.
// `counts` is the address of zeroed int32 [batch, channels, H, W].
void count_writes(const ConvShape& shape, const ConvPlan& plan, ConvRole role,
                  std::uintptr_t counts) {
  const cuda::ConvParams p = cuda::conv_params(shape, plan, role, ScalarKind::float32, false, {});
  auto* count = reinterpret_cast<int32_t*>(counts);
  for (int64_t index = 0; index < plan.blocks; ++index) {
    blockIdx = {static_cast<unsigned>(index), 0, 0};
    const cuda::ConvBlock block = cuda::locate(p);
    for (int c = 0; c < block.channels; ++c) {
      for (int ty = 0; ty < plan.threads_y; ++ty) {
        const int y = block.tile_y * plan.tile_h + ty;
        if (y >= p.out_h) continue;
        const int first = block.tile_x * plan.tile_w;
        const int last = std::min(first + plan.threads_x * plan.pixels, p.out_w);
        int32_t* row = count + (block.first + c) * p.out_plane() + int64_t{y} * p.out_w;
        for (int x = first; x < last; ++x) ++row[x];
      }
    }
  }
}

void sum_by_warp_and_block(const double* values, double* sums) {
  const auto shared = cuda::shared_memory<double>();
  const int thread = cuda::linear_thread();
  const double sum = cuda::warp_sum(values[blockIdx.x * blockDim.x + thread]);
  if (thread % 32 == 0) shared[thread / 32] = sum;
  __syncthreads();
  if (thread != 0) return;
  sums[blockIdx.x] = 0;
  for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) sums[blockIdx.x] += shared[warp];
}

void skip_a_barrier() {
  if (threadIdx.x != 5) __syncthreads();
}

void skip_a_shuffle() {
  if (threadIdx.x != 5) __shfl_xor_sync(~0u, 1, 16);
}

void meet_at_different_barriers() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

void read_unaligned(const float* values) {
  cuda::load_vector<float, 4>(values + 1);
}

void write_unaligned(float* values) {
  cuda::store_vector<float, 4>(values + 1, {});
}

void read_shared_unaligned() {
  cuda::load_shared<4, float>(cuda::shared_memory<float>() + 1);
}

void read_beyond_shared_memory() {
  cuda::load_shared<4, float>(cuda::shared_memory<float>() + 64);
}

void write_what_another_writes() { cuda::shared_memory<float>()[0] = 1; }

void read_what_another_writes() {
  const auto shared = cuda::shared_memory<float>();
  shared[threadIdx.x] = 1;
  const float next = shared[(threadIdx.x + 1) % 64];
  shared[threadIdx.x] = next;
}

void read_a_copy_before_it_is_there(const float* values) {
  const auto shared = cuda::shared_memory<float>();
  cuda::copy_async<4, float>(shared, values, true);
  cuda::close_copies();
  cuda::load_shared<4, float>(shared);
}

void read_what_another_copied(const float* values) {
  const auto shared = cuda::shared_memory<float>();
  if (threadIdx.x == 0) cuda::copy_async<4, float>(shared, values, true);
  cuda::close_copies();
  cuda::wait_for_copies<0>();
  cuda::load_shared<4, float>(shared);
}

void never_wait_for_a_copy(const float* values) {
  cuda::copy_async<4, float>(cuda::shared_memory<float>(), values, true);
  cuda::close_copies();
}

void copy_from_an_odd_address(const float* values) {
  cuda::copy_async<4, float>(cuda::shared_memory<float>(), values + 1, true);
}

// In whichever order threads run, each adds its number to what it sees.
void write_in_order(float* order) {
  *order = *order * 2 + threadIdx.x % 2;
}

}  // namespace

PYBIND11_MODULE(host_probe, m) {
  m.def("sums_of_blocks", [](int blocks, int threads) {
    std::vector<double> values(blocks * threads), sums(blocks);
    for (size_t n = 0; n < values.size(); ++n) values[n] = static_cast<double>(n);
    cuda_on_host::device.run(sum_by_warp_and_block, blocks, threads, 1, threads / 32 * 8,
                             values.data(), sums.data());
    py::list result;
    for (const double sum : sums) result.append(sum);
    return result;
  });
  // Kernels that hang, fault or race on a GPU, each run by 64 threads with 64 floats shared.
  const auto fault = [&m](const char* name, auto kernel) {
    m.def(name, [kernel] { cuda_on_host::device.run(kernel, 1, 64, 1, 256); });
  };
  fault("skip_a_barrier", skip_a_barrier);
  fault("skip_a_shuffle", skip_a_shuffle);
  fault("meet_at_different_barriers", meet_at_different_barriers);
  fault("read_shared_unaligned", read_shared_unaligned);
  fault("read_beyond_shared_memory", read_beyond_shared_memory);
  fault("write_what_another_writes", write_what_another_writes);
  fault("read_what_another_writes", read_what_another_writes);
  alignas(16) static float values[8] = {};
  const auto fault_on = [&m](const char* name, auto kernel, int threads) {
    float* const address = values;
    m.def(name, [kernel, threads, address] {
      cuda_on_host::device.run(kernel, 1, threads, 1, 256, address);
    });
  };
  fault_on("read_unaligned", read_unaligned, 1);
  fault_on("write_unaligned", write_unaligned, 1);
  fault_on("read_a_copy_before_it_is_there", read_a_copy_before_it_is_there, 1);
  fault_on("read_what_another_copied", read_what_another_copied, 2);
  fault_on("never_wait_for_a_copy", never_wait_for_a_copy, 1);
  fault_on("copy_from_an_odd_address", copy_from_an_odd_address, 1);
  m.def("order_of_threads", [] {
    static float order;
    order = 0;
    float* const address = &order;
    cuda_on_host::device.run(write_in_order, 1, 20, 1, 0, address);
    return order;
  });

  py::enum_<ScalarKind>(m, "ScalarKind")
      .value("float32", ScalarKind::float32)
      .value("float64", ScalarKind::float64)
      .value("float16", ScalarKind::float16)
      .value("bfloat16", ScalarKind::bfloat16);
  py::enum_<Variant>(m, "Variant")
      .value("staged", Variant::staged)
      .value("streaming", Variant::streaming)
      .value("general", Variant::general);
  py::enum_<ConvRole>(m, "ConvRole")
      .value("forward", ConvRole::forward)
      .value("grad_input", ConvRole::grad_input)
      .value("correlate", ConvRole::correlate)
      .value("reduce", ConvRole::reduce);
  py::enum_<TuckerVariant>(m, "TuckerVariant")
      .value("shared", TuckerVariant::shared)
      .value("plain", TuckerVariant::plain);

  py::class_<DeviceLimits>(m, "DeviceLimits")
      .def(py::init<>())
      .def_readwrite("multiprocessors", &DeviceLimits::multiprocessors)
      .def_readwrite("shared_bytes", &DeviceLimits::shared_bytes);
  py::class_<ConvShape>(m, "ConvShape")
      .def(py::init<>())
      .def_readwrite("batch", &ConvShape::batch)
      .def_readwrite("channels", &ConvShape::channels)
      .def_readwrite("groups", &ConvShape::groups)
      .def_readwrite("in_h", &ConvShape::in_h)
      .def_readwrite("in_w", &ConvShape::in_w)
      .def_readwrite("out_h", &ConvShape::out_h)
      .def_readwrite("out_w", &ConvShape::out_w)
      .def_readwrite("kernel_h", &ConvShape::kernel_h)
      .def_readwrite("kernel_w", &ConvShape::kernel_w)
      .def_readwrite("stride_h", &ConvShape::stride_h)
      .def_readwrite("stride_w", &ConvShape::stride_w)
      .def_readwrite("pad_h", &ConvShape::pad_h)
      .def_readwrite("pad_w", &ConvShape::pad_w)
      .def_readwrite("dilation_h", &ConvShape::dilation_h)
      .def_readwrite("dilation_w", &ConvShape::dilation_w)
      .def_readwrite("low_rank", &ConvShape::low_rank)
      .def_readwrite("rank", &ConvShape::rank);
  py::class_<ConvPlan>(m, "ConvPlan")
      .def_readonly("variant", &ConvPlan::variant)
      .def_readonly("kernel", &ConvPlan::kernel)
      .def_readonly("pixels", &ConvPlan::pixels)
      .def_readonly("threads_x", &ConvPlan::threads_x)
      .def_readonly("threads_y", &ConvPlan::threads_y)
      .def_readonly("tiles_x", &ConvPlan::tiles_x)
      .def_readonly("tiles_y", &ConvPlan::tiles_y)
      .def_readonly("splits", &ConvPlan::splits)
      .def_readonly("shared_bytes", &ConvPlan::shared_bytes)
      .def_readonly("register_budget", &ConvPlan::register_budget)
      .def_readonly("blocks", &ConvPlan::blocks);
  py::class_<TuckerShape>(m, "TuckerShape")
      .def(py::init<>())
      .def_readwrite("batch", &TuckerShape::batch)
      .def_readwrite("out_channels", &TuckerShape::out)
      .def_readwrite("in_channels", &TuckerShape::in)
      .def_readwrite("kernel_h", &TuckerShape::kernel_h)
      .def_readwrite("kernel_w", &TuckerShape::kernel_w)
      .def_readwrite("rank_out", &TuckerShape::rank_out)
      .def_readwrite("rank_in", &TuckerShape::rank_in)
      .def_readwrite("rank_h", &TuckerShape::rank_h)
      .def_readwrite("rank_w", &TuckerShape::rank_w);
  py::class_<TuckerPlan>(m, "TuckerPlan")
      .def_readonly("variant", &TuckerPlan::variant)
      .def_readonly("threads", &TuckerPlan::threads)
      .def_readonly("tile_in", &TuckerPlan::tile_in)
      .def_readonly("tile_out", &TuckerPlan::tile_out)
      .def_readonly("tiles_in", &TuckerPlan::tiles_in)
      .def_readonly("tiles_out", &TuckerPlan::tiles_out)
      .def_readonly("shared_bytes", &TuckerPlan::shared_bytes)
      .def_readonly("register_budget", &TuckerPlan::register_budget)
      .def_readonly("blocks", &TuckerPlan::blocks);

  m.attr("default_shared_bytes") = kDefaultSharedBytes;
  m.attr("registers_per_multiprocessor") = kRegistersPerMultiprocessor;
  m.attr("max_blocks") = kMaxBlocks;
  m.def("plan_conv", &plan_conv);
  m.def("plan_tucker", &plan_tucker);
  m.def("count_writes", &count_writes);
}

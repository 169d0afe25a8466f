// CUDA's vocabulary on the CPU, so that the kernels of csrc/cuda run where there is no GPU.
//
// A block's threads are fibers, resumed in turn. __syncthreads and warp shuffles hand control to
// the scheduler, which lets a barrier pass only when every thread of the block (or lane of the
// warp) stands at it: a barrier that some thread skips is an error here, not a hang. Shared
// memory is a heap block of exactly the bytes asked for, filled with NaN for every block.
#pragma once

#include <setjmp.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

using __half = c10::Half;
using __nv_bfloat16 = c10::BFloat16;
inline float __half2float(__half value) { return static_cast<float>(value); }
inline float __bfloat162float(__nv_bfloat16 value) { return static_cast<float>(value); }
inline __half __float2half_rn(float value) { return value; }
inline __nv_bfloat16 __float2bfloat16_rn(float value) { return value; }

struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

template <typename T>
T __ldg(const T* address) {
  if (reinterpret_cast<std::uintptr_t>(address) % alignof(T) != 0) {
    throw std::logic_error("misaligned load");
  }
  T value;
  std::memcpy(&value, address, sizeof(T));
  return value;
}

using std::min;

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_on_host {

constexpr int kWarp = 32;
constexpr size_t kStackBytes = 64 * 1024;

enum class State { ready, at_shuffle, at_barrier, finished };

// Where a flow of control stopped. It is entered through `context`, and from then on resumed by
// longjmp, which unlike swapcontext makes no system calls; the address sanitizer, which has to be
// told of every change of stacks, understands only the latter.
struct Flow {
  ucontext_t context;
  jmp_buf point;
  bool entered = true;
};

struct Fiber : Flow {
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  State state = State::ready;
  // Two slots: a lane may write its next value before its neighbours have read the last.
  uint64_t exchanged[2] = {};
  int shuffles = 0;
};

// Runs one block after the other on the calling thread.
class Device {
 public:
  template <typename... Parameters, typename... Arguments>
  void run(void (*kernel)(Parameters...), int64_t blocks, int threads_x, int threads_y,
           int shared_bytes, const Arguments&... arguments) {
    gridDim = {static_cast<unsigned>(blocks), 1, 1};
    blockDim = {static_cast<unsigned>(threads_x), static_cast<unsigned>(threads_y), 1};
    body_ = [&] { kernel(arguments...); };
    while (fibers_.size() < static_cast<size_t>(threads_x * threads_y)) {
      fibers_.push_back(std::make_unique<Fiber>());
    }
    for (int64_t block = 0; block < blocks; ++block) {
      blockIdx = {static_cast<unsigned>(block), 0, 0};
      run_block(threads_x * threads_y, shared_bytes);
    }
  }

  void barrier() {
    fibers_[current_]->state = State::at_barrier;
    yield();
  }

  template <typename T>
  T shuffle_xor(T value, int mask) {
    static_assert(sizeof(T) <= sizeof(uint64_t));
    Fiber& fiber = *fibers_[current_];
    const int slot = fiber.shuffles++ % 2;
    std::memcpy(&fiber.exchanged[slot], &value, sizeof(T));
    fiber.state = State::at_shuffle;
    yield();
    T received;
    std::memcpy(&received, &fibers_[current_ ^ mask]->exchanged[slot], sizeof(T));
    return received;
  }

  void* shared_memory() { return shared_.get(); }

 private:
  void run_block(int threads, int shared_bytes) {
    shared_.reset(std::aligned_alloc(16, (shared_bytes + 15) / 16 * 16));
    std::memset(shared_.get(), 0xff, shared_bytes);
    for (int thread = 0; thread < threads; ++thread) prepare(*fibers_[thread]);
    for (bool running = true; running;) {
      for (int first = 0; first < threads; first += kWarp) {
        run_warp(first, std::min(threads, first + kWarp));
      }
      running = release(0, threads, State::at_barrier, "a thread skipped __syncthreads");
    }
  }

  // Until all lanes stand at a block barrier or have finished.
  void run_warp(int first, int last) {
    do {
      for (current_ = first; current_ < last; ++current_) {
        if (fibers_[current_]->state == State::ready) resume(*fibers_[current_]);
      }
    } while (release(first, last, State::at_shuffle, "a lane skipped a warp shuffle"));
  }

  // Lets threads go on that wait in `state`: all must, or none.
  bool release(int first, int last, State state, const char* problem) {
    int waiting = 0;
    for (int n = first; n < last; ++n) waiting += fibers_[n]->state == state;
    if (waiting == 0) return false;
    if (waiting != last - first) throw std::logic_error(problem);
    for (int n = first; n < last; ++n) fibers_[n]->state = State::ready;
    return true;
  }

  void prepare(Fiber& fiber) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, &Device::enter, 0);
    fiber.entered = false;
    fiber.state = State::ready;
    fiber.shuffles = 0;
  }

  static void enter();

  void resume(Fiber& fiber) {
    threadIdx = {static_cast<unsigned>(current_) % blockDim.x,
                 static_cast<unsigned>(current_) / blockDim.x, 0};
    switch_to(scheduler_, fiber, fiber.stack.get(), kStackBytes);
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

  void yield() {
    switch_to(*fibers_[current_], scheduler_, scheduler_stack_, scheduler_stack_bytes_);
  }

#if defined(__SANITIZE_ADDRESS__)
  static void switch_to(Flow& from, Flow& to, const void* stack, size_t bytes) {
    void* own = nullptr;
    __sanitizer_start_switch_fiber(&own, stack, bytes);
    swapcontext(&from.context, &to.context);
    const void* left = nullptr;
    size_t left_bytes = 0;
    __sanitizer_finish_switch_fiber(own, &left, &left_bytes);
  }

  void arrive() {
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack_, &scheduler_stack_bytes_);
  }
#else
  static void switch_to(Flow& from, Flow& to, const void*, size_t) {
    if (_setjmp(from.point) != 0) return;
    if (to.entered) _longjmp(to.point, 1);
    to.entered = true;
    setcontext(&to.context);
  }

  void arrive() {}
#endif

  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };

  std::function<void()> body_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::unique_ptr<void, Free> shared_;
  Flow scheduler_;
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_stack_bytes_ = 0;
  std::exception_ptr failure_;
  int current_ = 0;
};

inline Device device;

inline void Device::enter() {
  device.arrive();
  try {
    device.body_();
  } catch (...) {
    device.failure_ = std::current_exception();
  }
  device.fibers_[device.current_]->state = State::finished;
  device.yield();
}

inline void* shared_memory() { return device.shared_memory(); }

}  // namespace cuda_on_host

inline void __syncthreads() { cuda_on_host::device.barrier(); }

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return cuda_on_host::device.shuffle_xor(value, mask);
}

// CUDA's vocabulary on the CPU, so that the kernels of csrc/cuda run where there is no GPU.
//
// A block's threads are fibers, resumed in turn: warps and the lanes of a warp in an order that is
// drawn anew between any two barriers. __syncthreads and warp shuffles hand control to the
// scheduler, which lets a barrier pass only when every thread of the block (or lane of the warp)
// stands at the same one. Shared memory is exactly the bytes asked for, filled with NaN for every
// block, and reached through pointers that check each access. An error, where a GPU would hang,
// fault or silently differ from run to run, is:
//   - a barrier or shuffle that some thread skips, or threads at different barriers;
//   - a load, store or copy at an address that is not a multiple of its size;
//   - an access beyond shared memory;
//   - two threads at one place of shared memory between two barriers, one of them writing;
//   - shared memory touched while an asynchronous copy to it is under way, and a copy never waited
//     for. Copies arrive at the wait and no earlier.
#pragma once

#include <setjmp.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>
#include <ucontext.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <random>
#include <source_location>
#include <stdexcept>
#include <string>
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

namespace cuda_on_host {

inline void check_aligned(const void* address, size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) {
    throw std::logic_error("misaligned access of " + std::to_string(bytes) + " bytes");
  }
}

}  // namespace cuda_on_host

template <typename T>
T __ldg(const T* address) {
  cuda_on_host::check_aligned(address, alignof(T));
  T value;
  std::memcpy(&value, address, sizeof(T));
  return value;
}

using std::min;

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_on_host {

constexpr int kWarp = 32;
constexpr int kMostThreads = 1024;
constexpr int kMostSharedBytes = 227 * 1024;
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

struct Copy {
  size_t to, bytes;
  const void* from;  // null: zeros
};

struct Fiber : Flow {
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  State state = State::ready;
  int barriers = 0;
  std::source_location place;  // of the barrier it stands at
  std::vector<Copy> open;      // copies of the group that is not closed
  std::vector<std::vector<Copy>> closed;
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
    if (threads_x * threads_y > kMostThreads) throw std::logic_error("too many threads");
    if (shared_bytes > kMostSharedBytes) throw std::logic_error("too much shared memory");
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

  void barrier(std::source_location place) {
    Fiber& fiber = *fibers_[current_];
    fiber.state = State::at_barrier;
    fiber.place = place;
    ++fiber.barriers;
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

  template <typename T>
  T read_shared(size_t offset) {
    touch(offset, sizeof(T), false);
    T value;
    std::memcpy(&value, shared_.get() + offset, sizeof(T));
    return value;
  }

  template <typename T>
  void write_shared(size_t offset, const T& value) {
    touch(offset, sizeof(T), true);
    std::memcpy(shared_.get() + offset, &value, sizeof(T));
  }

  void copy_async(size_t to, const void* from, size_t bytes, bool there) {
    check_aligned(from, bytes);
    touch(to, bytes, true);
    for (size_t n = to; n < to + bytes; n += kGrain) touched_[n / kGrain].under_way = true;
    fibers_[current_]->open.push_back({to, bytes, there ? from : nullptr});
  }

  void close_copies() {
    Fiber& fiber = *fibers_[current_];
    fiber.closed.push_back(std::exchange(fiber.open, {}));
  }

  void wait_for_copies(size_t under_way) {
    auto& closed = fibers_[current_]->closed;
    while (closed.size() > under_way) {
      for (const Copy& copy : closed.front()) arrive(copy);
      closed.erase(closed.begin());
    }
  }

 private:
  // Shared memory is watched in pieces of the smallest numbers' size.
  static constexpr size_t kGrain = 2;
  static constexpr int kNobody = -1, kMany = -2;

  struct Touched {
    int64_t interval = -1;
    int writer = kNobody, reader = kNobody;
    bool under_way = false;
  };

  void touch(size_t offset, size_t bytes, bool writes) {
    if (offset % bytes != 0) throw std::logic_error("misaligned access of shared memory");
    if (offset + bytes > shared_bytes_) throw std::logic_error("access beyond shared memory");
    for (size_t n = offset; n < offset + bytes; n += kGrain) {
      Touched& touched = touched_[n / kGrain];
      if (touched.under_way) {
        throw std::logic_error("shared memory touched while a copy to it is under way");
      }
      if (touched.interval != interval_) touched = {interval_};
      const auto others = [this](int thread) { return thread != kNobody && thread != current_; };
      if (others(touched.writer) || (writes && others(touched.reader))) {
        throw std::logic_error("race: two threads at one place of shared memory");
      }
      if (writes) {
        touched.writer = current_;
      } else {
        touched.reader = others(touched.reader) ? kMany : current_;
      }
    }
  }

  void arrive(const Copy& copy) {
    for (size_t n = copy.to; n < copy.to + copy.bytes; n += kGrain) {
      touched_[n / kGrain].under_way = false;
    }
    touch(copy.to, copy.bytes, true);
    if (copy.from == nullptr) {
      std::memset(shared_.get() + copy.to, 0, copy.bytes);
    } else {
      std::memcpy(shared_.get() + copy.to, copy.from, copy.bytes);
    }
  }

  void run_block(int threads, int shared_bytes) {
    shared_bytes_ = shared_bytes;
    shared_.reset(new unsigned char[shared_bytes]);
    std::fill_n(shared_.get(), shared_bytes, 0xff);
    touched_.assign((shared_bytes + kGrain - 1) / kGrain, {});
    for (int thread = 0; thread < threads; ++thread) prepare(*fibers_[thread]);
    std::vector<int> warps((threads + kWarp - 1) / kWarp);
    for (size_t n = 0; n < warps.size(); ++n) warps[n] = static_cast<int>(n) * kWarp;
    for (bool running = true; running;) {
      std::shuffle(warps.begin(), warps.end(), random_);
      for (const int first : warps) run_warp(first, std::min(threads, first + kWarp));
      running = release(0, threads, State::at_barrier, "a thread skipped __syncthreads");
      ++interval_;
    }
    for (int thread = 0; thread < threads; ++thread) {
      const Fiber& fiber = *fibers_[thread];
      const auto empty = [](const auto& group) { return group.empty(); };
      if (!fiber.open.empty() || !std::all_of(fiber.closed.begin(), fiber.closed.end(), empty)) {
        throw std::logic_error("a copy was never waited for");
      }
    }
  }

  // Until all lanes stand at a block barrier or have finished.
  void run_warp(int first, int last) {
    std::vector<int> lanes(last - first);
    for (int n = first; n < last; ++n) lanes[n - first] = n;
    do {
      std::shuffle(lanes.begin(), lanes.end(), random_);
      for (const int lane : lanes) {
        current_ = lane;
        if (fibers_[lane]->state == State::ready) resume(*fibers_[lane]);
      }
    } while (release(first, last, State::at_shuffle, "a lane skipped a warp shuffle"));
  }

  // Lets threads go on that wait in `state`: all must, and at one place, or none.
  bool release(int first, int last, State state, const char* problem) {
    int waiting = 0;
    for (int n = first; n < last; ++n) waiting += fibers_[n]->state == state;
    if (waiting == 0) return false;
    for (int n = first; n < last; ++n) {
      const Fiber& fiber = *fibers_[n];
      if (fiber.state != state) {
        throw std::logic_error(std::string(problem) + ": thread " + std::to_string(n) +
                               " passed " + std::to_string(fiber.barriers) + " barriers, " +
                               std::to_string(waiting) + " others wait");
      }
      if (state == State::at_barrier && fiber.place.line() != fibers_[first]->place.line()) {
        throw std::logic_error("threads stand at different barriers, in lines " +
                               std::to_string(fiber.place.line()) + " and " +
                               std::to_string(fibers_[first]->place.line()));
      }
    }
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
    fiber.barriers = 0;
    fiber.shuffles = 0;
    fiber.open.clear();
    fiber.closed.clear();
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

  void arrived() {
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack_, &scheduler_stack_bytes_);
  }
#else
  static void switch_to(Flow& from, Flow& to, const void*, size_t) {
    if (_setjmp(from.point) != 0) return;
    if (to.entered) _longjmp(to.point, 1);
    to.entered = true;
    setcontext(&to.context);
  }

  void arrived() {}
#endif

  std::function<void()> body_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::unique_ptr<unsigned char[]> shared_;
  size_t shared_bytes_ = 0;
  std::vector<Touched> touched_;
  int64_t interval_ = 0;  // counts barriers, over all blocks
  std::mt19937 random_;   // of the order of warps and lanes
  Flow scheduler_;
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_stack_bytes_ = 0;
  std::exception_ptr failure_;
  int current_ = 0;
};

inline Device device;

inline void Device::enter() {
  device.arrived();
  try {
    device.body_();
  } catch (...) {
    device.failure_ = std::current_exception();
  }
  device.fibers_[device.current_]->state = State::finished;
  device.yield();
}

// A number in shared memory, or rather its place there.
template <typename T>
class SharedReference {
 public:
  explicit SharedReference(size_t offset) : offset_(offset) {}
  operator T() const { return device.read_shared<T>(offset_); }
  SharedReference& operator=(const T& value) {
    device.write_shared(offset_, value);
    return *this;
  }
  SharedReference& operator=(const SharedReference& other) { return *this = T(other); }

 private:
  size_t offset_;
};

// What stands for an address in shared memory: counts in numbers of type T, reads nothing itself.
template <typename T>
class SharedPointer {
 public:
  explicit SharedPointer(int64_t offset) : offset_(offset) {}
  SharedPointer operator+(int64_t count) const {
    return SharedPointer(offset_ + count * static_cast<int64_t>(sizeof(T)));
  }
  SharedReference<T> operator[](int64_t n) const { return *(*this + n); }
  SharedReference<T> operator*() const { return SharedReference<T>(offset_); }
  size_t offset() const { return offset_; }
  template <typename U>
  SharedPointer<U> as() const {
    return SharedPointer<U>(offset_);
  }

 private:
  int64_t offset_;
};

template <typename T>
SharedPointer<T> shared_memory() {
  return SharedPointer<T>(0);
}

}  // namespace cuda_on_host

inline void __syncthreads(std::source_location place = std::source_location::current()) {
  cuda_on_host::device.barrier(place);
}

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return cuda_on_host::device.shuffle_xor(value, mask);
}

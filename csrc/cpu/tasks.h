// Work shared out among PyTorch's threads.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>

namespace ksdiff_ops::cpu {

// Runs body(begin, end) over tasks of about `work` multiplications each.
template <class Body>
void for_tasks(int64_t tasks, int64_t work, const Body& body) {
  // A few tens of microseconds, in which a thread that slept wakes up.
  constexpr int64_t worth_a_thread = 1 << 18;
  const int64_t grain = std::max<int64_t>(1, worth_a_thread / std::max<int64_t>(1, work));
  torch::stable::parallel_for(0, tasks, grain, body);
}

}  // namespace ksdiff_ops::cpu

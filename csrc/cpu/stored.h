// Kernels that read numbers as they lie in memory.
#pragma once

#include "tensors.h"

namespace ksdiff_ops::cpu {

// Calls body with a number of the kind that is stored.
template <class Body>
void with_stored(Numbers numbers, const Body& body) {
  switch (numbers.storage) {
    case Storage::float32: body(float{}); break;
    case Storage::float64: body(double{}); break;
    case Storage::float16: body(Float16{}); break;
    case Storage::bfloat16: body(Bfloat16{}); break;
  }
}

}  // namespace ksdiff_ops::cpu

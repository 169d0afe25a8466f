// Chooses the instruction set once, when first needed.
#include "rows.h"

#include <cstdlib>
#include <cstring>

namespace ksdiff_ops::cpu {

namespace generic {
extern const InstructionSet instruction_set;
}

#if defined(KSDIFF_X86_ROWS)
namespace avx2 {
extern const InstructionSet instruction_set;
}
namespace avx512 {
extern const InstructionSet instruction_set;
}
namespace avx512bf16 {
extern const PairRows pair_rows;
}
#endif

namespace {

const InstructionSet& choose() {
#if defined(KSDIFF_X86_ROWS)
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                        __builtin_cpu_supports("f16c");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") &&
                          __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  // KSDIFF_OPS_CPU_CAPABILITY can lower the choice, never raise it above what the machine has.
  const char* limit = std::getenv("KSDIFF_OPS_CPU_CAPABILITY");
  const bool only_generic = limit != nullptr && std::strcmp(limit, "generic") == 0;
  const bool only_avx2 = limit != nullptr && std::strcmp(limit, "avx2") == 0;
  if (has_avx512 && !only_generic && !only_avx2) return avx512::instruction_set;
  if (has_avx2 && !only_generic) return avx2::instruction_set;
#endif
  return generic::instruction_set;
}

}  // namespace

const InstructionSet& active() {
  static const InstructionSet& chosen = choose();
  return chosen;
}

bool multiplies_bfloat16() {
#if defined(KSDIFF_X86_ROWS)
  static const bool known =
      &active() == &avx512::instruction_set && __builtin_cpu_supports("avx512bf16");
  return known;
#else
  return false;
#endif
}

const PairRows& pair_rows() {
#if defined(KSDIFF_X86_ROWS)
  return avx512bf16::pair_rows;
#else
  std::abort();  // multiplies_bfloat16() is false
#endif
}

template <>
const Rows<float>& rows<float>() {
  return active().float_rows;
}

template <>
const Rows<double>& rows<double>() {
  return active().double_rows;
}

template <>
void stream(const Streams<float, float>& streams) {
  active().stream.of_float32(streams);
}

template <>
void stream(const Streams<double, double>& streams) {
  active().stream.of_float64(streams);
}

template <>
void stream(const Streams<Float16, float>& streams) {
  active().stream.of_float16(streams);
}

template <>
void stream(const Streams<Bfloat16, float>& streams) {
  active().stream.of_bfloat16(streams);
}

template <>
void stream(const Streams<Float16, Float16>& streams) {
  active().stream.to_float16(streams);
}

template <>
void stream(const Streams<Bfloat16, Bfloat16>& streams) {
  active().stream.to_bfloat16(streams);
}

}  // namespace ksdiff_ops::cpu

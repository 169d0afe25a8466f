// How the libraries were built, for `ksdiff_ops.build_info()`. A C function that returns JSON, so that
// the library refers to no Python and one build serves every Python.
#include <string>

#include "cpu/rows.h"

#if defined(__clang__)
#define KSDIFF_COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define KSDIFF_COMPILER "gcc " __VERSION__
#else
#define KSDIFF_COMPILER "unknown"
#endif

extern "C" __attribute__((visibility("default"))) const char* ksdiff_ops_build_info() {
  static const std::string text =
      std::string("{\"version\": \"" KSDIFF_VERSION "\", \"compiler\": \"" KSDIFF_COMPILER
                  "\", \"torch_built_with\": \"" KSDIFF_TORCH_BUILT_WITH
                  "\", \"cuda_built\": " KSDIFF_CUDA_BUILT
                  ", \"cuda_built_with\": \"" KSDIFF_CUDA_BUILT_WITH
                  "\", \"cuda_architectures\": \"" KSDIFF_CUDA_ARCHITECTURES
                  "\", \"cpu_instruction_set\": \"") +
      ksdiff_ops::cpu::active().name + "\", \"cpu_bfloat16\": " +
      (ksdiff_ops::cpu::multiplies_bfloat16() ? "true}" : "false}");
  return text.c_str();
}

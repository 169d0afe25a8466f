// The Python module `ksdiff_ops._C`: importing it registers the operators; it tells how it was built.
#include <pybind11/pybind11.h>

#include "cpu/rows.h"

namespace py = pybind11;

#if defined(__clang__)
#define KSDIFF_COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define KSDIFF_COMPILER "gcc " __VERSION__
#else
#define KSDIFF_COMPILER "unknown"
#endif

PYBIND11_MODULE(_C, m) {
  m.doc() = "Compiled operators of ksdiff_ops.";
  m.def("build_info", [] {
    py::dict info;
    info["version"] = KSDIFF_VERSION;
    info["compiler"] = KSDIFF_COMPILER;
    info["torch_built_with"] = KSDIFF_TORCH_BUILT_WITH;
    info["cuda_built"] = bool(KSDIFF_CUDA_BUILT);
    info["cuda_architectures"] = KSDIFF_CUDA_ARCHITECTURES;
    info["cpu_instruction_set"] = ksdiff_ops::cpu::active().name;
    return info;
  });
}

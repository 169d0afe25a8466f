"""Loads the compiled libraries and tells what is in them."""

import ctypes
import functools
import json
from pathlib import Path
from typing import Any

import torch

_HERE = Path(__file__).parent
_HOW_TO_BUILD = (
    "build it with `pip install ./ops` in the source tree, or, to use the tree itself, with "
    "`python setup.py build_ext --inplace`"
)

module: ctypes.CDLL | None = None  # the library of the CPU kernels
problem: str | None = None  # why the CPU kernels are missing
cuda_loaded = False
cuda_problem: str | None = None  # why the CUDA kernels are missing


def _load() -> None:
    global module, problem, cuda_loaded, cuda_problem
    library = _HERE / "_C.so"
    try:
        module = _load_library(library)
    except OSError as error:
        state = f"does not load: {error}" if library.exists() else "is not built"
        problem = cuda_problem = f"the library {library} {state}; {_HOW_TO_BUILD}"
        return
    library = _HERE / "_C_cuda.so"
    if torch.version.cuda is None:
        cuda_problem = f"PyTorch {torch.__version__} is built without CUDA"
    elif not library.exists():
        cuda_problem = "ksdiff_ops was built without CUDA kernels"
    else:
        cuda_problem = _driver_problem(_built().get("cuda_built_with", ""), _driver_version())
        if cuda_problem is None:
            try:
                _load_library(library)
                cuda_loaded = True
            except OSError as error:
                cuda_problem = str(error)


def _load_library(path: Path) -> ctypes.CDLL:
    torch.ops.load_library(str(path))
    return ctypes.CDLL(str(path))


def _built() -> dict[str, str]:
    if module is None or not hasattr(module, "ksdiff_ops_build_info"):
        return {}
    tell = module.ksdiff_ops_build_info
    tell.restype = ctypes.c_char_p
    return json.loads(tell())


def multiplies_bfloat16() -> bool:
    """Whether the CPU has instructions that sum products of bfloat16 in float32, and PyTorch uses
    them, which it does through oneDNN.
    """
    return _has_bfloat16_units() and bool(torch.backends.mkldnn.enabled)


@functools.cache
def _has_bfloat16_units() -> bool:
    return bool(_built().get("cpu_bfloat16"))


def _driver_version() -> int | None:
    """The newest CUDA that the NVIDIA driver supports, 12040 for 12.4; None without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int()
    return version.value if driver.cuDriverGetVersion(ctypes.byref(version)) == 0 else None


def _driver_problem(runtime: str, driver: int | None) -> str | None:
    """Why kernels with this CUDA runtime linked in cannot run, if the driver is too old for them.

    A driver runs every runtime of its own major version and of older ones.
    """
    if driver is None or not runtime or driver // 1000 >= int(runtime.partition(".")[0]):
        return None
    supported = f"{driver // 1000}.{driver % 1000 // 10}"
    return (
        f"the NVIDIA driver supports CUDA {supported} and the kernels were built with CUDA "
        f"{runtime}; update the driver, or build with the nvcc of CUDA {driver // 1000}"
    )


def build_info() -> dict[str, Any]:
    """What was built, with what, and what of it is loaded; `problem` entries say what is not."""
    return {
        **_built(),
        "torch_running": torch.__version__,
        "cpu_kernels": module is not None,
        "cpu_problem": problem,
        "cuda_kernels": cuda_loaded,
        "cuda_problem": cuda_problem,
    }


_load()

"""Loads the compiled libraries and tells what is in them."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

_HERE = Path(__file__).parent
_HOW_TO_BUILD = (
    "build it with `pip install .` in the source tree, or, to use the tree itself, with "
    "`python setup.py build_ext --inplace`"
)

module: ModuleType | None = None
problem: str | None = None  # why the CPU kernels are missing
cuda_loaded = False
cuda_problem: str | None = None  # why the CUDA kernels are missing


def _load() -> None:
    global module, problem, cuda_loaded, cuda_problem
    if importlib.util.find_spec("ksdiff_ops._C") is None:
        problem = f"the extension ksdiff_ops._C is not built for this Python; {_HOW_TO_BUILD}"
        cuda_problem = problem
        return
    try:
        from ksdiff_ops import _C
    except ImportError as error:
        problem = f"the extension ksdiff_ops._C does not load: {error}; {_HOW_TO_BUILD}"
        cuda_problem = problem
        return
    module = _C
    library = _HERE / "_C_cuda.so"
    if torch.version.cuda is None:
        cuda_problem = f"PyTorch {torch.__version__} is built without CUDA"
    elif not library.exists():
        cuda_problem = "ksdiff_ops was built without CUDA kernels"
    else:
        try:
            torch.ops.load_library(str(library))
            cuda_loaded = True
        except OSError as error:
            cuda_problem = str(error)


def build_info() -> dict[str, Any]:
    """What was built, with what, and what of it is loaded; `problem` entries say what is not."""
    built = dict(module.build_info()) if module is not None else {}
    return {
        **built,
        "torch_running": torch.__version__,
        "cpu_kernels": module is not None,
        "cpu_problem": problem,
        "cuda_kernels": cuda_loaded,
        "cuda_problem": cuda_problem,
    }


_load()

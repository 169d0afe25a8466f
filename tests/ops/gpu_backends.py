"""What the GPU tests run on: a GPU, or where there is none, the host that executes its kernels.

On the host the backend "cuda" is csrc/cuda compiled for it (tests/cuda_host), and "triton" is
Triton's interpreter, which has to be chosen before Triton is imported: TRITON_INTERPRET=1.
"""

import os
import sys
from pathlib import Path

import pytest
import torch

from ksdiff_ops import backends, calls

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
NAMESPACES = {"cuda": "ksdiff_ops", "triton": "ksdiff_ops_triton"}
# Without a GPU, Triton's kernels run in a process of their own.
if ON_GPU:
    BACKENDS = ("cuda", "triton")
else:
    BACKENDS = ("triton",) if os.environ.get("TRITON_INTERPRET") == "1" else ("cuda",)


def prepare(backend: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes `backend=` run on DEVICE, or skips the test; returns the operators' namespace."""
    if ON_GPU:
        problem = backends.available()[backend]
        if problem is not None:
            # The CUDA kernels are what a GPU machine is built for: their absence is no skip.
            assert backend != "cuda", problem
            pytest.skip(problem)
    elif backend == "cuda":
        return _run_on_host(monkeypatch)
    if backend == "triton":
        import ksdiff_ops.triton  # noqa: F401  (defines the library)
    return NAMESPACES[backend]


def _run_on_host(monkeypatch: pytest.MonkeyPatch) -> str:
    sys.path.append(str(Path(__file__).resolve().parents[1] / "cuda_host"))
    import host_build

    if host_build.compiler_missing():
        pytest.skip(f"no C++ compiler {host_build.COMPILER!r}")
    operators = host_build.load()
    choose = backends.operator

    def operator(name: str, device: str, asked: str | None = None, form: str | None = None):
        if asked == "cuda":
            return getattr(operators, form or name).default
        return choose(name, device, asked, form)

    monkeypatch.setattr(backends, "operator", operator)
    monkeypatch.setattr(calls, "is_observed", lambda: True)  # such calls are not remembered
    return host_build.LIBRARY

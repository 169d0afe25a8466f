"""The backends that there are: where each runs, what it needs, and how to reach its operators."""

import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import torch

from ksdiff_ops import backends, native, reference
from ksdiff_ops.backends import Backend


def _native_operator(name: str) -> Callable[..., Any]:
    return getattr(torch.ops.ksdiff_ops, name).default


def _triton_operator(name: str) -> Callable[..., Any]:
    # Imported when first used: Triton may be missing, and takes a second.
    importlib.import_module("ksdiff_ops.triton")
    return getattr(torch.ops.ksdiff_ops_triton, name).default


def _cuda_problem() -> str | None:
    if native.cuda_loaded:
        return None
    return (
        f"{native.cuda_problem}; install a CUDA build of PyTorch, then build with nvcc on "
        "PATH: `KSDIFF_OPS_CUDA=1 pip install --no-build-isolation .`"
    )


def _triton_problem() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "the package triton is missing; `pip install triton`"
    return None


def _triton_runs_on(device: str) -> bool:
    interprets = os.environ.get("TRITON_INTERPRET") == "1"
    return device == "cuda" or (device == "cpu" and interprets)


def register() -> None:
    """Makes the backends known to `ksdiff_ops.backends`."""
    for backend in (
        Backend(
            "reference",
            runs_on=lambda device: True,
            problem=lambda: None,
            operator=lambda name: getattr(reference, name),
        ),
        Backend(
            "cpu",
            runs_on=lambda device: device == "cpu",
            problem=lambda: native.problem if native.module is None else None,
            operator=_native_operator,
        ),
        Backend(
            "cuda",
            runs_on=lambda device: device == "cuda",
            problem=_cuda_problem,
            operator=_native_operator,
            lacks=("batched_conv2d", "adaptive_conv2d"),
        ),
        Backend(
            "triton",
            runs_on=_triton_runs_on,
            problem=_triton_problem,
            operator=_triton_operator,
        ),
    ):
        backends.register(backend)

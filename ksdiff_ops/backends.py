"""Which implementation runs an operator: chosen by device, forced by argument or environment."""

import importlib.util
import os
from collections.abc import Callable

import torch

from ksdiff_ops import native, reference

BACKENDS = ("reference", "cpu", "cuda", "triton")
VARIABLE = "KSDIFF_OPS_BACKEND"


def available() -> dict[str, str | None]:
    """For every backend, None where it can be used, else why not and how to get it."""
    return {name: _problem(name) for name in BACKENDS}


def choose(device: str, asked: str | None = None) -> str:
    """The backend that runs a tensor on a `device` type.

    The argument `asked` is obeyed first, then the environment variable KSDIFF_OPS_BACKEND, then
    the device decides: "cpu" on the CPU, "cuda" on a GPU, or "triton" where that is missing.

    Raises:
        ValueError: no such backend, or one that cannot run on that device.
        RuntimeError: the backend is not there; the message says how to get it.
    """
    source = "backend"
    if asked is None:
        asked = os.environ.get(VARIABLE) or None
        source = VARIABLE
    if asked is None:
        return _automatic(device)
    if asked not in BACKENDS:
        raise ValueError(f"{source}: expected one of {', '.join(BACKENDS)}, got {asked!r}")
    if not _runs_on(asked, device):
        raise ValueError(f"{source}: {asked!r} cannot run on tensors on {device!r}")
    problem = _problem(asked)
    if problem is not None:
        raise RuntimeError(f"{source}: {asked!r} is not available: {problem}")
    return asked


def operator(name: str, device: str, asked: str | None = None) -> Callable[..., torch.Tensor]:
    """The function that runs the operator `name`, in the backend that `choose` gives."""
    backend = choose(device, asked)
    if backend == "reference":
        return getattr(reference, name)
    if backend == "triton":
        import ksdiff_ops.triton  # noqa: F401  (defines the library)

        return getattr(torch.ops.ksdiff_ops_triton, name).default
    return getattr(torch.ops.ksdiff_ops, name).default


def _automatic(device: str) -> str:
    if device == "cuda":
        candidates = ("cuda", "triton")
    elif device in ("cpu", "meta"):
        candidates = ("cpu",)
    else:
        raise ValueError(
            f"backend: no kernels for device {device!r}; backend='reference' runs anywhere"
        )
    problems = []
    for candidate in candidates:
        problem = _problem(candidate)
        if problem is None:
            return candidate
        problems.append(f"{candidate}: {problem}")
    raise RuntimeError(
        f"no backend for tensors on {device!r} ({'; '.join(problems)}); "
        "backend='reference' runs anywhere, slowly"
    )


def _runs_on(backend: str, device: str) -> bool:
    if backend == "reference" or device == "meta":
        return True
    if backend == "triton":
        return device == "cuda" or (device == "cpu" and triton_interprets())
    return backend == device


def triton_interprets() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _problem(backend: str) -> str | None:
    if backend == "cpu" and native.module is None:
        return f"{native.problem}; build it with `pip install .` in the source tree"
    if backend == "cuda" and not native.cuda_loaded:
        return (
            f"{native.cuda_problem}; install a CUDA build of PyTorch, then build with nvcc on "
            "PATH: `KSDIFF_OPS_CUDA=1 pip install --no-build-isolation .`"
        )
    if backend == "triton" and importlib.util.find_spec("triton") is None:
        return "the package triton is missing; `pip install triton`"
    return None

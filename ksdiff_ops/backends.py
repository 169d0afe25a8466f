"""Which implementation runs an operator: chosen by device, forced by argument or environment."""

import importlib.util
import os
from collections.abc import Callable
from typing import NamedTuple

import torch

from ksdiff_ops import native, reference

BACKENDS = ("reference", "cpu", "cuda", "triton")
VARIABLE = "KSDIFF_OPS_BACKEND"


class Choice(NamedTuple):
    """What runs an operator on one type of device."""

    backends: tuple[str, ...]  # the first of these that is there
    reason: str


# What is chosen where nobody asks for a backend: operator -> device type -> choice.
AUTOMATIC: dict[str, dict[str, Choice]] = {
    "dynamic_conv": {
        "cpu": Choice(
            ("cpu",), "docs/benchmarks.md has its times beside the compiled shift form's"
        ),
        "cuda": Choice(("cuda", "triton"), "the most specialised; not timed on a GPU yet"),
    },
    "lowrank_dynamic_conv": {
        "cpu": Choice(
            ("cpu",), "docs/benchmarks.md has its times beside the compiled shift form's"
        ),
        "cuda": Choice(("cuda", "triton"), "the most specialised; not timed on a GPU yet"),
    },
    "tucker_kernel": {
        "cpu": Choice(("cpu",), "one pass instead of a chain of small products"),
        "cuda": Choice(("cuda", "triton"), "one launch; not timed on a GPU yet"),
    },
    "batched_conv2d": {
        "cpu": Choice(("cpu",), "own depthwise kernels, else PyTorch's fastest form"),
        "cuda": Choice(("triton",), "no CUDA C++; not timed on a GPU yet"),
    },
    "adaptive_conv2d": {
        "cpu": Choice(("cpu",), "twice as fast as PyTorch's best form, in less memory"),
        "cuda": Choice(("triton",), "no CUDA C++; not timed on a GPU yet"),
    },
}

_NOT_WRITTEN = {"cuda": ("batched_conv2d", "adaptive_conv2d")}


def available() -> dict[str, str | None]:
    """For every backend, None where it can be used, else why not and how to get it."""
    return {name: _problem(name) for name in BACKENDS}


def choose(operator: str, device: str, asked: str | None = None) -> str:
    """The backend that runs an operator, such as "dynamic_conv", on tensors of a `device` type.

    The argument `asked` is obeyed first, then the environment variable KSDIFF_OPS_BACKEND, then
    the table AUTOMATIC, which also gives its reasons.

    Raises:
        ValueError: no such operator or backend, or one that cannot run on that device.
        RuntimeError: the backend is not there; the message says how to get it.
    """
    if operator not in AUTOMATIC:
        raise ValueError(f"operator: expected one of {', '.join(AUTOMATIC)}, got {operator!r}")
    source = "backend"
    if asked is None:
        asked = os.environ.get(VARIABLE) or None
        source = VARIABLE
    if asked is None:
        return _automatic(operator, device)
    if asked not in BACKENDS:
        raise ValueError(f"{source}: expected one of {', '.join(BACKENDS)}, got {asked!r}")
    if not _runs_on(asked, device):
        raise ValueError(f"{source}: {asked!r} cannot run on tensors on {device!r}")
    if operator in _NOT_WRITTEN.get(asked, ()):
        raise ValueError(f"{source}: {asked!r} has no kernels for {operator}")
    problem = _problem(asked)
    if problem is not None:
        raise RuntimeError(f"{source}: {asked!r} is not available: {problem}")
    return asked


def operator(name: str, device: str, asked: str | None = None) -> Callable[..., torch.Tensor]:
    """The function that runs the operator `name`, in the backend that `choose` gives."""
    backend = choose(name, device, asked)
    if backend == "reference":
        return getattr(reference, name)
    if backend == "triton":
        import ksdiff_ops.triton  # noqa: F401  (defines the library)

        return getattr(torch.ops.ksdiff_ops_triton, name).default
    return getattr(torch.ops.ksdiff_ops, name).default


def _automatic(operator: str, device: str) -> str:
    choice = AUTOMATIC[operator].get("cpu" if device == "meta" else device)
    if choice is None:
        raise ValueError(
            f"backend: no kernels for device {device!r}; backend='reference' runs anywhere"
        )
    problems = []
    for candidate in choice.backends:
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
        return native.problem
    if backend == "cuda" and not native.cuda_loaded:
        return (
            f"{native.cuda_problem}; install a CUDA build of PyTorch, then build with nvcc on "
            "PATH: `KSDIFF_OPS_CUDA=1 pip install --no-build-isolation .`"
        )
    if backend == "triton" and importlib.util.find_spec("triton") is None:
        return "the package triton is missing; `pip install triton`"
    return None

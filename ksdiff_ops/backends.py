"""Which implementation runs an operator: chosen by device, forced by argument or environment.

Backends register themselves here (`ksdiff_ops.implementations`); this file imports none.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

VARIABLE = "KSDIFF_OPS_BACKEND"


@dataclass(frozen=True)
class Backend:
    """One implementation of the operators."""

    name: str
    runs_on: Callable[[str], bool]  # told the type of a device
    problem: Callable[[], str | None]  # why it cannot be used and how to get it, or None
    operator: Callable[[str], Callable[..., torch.Tensor]]  # the operator of a name
    lacks: tuple[str, ...] = ()  # operators that it does not have


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
        "cpu": Choice(("cpu",), "own kernels at stride 1, else PyTorch's fastest form"),
        "cuda": Choice(("triton",), "no CUDA C++; not timed on a GPU yet"),
    },
    "adaptive_conv2d": {
        "cpu": Choice(("cpu",), "twice as fast as PyTorch's best form, in less memory"),
        "cuda": Choice(("triton",), "no CUDA C++; not timed on a GPU yet"),
    },
}

_BACKENDS: dict[str, Backend] = {}


def register(backend: Backend) -> None:
    """Makes a backend known under its name."""
    _BACKENDS[backend.name] = backend


def available() -> dict[str, str | None]:
    """For every backend, None where it can be used, else why not and how to get it."""
    return {name: backend.problem() for name, backend in _BACKENDS.items()}


def choose(operator: str, device: str, asked: str | None = None) -> str:
    """The backend that runs an operator, such as "dynamic_conv", on tensors of a `device` type.

    The argument `asked` is obeyed first, then the environment variable KSDIFF_OPS_BACKEND; then
    `torch.onnx.export` gets the reference, all else what the table AUTOMATIC says with its reasons.

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
        # What ONNX knows is PyTorch's own operators, which the reference is made of.
        return "reference" if _exports_to_onnx() else _automatic(operator, device)
    if asked not in _BACKENDS:
        raise ValueError(f"{source}: expected one of {', '.join(_BACKENDS)}, got {asked!r}")
    backend = _BACKENDS[asked]
    if not _runs_on(backend, device):
        raise ValueError(f"{source}: {asked!r} cannot run on tensors on {device!r}")
    if operator in backend.lacks:
        raise ValueError(f"{source}: {asked!r} has no kernels for {operator}")
    problem = backend.problem()
    if problem is not None:
        raise RuntimeError(f"{source}: {asked!r} is not available: {problem}")
    return asked


def operator(
    name: str, device: str, asked: str | None = None, form: str | None = None
) -> Callable[..., torch.Tensor]:
    """The function that runs the operator `name`, in the backend that `choose` gives; `form` names
    the one that backend has for a special case of it.
    """
    chosen = choose(name, device, asked)
    if chosen != "reference" and torch.jit.is_tracing():
        raise RuntimeError(
            f"{name}: torch.jit.trace cannot record the operators of the backend {chosen!r}; use "
            "torch.export or torch.compile, or trace with backend='reference'"
        )
    return _BACKENDS[chosen].operator(form or name)


def _automatic(operator: str, device: str) -> str:
    choice = AUTOMATIC[operator].get("cpu" if device == "meta" else device)
    if choice is None:
        raise ValueError(
            f"backend: no kernels for device {device!r}; backend='reference' runs anywhere"
        )
    problems = []
    for candidate in choice.backends:
        problem = _BACKENDS[candidate].problem()
        if problem is None:
            return candidate
        problems.append(f"{candidate}: {problem}")
    raise RuntimeError(
        f"no backend for tensors on {device!r} ({'; '.join(problems)}); "
        "backend='reference' runs anywhere, slowly"
    )


def _exports_to_onnx() -> bool:
    # The cheap question first: the other imports the exporter.
    traced = torch.compiler.is_exporting() or torch.jit.is_tracing()
    return traced and torch.onnx.is_in_onnx_export()


def _runs_on(backend: Backend, device: str) -> bool:
    # Tensors without data run nothing.
    return device == "meta" or backend.runs_on(device)

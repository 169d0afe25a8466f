"""Kernels and their launches."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor


def interprets() -> bool:
    """Whether kernels run in Triton's interpreter, on the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def kernel(function: Callable) -> Any:
    """`triton.jit` for a kernel that is compiled once for all sizes and alignments.

    One value a thread makes nothing depend on alignment, and a kernel specialised for sizes of
    1 or divisible by 16 would be compiled anew for many images.
    """
    annotations = function.__annotations__
    runtime = [
        name
        for name in function.__code__.co_varnames[: function.__code__.co_argcount]
        if "constexpr" not in str(annotations.get(name))
    ]
    return triton.jit(do_not_specialize=runtime)(function)


def sum_dtype(tensor: Tensor) -> torch.dtype:
    """The type of sums: float32, or float64 for float64."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


@dataclass(frozen=True)
class Launch:
    """One kernel launch: `programs` programs of `warps` warps, arguments and constants by name."""

    kernel: Any
    programs: int
    arguments: dict[str, Tensor | int]
    constants: dict[str, Any]
    warps: int = 4
    stages: int = 1  # of a loop's tiles, in flight at once

    def run(self) -> None:
        device = next(a.device for a in self.arguments.values() if isinstance(a, Tensor))
        if self.programs == 0:
            return
        # Triton launches on the current device, which need not be the tensors'.
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            self.kernel[(self.programs,)](
                **self.arguments,
                **self.constants,
                num_warps=self.warps,
                num_stages=self.stages,
            )

"""The process and the machine it runs on: versions, freed memory, CPU threads."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from ksdiff.errors import KSDiffError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT = 512 * 2**20  # bytes: more than the largest tensor of a window of 1024 x 1024 pixels
_LARGE = 12 * 2**20  # bytes; images of the network's first level are larger
_KEPT_OF_SMALL = 64 * 2**20  # bytes

_COPY_BYTES = 2**28  # beyond every cache
_MATRIX = (512, 4096)  # side on a CPU, whose caches hold it, and on a GPU, which it keeps busy
_ROUNDS = 20

# Pixels, or tokens. Measured on two cores with threads that sleep while they wait: up to four
# windows of 256 x 256, one thread computes a prior sooner than it takes to wake the other one some
# two hundred times.
_WORTH_SHARING = 4 * 256**2


def machine_header() -> dict[str, object]:
    """Date, versions and machine, to stand above measured numbers."""
    import torch

    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "ksdiff": _version("ksdiff"),
        "code": code_version(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def code_version() -> str | None:
    """``git describe`` of the checkout that the package runs from; None if it is none."""
    package = Path(__file__).resolve().parent
    git = ("git", "-C", str(package))
    try:
        # An installed package can lie inside a checkout of something else.
        tracked = output(*git, "ls-files", "--error-unmatch", Path(__file__).name)
        return output(*git, "describe", "--always", "--dirty", "--tags") if tracked else None
    except (OSError, subprocess.SubprocessError):
        return None


def output(*command: str) -> str:
    """What a command prints, within ten seconds; raises where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def processor() -> str:
    """The processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "source"


@dataclass(frozen=True)
class Machine:
    """Rates measured here: of one large float32 product, and of a copy (read plus written)."""

    flops_per_second: float
    bytes_per_second: float


def measure_machine(device: torch.device) -> Machine:
    """The best of twenty products and copies; on CUDA without TF32, unless PyTorch is told so."""
    import torch

    size = _MATRIX[device.type == "cuda"]
    a, b = torch.rand(2, size, size, device=device)
    source = torch.zeros(_COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    product = min(times_of(lambda: a @ b, _ROUNDS, device))
    copy = min(times_of(lambda: target.copy_(source), _ROUNDS, device))
    return Machine(2 * size**3 / product, 2 * _COPY_BYTES / copy)


def times_of(call: Callable[[], object], rounds: int, device: torch.device) -> list[float]:
    """Seconds of each of so many calls, the work that they queue on a GPU included."""
    import torch

    wait = torch.cuda.synchronize if device.type == "cuda" else lambda device: None
    times = []
    for _ in range(rounds):
        wait(device)
        start = time.perf_counter()
        call()
        wait(device)
        times.append(time.perf_counter() - start)
    return times


def device_named(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda``.

    Raises:
        KSDiffError: another name, or no CUDA device where ``cuda`` was asked for.
    """
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise KSDiffError(f"device: expected auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise KSDiffError("device: cuda was asked for, but PyTorch finds no CUDA device")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def keep_freed_memory() -> None:
    """Let malloc keep up to half a gibibyte of freed memory, for the rest of the process.

    A network allocates and frees the same tens of mebibytes repeatedly. By default glibc returns
    such blocks to the system, and clearing the new pages takes an eighth of the time of sharpening
    on a CPU. Without glibc nothing happens. Programs that embed KSDiff may call it as well.
    """
    libc = _malloc()
    if libc is not None:
        libc.mallopt(_MMAP_THRESHOLD, _KEPT)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)


def return_large_blocks() -> None:
    """Let malloc return freed blocks of 12 MiB and more at once, for the rest of the process.

    For scenes in windows: the holes that large images of two windows at a time leave in a kept heap
    make a fifth of the peak. PyTorch is told, if it is not imported yet, to ask for huge pages,
    which are cleared in half the time. Without glibc that is all.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    libc = _malloc()
    if libc is not None:
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT_OF_SMALL)
        libc.mallopt(_ARENA_MAX, 1)  # what one thread has freed serves the others


def release_freed_memory() -> None:
    """Give what malloc has kept back to the system, before work of another kind."""
    libc = _malloc()
    if libc is not None:
        libc.malloc_trim(0)


def _malloc() -> ctypes.CDLL | None:
    """glibc; None elsewhere."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


def emulates_bfloat16(device: torch.device) -> bool:
    """Whether it is a CPU without units for bfloat16; False where PyTorch does not tell."""
    import torch

    if device.type != "cpu":
        return False
    told: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    units = [told[name] for name in ("avx512_bf16", "amx_bf16") if name in told]
    return bool(units) and not any(units)


@contextlib.contextmanager
def alone_if_small(work: Tensor) -> Iterator[None]:
    """Run many small operations on ``work`` [B, channels, ...] on one thread if it is small.

    For CPUs and eager execution; the number of threads is the same afterwards.
    """
    import torch

    threads = 1 if torch.compiler.is_compiling() else torch.get_num_threads()
    size = work.shape[0] * work.shape[2:].numel()
    if threads == 1 or work.device.type != "cpu" or size > _WORTH_SHARING:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

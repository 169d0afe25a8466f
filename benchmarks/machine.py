"""What a timing depends on: the machine, its load and the versions of what ran on it."""

import os
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ksdiff.runtime import processor

_ROOT = Path(__file__).resolve().parents[1]
_COPY_BYTES = 2**28  # beyond every cache


def describe(device: str) -> dict[str, object]:
    """The machine in a few words and numbers, without its name or any path."""
    facts: dict[str, object] = {
        "device": device,
        "cpu": processor(),
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": _version("triton"),
        "ksdiff": _version("ksdiff"),
        "commit": _commit(),
        "operators": _last_change("csrc", "ksdiff_ops"),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "load_before": round(os.getloadavg()[0], 2),
    }
    if device == "cuda":
        facts |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    return facts | limits(device)


def limits(device: str) -> dict[str, float]:
    """What the machine can do at best: a plain copy, and multiply-adds in float32.

    The latter is the better of a matrix product and a pointwise convolution that stay in the
    caches; on CUDA without TF32, so that it is the limit of kernels that use no tensor cores.
    """
    return {
        "copy_gb_per_s": round(_copy_bandwidth(device), 1),
        "fma_gflop_per_s": round(_multiply_add_rate(device), 1),
    }


def _copy_bandwidth(device: str) -> float:
    """Bytes read plus bytes written per second of a plain copy, in GB/s; best of ten."""
    source = torch.zeros(_COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    return 2 * _COPY_BYTES / _least_seconds(lambda: target.copy_(source), 10) / 1e9


def _multiply_add_rate(device: str) -> float:
    """Floating-point operations per second, two for a multiply-add, in GFLOP/s."""
    size = 4096 if device == "cuda" else 512
    left, right = (torch.randn(size, size, device=device) for _ in range(2))
    product = torch.empty_like(left)
    image, kernels = right.view(1, size, 32, -1), left.view(size, size, 1, 1)
    precise = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    seconds = min(
        _least_seconds(lambda: torch.mm(left, right, out=product), 40),
        _least_seconds(lambda: torch.conv2d(image, kernels), 40),
    )
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = precise
    return 2 * size**3 / seconds / 1e9


def _least_seconds(call: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = synchronised_time()
        call()
        times.append(synchronised_time() - start)
    return min(times)


def synchronised_time() -> float:
    """Seconds, read once everything that was started on the GPU, if one is in use, is done."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def _cores() -> int | None:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    return _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")


def _last_change(*folders: str) -> str:
    """The last commit that touched the folders, "-dirty" if their files were changed since."""
    commit = _git("log", "-1", "--format=%h", "--abbrev=12", "--", *folders)
    changed = commit != "unknown" and _git(
        "--no-optional-locks", "status", "--porcelain", "-uno", "--", *folders
    )
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()

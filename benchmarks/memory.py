"""The most memory that a call takes beyond what was there before it."""

import ctypes
import gc
import threading
from collections.abc import Callable
from pathlib import Path

import torch

_M_MMAP_THRESHOLD = -3  # mallopt's name for it
_TINY, _USUAL = 2**16, 2**25  # bytes; glibc's threshold moves up to the latter by itself
_LONG = 0.2  # seconds; what a new thread's start takes of memory does not count beside such calls
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes(call: Callable[[], object], device: str, seconds: float = 0.0) -> int | None:
    """Bytes at the peak of a call, its result and the kernels' own scratch included.

    On CUDA what PyTorch's allocator held. On the CPU the growth of the process's resident memory,
    to about 0.1 MB: the call runs in a new thread, whose heap starts empty, while every larger
    block is mapped anew, so that no memory that was freed earlier is taken again unnoticed. None
    where the system is not Linux with glibc. A call of many `seconds` runs once, not twice.
    """
    if device == "cuda":
        return _peak_on_cuda(call)
    found: list[int | None] = []
    threads = torch.get_num_threads()

    def run() -> None:
        torch.set_num_threads(threads)  # each thread has its own
        found.append(_resident_growth(call, warm_up=seconds < _LONG))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0] if found else None


def _peak_on_cuda(call: Callable[[], object]) -> int:
    call()
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _resident_growth(call: Callable[[], object], warm_up: bool) -> int | None:
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") and _RESET.exists()):
        return None
    libc.mallopt(_M_MMAP_THRESHOLD, _TINY)
    try:
        if warm_up:
            call()
        gc.collect()
        libc.malloc_trim(0)
        _RESET.write_text("5")  # the peak is forgotten
        before = resident_bytes("VmRSS")
        result = call()
        peak = resident_bytes("VmHWM") - before
        del result
    except OSError:
        return None
    finally:
        libc.mallopt(_M_MMAP_THRESHOLD, _USUAL)
    return max(peak, 0)


def resident_bytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {field}")


def available_bytes(device: str) -> int | None:
    """Memory that can still be had, None where the system does not tell."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next(
        (int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None
    )

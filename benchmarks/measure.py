"""One timer and one memory meter for all benchmarks: of calls, and of commands."""

import ctypes
import gc
import math
import os
import random
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from ksdiff.errors import KSDiffError

Name = TypeVar("Name", bound=Hashable)
Call = Callable[[], object]
Sampler = Callable[[], float]  # seconds of one call

_SAMPLE = 2e-3  # seconds that a sample lasts at least; shorter calls are repeated
_WARMED = 0.5  # seconds; longer calls need no untimed call before each sample
_LONG = 0.2  # seconds; longer calls need no warm-up for a memory measurement
_FEW = 3  # samples of a call that exceeds its budget
_WARM_UP = 3
_MOST_SETS = 200
_CALLS = 20  # in a graph at least, so that its launch does not count
_PERIOD = 0.02  # seconds between two looks at a command's memory
_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
_TINY, _USUAL = 2**16, 2**25  # bytes; glibc moves its threshold up to the latter by itself
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def synchronised_time() -> float:
    """Seconds, read when all work that was queued on the GPU, if one is in use, is done."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds_of(call: Call, clock: Sampler | None = None) -> float:
    clock = clock or synchronised_time
    start = clock()
    call()
    return clock() - start


def sampler(call: Call, clock: Sampler | None = None) -> Sampler:
    """Times one call per sample. The first sample also warms up and sets the repetitions."""
    estimate: list[float] = []

    def sample() -> float:
        if not estimate:
            first = seconds_of(call, clock)
            estimate.append(first if first > _WARMED else seconds_of(call, clock))
            if first > _WARMED:
                return first
        repeats = max(1, round(_SAMPLE / estimate[0]))
        if estimate[0] < _WARMED:
            call()  # other calls have evicted its tensors from the caches
        return seconds_of(lambda: [call() for _ in range(repeats)], clock) / repeats

    return sample


def race(
    samplers: Mapping[Name, Sampler],
    budget: float = 0.4,
    rounds: tuple[int, int] = (5, 200),
    over: Name | None = None,
) -> dict[Name, dict[str, float]]:
    """Time calls in turn, in an order that changes every round; any disturbance hits all of them.

    Args:
        samplers: what draws one sample of each call, in seconds.
        budget: seconds for each call, about. A call that takes longer has one to three samples;
            calls with few samples take part in every second round, every fourth, and so on.
        rounds: fewest and most samples.
        over: the call that the others are compared with.

    Returns:
        Of each call the percentiles of `summary`, and, with ``over``, ``ratio``: the median, over
        the rounds of both, of its time over that of ``over``.
    """
    samples: dict[Name, dict[int, float]] = {name: {} for name in samplers}
    shares = {}
    for name, sample in samplers.items():
        start = synchronised_time()
        first = sample()
        cost = max(synchronised_time() - start, 1e-9)
        if cost >= budget:
            samples[name][-1] = first
        fewest = rounds[0] if cost < budget else min(_FEW, rounds[0])
        shares[name] = min(max(round(budget / cost), fewest), rounds[1]) - len(samples[name])
    total, order = max(shares.values()), random.Random(0)
    every = {name: 2 ** int(math.log2(total / share)) for name, share in shares.items() if share}
    for number in range(total):
        for name in order.sample(list(every), len(every)):
            if number % every[name] == 0:
                samples[name][number] = samplers[name]()
    found = {name: summary(list(own.values())) for name, own in samples.items()}
    if over is not None:
        base = samples[over]
        for name, own in samples.items():
            both = own.keys() & base.keys()
            found[name]["ratio"] = statistics.median(own[key] / base[key] for key in both)
    return found


def timed(calls: Mapping[Name, Call], seconds: float) -> dict[Name, dict[str, float]]:
    """`race` of plain calls with ``seconds`` for all of them together, at least one sample each."""
    samplers = {name: sampler(call) for name, call in calls.items()}
    return race(samplers, seconds / len(calls), (1, 25))


def summary(samples: list[float]) -> dict[str, float]:
    """Median, 20th and 80th percentile in seconds, and the number of samples."""
    low, median, high = np.percentile(samples, (20, 50, 80)).tolist()
    return {"p20": low, "p50": median, "p80": high, "rounds": len(samples)}


def peak_bytes(call: Call, device: str, seconds: float = 0.0) -> int | None:
    """Peak memory of a call beyond what was there before, its result and scratch included.

    On CUDA: what PyTorch's allocator held. On the CPU: growth of the resident memory, to about
    0.1 MB. The call runs in a new thread, whose heap starts empty, and larger blocks are mapped
    anew, so that reused memory is counted. None where the system is not Linux with glibc. A call
    of more than 0.2 ``seconds`` runs once, a shorter one twice.
    """
    if device == "cuda":
        call()
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    threads, gradients = torch.get_num_threads(), torch.is_grad_enabled()

    def run() -> int | None:
        torch.set_num_threads(threads)  # these settings are per thread
        torch.set_grad_enabled(gradients)
        return _resident_growth(call, warm_up=seconds < _LONG)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


def _resident_growth(call: Call, warm_up: bool) -> int | None:
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") and _RESET.exists()):
        return None
    libc.mallopt(_M_MMAP_THRESHOLD, _TINY)
    try:
        if warm_up:
            call()
        gc.collect()
        libc.malloc_trim(0)
        _RESET.write_text("5")  # resets the peak
        before = kilobytes(_STATUS, "VmRSS")
        result = call()
        peak = kilobytes(_STATUS, "VmHWM") - before
        del result
    except OSError:
        return None
    finally:
        libc.mallopt(_M_MMAP_THRESHOLD, _USUAL)
    return max(peak, 0) * 1024


def cores() -> int:
    """Those that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def available_bytes(device: str) -> int | None:
    """Free memory; None where the system does not tell."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    try:
        return kilobytes(Path("/proc/meminfo"), "MemAvailable") * 1024
    except OSError:
        return None


def kilobytes(file: Path, field: str) -> int:
    """Of a file like /proc/PID/status.

    Raises:
        OSError: no such file, or no such field.
    """
    for line in file.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise OSError(f"{file} has no {field}")


def rotations(bytes_per_call: int, device: str) -> int:
    """How many sets of inputs it takes until a set has left the L2 cache when it comes again."""
    if device != "cuda":
        return 1
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    return min(1 + 2 * cache // max(bytes_per_call, 1), _MOST_SETS)


def graph_sampler(calls: Sequence[Callable[[], object]]) -> tuple[Callable[[], float], str]:
    """Seconds of one of `calls` on average, and how that is timed: "graph" or "events".

    What cannot be captured (it synchronises, or allocates outside of PyTorch) is launched as it
    is: then the launch counts where it takes longer than the kernels.
    """
    calls = list(calls) * -(-_CALLS // len(calls))

    def all_of_them() -> None:
        for call in calls:
            call()

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            all_of_them()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            all_of_them()
    except RuntimeError:
        torch.cuda.synchronize()
        return _between_events(all_of_them, len(calls)), "events"
    return _between_events(graph.replay, len(calls)), "graph"


def _between_events(work: Callable[[], None], calls: int) -> Callable[[], float]:
    def sample() -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e-3 / calls

    return sample


class Run(NamedTuple):
    seconds: float
    cpu_seconds: float
    peak_bytes: int  # resident, of the process and its children together
    status: int


def run_command(
    command: Sequence[str | Path],
    log: Path | None = None,
    enough: Callable[[int], bool] = lambda process: False,
    ending: int = signal.SIGTERM,
    **environment: str,
) -> Run:
    """Run a command to its end, or until it is ``enough``, when it gets the signal ``ending``.

    Args:
        log: what it prints goes there, else nowhere.
        enough: told the process id, again and again.
        environment: variables beside those of this process.

    Raises:
        KSDiffError: it fails by itself.
    """
    with open(log or os.devnull, "ab") as file:
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=os.environ | environment,
        )
        peak, ended = 0, False
        while True:
            done, status, usage = os.wait4(process.pid, os.WNOHANG)
            if done:
                break
            peak = max(peak, _resident(process.pid))
            if not ended and enough(process.pid):
                process.send_signal(ending)
                ended = True
            time.sleep(_PERIOD)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and not ended:
        raise KSDiffError(f"{' '.join(map(str, command))}: exit status {process.returncode}")
    seconds = time.perf_counter() - began
    return Run(seconds, usage.ru_utime + usage.ru_stime, peak, process.returncode)


def _resident(process: int, field: str = "VmHWM") -> int:
    """Bytes: the most that a process had itself, and what its children have; 0 if it has ended."""
    try:
        own = kilobytes(Path(f"/proc/{process}/status"), field) * 1024
        threads = Path(f"/proc/{process}/task").glob("*/children")
        children = [int(word) for path in threads for word in path.read_text().split()]
    except OSError:
        return 0
    return own + sum(_resident(child, "VmRSS") for child in children)

"""Measures contenders in turn, so that whatever disturbs the machine disturbs all of them."""

import statistics
import subprocess
import sys
from collections.abc import Callable, Hashable, Mapping

from benchmarks.machine import synchronised_time
from ksdiff.errors import KSDiffError

_MOST_ROUNDS = 25
# Seconds: a longer first call tells what the call lasts; a still longer one is not repeated.
_SHORT, _LONG = 1.0, 10.0


def round_robin(
    calls: Mapping[Hashable, Callable[[], object]], budget: float
) -> dict[Hashable, dict[str, float]]:
    """Seconds of each call: median, quartiles and number of rounds.

    Every call runs first unmeasured, to allocate and to fill caches; one so long that this
    makes no difference counts as measured. One round measures each call once; calls that are too
    long for their share of ``budget`` seconds sit out the later rounds, but not the first.
    """
    share = budget / len(calls)
    rounds: dict[Hashable, int] = {}
    times: dict[Hashable, list[float]] = {name: [] for name in calls}
    for name, call in calls.items():
        estimate = seconds_of(call)
        if estimate > _LONG:
            rounds[name] = 0
            times[name].append(estimate)
            continue
        if estimate < _SHORT:
            estimate = seconds_of(call)
        rounds[name] = min(max(round(share / max(estimate, 1e-6)), 1), _MOST_ROUNDS)
    for number in range(max(rounds.values())):
        for name, call in calls.items():
            if number < rounds[name]:
                times[name].append(seconds_of(call))
    return {name: summary(values) for name, values in times.items()}


def summary(seconds: list[float]) -> dict[str, float]:
    low, middle, high = (
        statistics.quantiles(seconds, n=4, method="inclusive")
        if len(seconds) > 1
        else [seconds[0]] * 3
    )
    return {"median": middle, "q1": low, "q3": high, "rounds": len(seconds)}


def peak_memory(prepare: str, measured: str, device: str) -> int:
    """Bytes by which the program ``measured`` raises the peak memory after ``prepare`` has run.

    In a process of its own: resident memory (Linux), or on a GPU what PyTorch allocates.
    """
    # Not getrusage's maximum: a process inherits that from the one that started it.
    read = "torch.cuda.max_memory_allocated()" if device == "cuda" else "resident_bytes('VmHWM')"
    load = "from benchmarks.memory import resident_bytes"
    program = f"{load}\n{prepare}\nstart = {read}\n{measured}\nprint({read} - start)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if done.returncode < 0:
        raise KSDiffError(
            f"a run to measure memory was killed by signal {-done.returncode}; there may be too "
            "little memory"
        )
    if done.returncode:
        raise RuntimeError(f"a run to measure memory failed:\n{done.stderr}")
    return int(done.stdout.split()[-1])


def seconds_of(call: Callable[[], object]) -> float:
    start = synchronised_time()
    call()
    return synchronised_time() - start

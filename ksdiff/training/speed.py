"""Throughput of the data loader and of training steps, measured separately."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

_MOST_SECONDS = 10.0
_ENOUGH = 1.2  # times as many samples as steps take: then the loader never limits

Batch = TypeVar("Batch")


def loader_speed(batches: Iterable, size: int, workers: int) -> float:
    """Samples per second of a loader running alone.

    The first batch, which includes the start of the workers, does not count; then as many are drawn
    as the workers make ahead, and twice that, or what fits into ten seconds.
    """
    stream = iter(batches)
    next(stream, None)
    began, count = time.perf_counter(), 0
    for _ in stream:
        count += size
        spent = time.perf_counter() - began
        if count >= size * (6 * workers + 3) or spent > _MOST_SECONDS:
            break
    return count / (time.perf_counter() - began) if count else 0.0


class StepClock:
    """Samples per second of training, and of its steps alone without waiting for samples."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._began, self._waited, self._away, self._samples = time.perf_counter(), 0.0, 0.0, 0

    def waiting(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Pass batches through and add up the time spent waiting for them."""
        stream = iter(batches)
        while True:
            asked = time.perf_counter()
            try:
                batch = next(stream)
            except StopIteration:
                return
            self._waited += time.perf_counter() - asked
            yield batch

    def count(self, samples: int) -> None:
        self._samples += samples

    def leave_out(self, seconds: float) -> None:
        """Exclude time spent on validation and checkpoints."""
        self._away += seconds

    def speeds(self) -> dict[str, float]:
        """``trained``, ``step`` (samples/s) and ``waiting`` (share of the time) since the start."""
        elapsed = max(time.perf_counter() - self._began - self._away, 1e-9)
        stepping = max(elapsed - self._waited, 1e-9)
        return {
            "samples_per_s/trained": self._samples / elapsed,
            "samples_per_s/step": self._samples / stepping,
            "waiting_share": self._waited / elapsed,
        }


def verdict(loader: float, step: float, workers: int) -> str:
    """What the two speeds mean, in one line."""
    line = f"loader {loader:.0f} samples/s with {workers} workers, steps {step:.0f} samples/s"
    if loader >= _ENOUGH * step:
        return f"{line}: the loader keeps up"
    return f"{line}: the loader may limit training; raise training.workers"

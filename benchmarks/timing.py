"""How all benchmarks time: calls in turn, and the samples handed to pytest-benchmark."""

import random
from collections.abc import Callable, Mapping

from benchmarks.machine import synchronised_time

_BUDGET = 0.4  # seconds for each of the calls, after the warm-up
_ROUNDS = (5, 60)  # the fewest and the most samples
_FEW = 3  # samples of what takes longer than its budget
_SAMPLE = 2e-3  # seconds that a sample lasts at least, by repeating short calls
_LONG = 0.5  # seconds; longer calls need no untimed one before them


def race(
    samplers: Mapping[str, Callable[[], float]],
    budget: float = _BUDGET,
    rounds: tuple[int, int] = _ROUNDS,
) -> dict[str, list[float]]:
    """Samples of every sampler, drawn in turn, so that what disturbs the machine disturbs all.

    A sampler gives the seconds of one call. Each has as many samples as its `budget` allows; the
    long ones sit out rounds, evenly spread over the whole time. The order changes every round.
    """
    wanted = {}
    samples: dict[str, list[float]] = {name: [] for name in samplers}
    for name, sampler in samplers.items():
        start = synchronised_time()
        first = sampler()
        cost = synchronised_time() - start
        if cost >= budget:
            samples[name].append(first)
        fewest = rounds[0] if cost < budget else min(_FEW, rounds[0])
        wanted[name] = min(max(round(budget / cost), fewest), rounds[1]) - len(samples[name])
    total = max(wanted.values())
    order = random.Random(0)
    for number in range(total):
        for name in order.sample(list(samplers), len(samplers)):
            share = wanted[name]
            if (number + 1) * share // total > number * share // total:
                samples[name].append(samplers[name]())
    return samples


def sampler(call: Callable[[], object], seconds: float | None = None) -> Callable[[], float]:
    """Seconds of a call by the clock; the call has run before, so that it is compiled and warm.

    ``seconds``: about what it takes, where that is known.
    """
    if seconds is None:
        start = synchronised_time()
        call()
        seconds = synchronised_time() - start
    repeats = max(1, round(_SAMPLE / seconds))

    def sample() -> float:
        if seconds < _LONG:
            # While the others ran its tensors left the caches, its memory went to the system.
            call()
        start = synchronised_time()
        for _ in range(repeats):
            call()
        return (synchronised_time() - start) / repeats

    return sample


class Playback:
    """A timer whose time passes only when `play` says so: hands measured times to pytest-benchmark.

    Whoever uses it marks the test with `pytest.mark.benchmark(timer=playback)`.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def play(self, benchmark, samples: list[float]) -> None:
        remaining = iter(samples)

        def pass_time() -> None:
            self.now += next(remaining)

        benchmark.pedantic(pass_time, rounds=len(samples))


playback = Playback()


class Stopwatch:
    """Times one call by itself with pytest-benchmark.

    Whoever uses it marks the test with `pytest.mark.benchmark(timer=synchronised_time)`.
    """

    def __init__(self, benchmark, device: str) -> None:
        self.benchmark, self.device = benchmark, device

    def time(self, call: Callable[[], object], **facts: object) -> None:
        """Measure `call`; `facts` go beside the result for the report to sort by."""
        self.benchmark.extra_info.update(facts, device=self.device)
        call()  # compiles, allocates, fills caches
        start = synchronised_time()
        call()
        seconds = synchronised_time() - start
        repeats = max(1, round(_SAMPLE / seconds))
        rounds = min(max(round(_BUDGET / (seconds * repeats)), _ROUNDS[0]), _ROUNDS[1])
        self.benchmark.pedantic(call, rounds=rounds, iterations=repeats)

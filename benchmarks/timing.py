"""One way of timing for all benchmarks."""

from collections.abc import Callable

from benchmarks.machine import synchronised_time

_BUDGET = 0.5  # seconds per timing, after the warm-up
_ROUNDS = (5, 200)  # the fewest and the most
_ROUND = 1e-3  # seconds that a round lasts at least, by repeating short calls


class Stopwatch:
    """Times a call with pytest-benchmark, in as many rounds as the budget allows.

    Calls shorter than a millisecond are repeated within a round. Whoever uses it marks the test
    with `pytest.mark.benchmark(timer=synchronised_time)`, so that a round ends when the GPU does.
    """

    def __init__(self, benchmark, device: str) -> None:
        self.benchmark, self.device = benchmark, device

    def time(self, call: Callable[[], object], **facts: object) -> None:
        """Measure `call`; `facts` go beside the result for the report to sort by."""
        self.benchmark.extra_info.update(facts, device=self.device)
        call()  # compiles, allocates, fills caches
        seconds = min(_once(call) for _ in range(2))
        repeats = max(1, round(_ROUND / seconds))
        rounds = round(_BUDGET / (seconds * repeats))
        rounds = min(max(rounds, _ROUNDS[0]), _ROUNDS[1])
        self.benchmark.pedantic(call, rounds=rounds, iterations=repeats)


def _once(call: Callable[[], object]) -> float:
    start = synchronised_time()
    call()
    return synchronised_time() - start

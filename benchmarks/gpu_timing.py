"""Timing on a GPU: calls on rotated inputs, captured in a graph, between two events."""

from collections.abc import Callable, Sequence

import torch

_WARM_UP = 3
_MOST_SETS = 200
_CALLS = 20  # in a graph at least, so that its launch does not count


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

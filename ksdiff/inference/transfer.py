"""Windows on their way to a device and back, while it computes others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

_T = TypeVar("_T")


def upload(x: Tensor, device: torch.device) -> Tensor:
    """``x``, which lies on the CPU, on the device; a GPU is not waited for."""
    if device.type == "cuda":
        x = x.contiguous().pin_memory()
    return x.to(device, non_blocking=True)


def download(x: Tensor) -> Callable[[], Tensor]:
    """Start to bring ``x`` to the CPU; a call of the result waits for it and gives it."""
    there = x.to("cpu", non_blocking=True)  # from a GPU into pinned memory
    if x.device.type != "cuda":
        return lambda: there
    arrived = torch.cuda.current_stream(x.device).record_event()

    def wait() -> Tensor:
        arrived.synchronize()
        return there

    return wait


def held_back(items: Iterable[_T], count: int) -> Iterator[_T]:
    """The items in their order, each when ``count`` more have been drawn, or no more come."""
    waiting: deque[_T] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting

"""Windows on their way: transfers that overlap with computing, and computing side by side."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

_T = TypeVar("_T")
_R = TypeVar("_R")


def upload(x: Tensor, device: torch.device) -> Tensor:
    """Copy ``x`` from the CPU to the device without waiting for a GPU."""
    if device.type == "cuda":
        x = x.contiguous().pin_memory()
    return x.to(device, non_blocking=True)


def download(x: Tensor) -> Callable[[], Tensor]:
    """Start copying ``x`` to the CPU; calling the result waits for the copy and returns it."""
    there = x.to("cpu", non_blocking=True)  # from a GPU into pinned memory
    if x.device.type != "cuda":
        return lambda: there
    arrived = torch.cuda.current_stream(x.device).record_event()

    def wait() -> Tensor:
        arrived.synchronize()
        return there

    return wait


def held_back(items: Iterable[_T], count: int) -> Iterator[_T]:
    """Yield items in order, each after ``count`` further ones have been drawn."""
    waiting: deque[_T] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting


def ahead(items: Iterable[_T]) -> Iterator[_T]:
    """The items in their order, each made on another thread while the one before is used."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as thread:
        # A list of one, or of none where the items end.
        coming = thread.submit(_next, iterator)
        while item := coming.result():
            coming = thread.submit(_next, iterator)
            yield item[0]


def _next(iterator: Iterator[_T]) -> list[_T]:
    return list(itertools.islice(iterator, 1))


def side_by_side(function: Callable[[_T], _R], items: Iterable[_T], threads: int) -> Iterator[_R]:
    """``function`` of every item in their order, of ``threads`` items at once.

    They share the threads that PyTorch has here. Unlike the threads of one operation they never
    wait for each other, which on a busy machine costs most.
    """
    total = torch.get_num_threads()

    def begin() -> None:
        torch.get_num_threads()  # only now does PyTorch give a new thread its number
        torch.set_num_threads(max(total // threads, 1))

    waiting: deque[Future[_R]] = deque()
    pool = ThreadPoolExecutor(threads, initializer=begin)
    try:
        for item in items:
            waiting.append(pool.submit(torch.inference_mode()(function), item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(total)  # of threads to come, too

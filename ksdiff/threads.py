"""How many CPU threads a piece of work is worth."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

# Pixels, or tokens. Measured on two cores with threads that sleep while they wait: up to four
# windows of 256 x 256, what makes a prior is done sooner on one thread than the other wakes, some
# two hundred times, for a share of it.
_WORTH_SHARING = 4 * 256**2


@contextlib.contextmanager
def alone_if_small(work: Tensor) -> Iterator[None]:
    """Many small operations on ``work`` [B, channels, ...]: on the calling thread if it is small.

    For CPUs and eager execution; the number of threads is the same afterwards.
    """
    threads = 1 if torch.compiler.is_compiling() else torch.get_num_threads()
    size = work.shape[0] * work.shape[2:].numel()
    if threads == 1 or work.device.type != "cpu" or size > _WORTH_SHARING:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

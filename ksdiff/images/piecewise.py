"""Computing an image some rows or bands at a time.

What is temporary then stays in the cache, where otherwise memory is asked for, cleared and returned
for every step of every window of a scene.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

_ROWS = 16  # measured


def piecewise(x: Tensor) -> bool:
    """Whether ``x`` may be computed in pieces, in place: eagerly, on a CPU, without gradients."""
    eager = not torch.is_grad_enabled() and not torch.compiler.is_compiling()
    return eager and x.device.type == "cpu"


def row_blocks(x: Tensor) -> Iterator[slice]:
    """Slices of the height of x [..., H, W], some rows each."""
    return (slice(top, top + _ROWS) for top in range(0, x.shape[-2], _ROWS))

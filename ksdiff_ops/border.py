"""Images with a border of their own pixels around them."""

import torch
from torch import Tensor


def surround(x: Tensor, margins: tuple[int, int, int, int], mode: str) -> Tensor:
    """[B, C, H, W] with so many pixels more on the left, right, above and below.

    As `torch.nn.functional.pad`, whose gradients for "reflect" and "replicate" are summed on a
    GPU in an order that changes.
    """
    left, right, above, below = margins
    for axis, before, after in ((3, left, right), (2, above, below)):
        if before == after == 0:
            continue
        size = x.shape[axis]
        if mode == "reflect":
            first = x.narrow(axis, 1, before).flip(axis)
            last = x.narrow(axis, size - 1 - after, after).flip(axis)
        elif mode == "replicate":
            ends = x.narrow(axis, 0, 1), x.narrow(axis, size - 1, 1)
            first, last = (
                end.expand(*x.shape[:axis], count, *x.shape[axis + 1 :])
                for end, count in zip(ends, (before, after), strict=True)
            )
        else:
            first, last = x.narrow(axis, size - before, before), x.narrow(axis, 0, after)
        x = torch.cat([first, x, last], axis)
    return x

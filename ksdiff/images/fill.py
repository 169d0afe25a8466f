"""Filling pixels without data, so that filters beside them see neither zeros nor NaN."""

import torch
import torch.nn.functional as F
from torch import Tensor


def fill_invalid(values: Tensor, valid: Tensor, fallback: Tensor, reach: int) -> Tensor:
    """Grow the valid pixels outwards, ring by ring, by the mean of their known neighbours.

    Each ring depends only on nearby pixels: filled window by window, a scene gets the same values
    as filled at once, except within ``reach`` pixels of the windows' borders.

    Args:
        values: [B, C, H, W].
        valid: bool of the same shape.
        fallback: broadcastable to it; what lies farther than ``reach`` from any valid pixel.
        reach: rings.
    """
    # No early stop: asking a GPU would mean waiting for it, and surplus rings change nothing.
    asks = values.device.type == "cpu"
    if asks and valid.all():
        return values
    known = valid.to(values.dtype)
    values = torch.where(valid, values, torch.zeros_like(values))
    for _ in range(reach):
        share = F.avg_pool2d(known, 3, 1, 1)
        ring = (known == 0) & (share > 0)
        if asks and not ring.any():
            break
        values = torch.where(ring, F.avg_pool2d(values, 3, 1, 1) / share, values)
        known = torch.where(ring, torch.ones_like(known), known)
    return torch.where(known > 0, values, fallback.to(values.dtype))

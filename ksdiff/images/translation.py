"""Images moved by fractions of a pixel: a Kaiser-windowed sinc of 24 taps."""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ksdiff.images.checks import check_image
from ksdiff.images.polyphase import FilterBank, filter_axis

SHIFT_HALF_WIDTH = 12
_SHIFT_BETA = 7.0


def shift_taps(distance: float) -> tuple[np.ndarray, int]:
    """Taps s and first index f of ``out[n] = sum_k s[k] in[n + f + k]``, ``out(n) = in(n - d)``."""
    whole = math.floor(distance)
    if distance == whole:
        return np.ones(1), -whole
    first = -whole - SHIFT_HALF_WIDTH
    at = np.arange(first, first + 2 * SHIFT_HALF_WIDTH) + distance
    window = np.i0(_SHIFT_BETA * np.sqrt(1.0 - (at / SHIFT_HALF_WIDTH) ** 2))
    taps = np.sinc(at) * window
    return taps / taps.sum(), first


@lru_cache(maxsize=1024)
def _shift_bank(distance: float) -> FilterBank:
    taps, first = shift_taps(distance)
    return FilterBank((tuple(taps),), first, 1)


def shift(x: Tensor, dy: float, dx: float, boundary: str = "reflect") -> Tensor:
    """Move the content of an image by ``(dy, dx)`` pixels: ``out(y, x) = in(y - dy, x - dx)``.

    Kaiser-windowed sinc of 24 taps, exact for whole pixels.

    Args:
        x: [B, C, H, W].
        boundary: see ``polyphase.extend``.
    """
    check_image("x", x)
    for dim, distance in ((-2, dy), (-1, dx)):
        if distance:
            x = filter_axis(x, dim, _shift_bank(float(distance)), boundary)
    return x


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def shift_weight(distance: float, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, int]:
    """What `shift` convolves an axis with, [K] for a sum of products, and where it starts."""
    taps, first = shift_taps(distance)
    return torch.from_numpy(taps).to(device=device, dtype=dtype), first

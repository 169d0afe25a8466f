"""MS images brought to the PAN grid by the 23-tap half-band interpolator of the DLPan-Toolbox.

A *phase* is where the centre of MS pixel (0, 0) lies, in 0-based PAN pixel coordinates (y, x):
``ratio // 2`` after Wald's protocol, 1.5 for products as delivered (pixel corners aligned,
ratio 4), 0 for decimation at ``[::ratio]``.
"""

import math
from functools import lru_cache

import numpy as np
from torch import Tensor

from ksdiff.images.checks import check_image
from ksdiff.images.piecewise import piecewise
from ksdiff.images.polyphase import FilterBank, filter_axis
from ksdiff.images.translation import shift_taps

RATIOS = range(2, 9)
_SINC_REACH, _SINC_BETA = 6, 5.0  # MS pixels
# Odd half of the toolbox's 23-tap half-band filter; the even taps are zero but for the centre.
_HALF_BAND = (
    0.305334091185,
    -0.072698593239,
    0.021809577942,
    -0.005192756653,
    0.000807762146,
    -0.000060081482,
)

Phase = tuple[float, float]


def _interpolator(ratio: int) -> np.ndarray:
    """Response of the interpolator to one MS sample, on the PAN grid.

    For powers of two that of the toolbox, the half-band filter once per doubling. The toolbox has
    no other ratios; for these it is a Kaiser-windowed sinc of about the same reach.
    """
    if ratio & (ratio - 1):
        reach = _SINC_REACH * ratio
        at = np.arange(1 - reach, reach)
        window = np.i0(_SINC_BETA * np.sqrt(1.0 - (at / reach) ** 2)) / np.i0(_SINC_BETA)
        return np.sinc(at / ratio) * window
    half_band = np.zeros(23)
    half_band[11] = 0.5
    half_band[12::2] = _HALF_BAND
    half_band[10::-2] = _HALF_BAND
    half_band *= 2.0
    response: np.ndarray = np.ones(1)
    for _ in range(ratio.bit_length() - 1):
        spread = np.zeros(2 * response.size - 1)
        spread[::2] = response
        response = np.convolve(spread, half_band)
    return response


@lru_cache(maxsize=1024)
def _expand_bank(ratio: int, phase: float) -> FilterBank:
    response = _interpolator(ratio)
    whole = math.floor(phase)
    taps, first = shift_taps(phase - whole)
    centre = (response.size - 1) // 2
    response = np.convolve(response, taps[::-1])
    # PAN pixel m takes MS sample j with weight response[m - ratio * j + origin].
    origin = centre + taps.size - 1 + first - whole
    nearest = -((response.size - 1 - origin) // ratio)
    farthest = (ratio - 1 + origin) // ratio
    at = origin + np.arange(ratio)[:, None] - ratio * np.arange(nearest, farthest + 1)[None, :]
    inside = (at >= 0) & (at < response.size)
    bank = np.where(inside, response[np.clip(at, 0, response.size - 1)], 0.0)
    if ratio & (ratio - 1):
        bank /= bank.sum(1, keepdims=True)  # constants stay; the half-band filter keeps them
    return FilterBank(tuple(tuple(row) for row in bank), nearest, 1)


def expand(
    ms: Tensor, ratio: int, phase: Phase | None = None, boundary: str = "circular"
) -> Tensor:
    """Bring an MS image to the PAN grid (``lms``) with the 23-tap half-band interpolator.

    Args:
        ms: [B, C, h, w].
        ratio: 2 to 8.
        phase: (y, x) of the centre of MS pixel (0, 0) in PAN pixels; None for ``ratio // 2``,
            the toolbox's. Any other phase adds a fractional shift (24-tap windowed sinc).
        boundary: "circular" as in the toolbox, or "reflect" for windows of a scene.

    Returns:
        [B, C, ratio*h, ratio*w].
    """
    check_image("ms", ms)
    if ratio not in RATIOS:
        raise ValueError(f"ratio: expected a whole number from 2 to 8, got {ratio}")
    # A tenth of a thousandth of a pixel is far below what can be seen and lets banks be reused.
    vertical, horizontal = (
        _expand_bank(ratio, round(float(at), 4)) for at in phase or (ratio // 2,) * 2
    )

    def expanded(bands: Tensor) -> Tensor:
        return filter_axis(filter_axis(bands, -2, vertical, boundary), -1, horizontal, boundary)

    batch, bands, height, width = ms.shape
    if bands == 1 or not piecewise(ms):
        return expanded(ms)
    out = ms.new_empty(batch, bands, ratio * height, ratio * width)
    for band in range(bands):
        out[:, band : band + 1] = expanded(ms[:, band : band + 1])
    return out


def interp23tap(ms: Tensor, ratio: int) -> Tensor:
    """The toolbox's ``interp23tap``: circular, MS pixel n at PAN pixel ``ratio*n + ratio//2``.

    Args:
        ms: [B, C, h, w].
        ratio: 2 to 8; the toolbox has powers of two only, see `_interpolator` for others.

    Returns:
        [B, C, ratio*h, ratio*w].
    """
    return expand(ms, ratio)

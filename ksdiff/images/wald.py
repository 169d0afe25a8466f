"""Wald's protocol as the DLPan-Toolbox and PanCollection define it.

A sensor's MS image is imitated by a Gaussian that has the sensor's gain at the Nyquist frequency,
and decimation at ``[ratio//2::ratio]``; PAN by MATLAB's antialiased bicubic. The interpolator of
`ksdiff.images.expansion` undoes that decimation's sample positions.

Tensors are [B, C, H, W], float32 or float64, and keep their dtype and device.
"""

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ksdiff.images.checks import check_divisible, check_image, check_pan
from ksdiff.images.expansion import Phase, expand
from ksdiff.images.mtf import MTF_TAPS, Gains, MTFFilters, filters_of, gains_of, mtf_weight
from ksdiff.images.piecewise import piecewise
from ksdiff.images.polyphase import FilterBank, decimate_axis, extend, filter_axis
from ksdiff.images.translation import shift_weight


def _pad(x: Tensor, before: int, after: int, boundary: str) -> Tensor:
    for dim in (-2, -1):
        x = extend(x, dim, -before, x.shape[dim] + before + after, boundary)
    return x


def mtf_filter(x: Tensor, gains: Gains, ratio: int, boundary: str = "replicate") -> Tensor:
    """Low-pass every band with its sensor's MTF, on the full grid.

    Args:
        x: [B, C, H, W].
        gains: [C] MTF gains at Nyquist.
        ratio: resolution ratio.
        boundary: the toolbox's "replicate", or see ``polyphase.extend``.

    Returns:
        [B, C, H, W].
    """
    check_image("x", x)
    weight = mtf_weight(gains_of(gains, x.shape[1]), ratio, x.dtype, x.device)[:, 0]
    half = MTF_TAPS // 2
    padded = _pad(x, half, half, boundary)
    size = padded.shape[-2:]
    # The kernel is symmetric: correlation and convolution are one.
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(weight, s=size)
    out = torch.fft.irfft2(spectrum, s=size)
    return out[..., 2 * half :, 2 * half :]


def degrade_ms(ms: Tensor, gains: Gains, ratio: int) -> Tensor:
    """Reduce the resolution of an MS image: MTF filter, then ``[ratio//2::ratio]``.

    Args:
        ms: [B, C, H, W], H and W multiples of the ratio.
        gains: [C] MTF gains at Nyquist.

    Returns:
        [B, C, H/ratio, W/ratio].
    """
    check_image("ms", ms)
    check_divisible("ms", ms, ratio)
    weight = mtf_weight(gains_of(gains, ms.shape[1]), ratio, ms.dtype, ms.device)
    first = ratio // 2 - MTF_TAPS // 2
    for dim in (-2, -1):
        ms = extend(ms, dim, first, ms.shape[dim] - ratio + MTF_TAPS, "replicate")
    return F.conv2d(ms, weight, stride=ratio, groups=ms.shape[1])


@lru_cache(maxsize=16)
def _imresize_bank(ratio: int) -> FilterBank:
    centre = (ratio - 1) / 2
    first = math.ceil(centre - 2 * ratio)
    at = np.arange(first, math.floor(centre + 2 * ratio) + 1)
    d = np.abs(at - centre) / ratio
    near = (1.5 * d - 2.5) * d**2 + 1.0
    far = ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
    taps = np.where(d <= 1.0, near, np.where(d <= 2.0, far, 0.0))
    return FilterBank((tuple(taps / taps.sum()),), int(first), ratio)


def degrade_pan(pan: Tensor, ratio: int) -> Tensor:
    """Reduce the resolution of PAN as MATLAB's ``imresize(pan, 1/ratio)`` does.

    Antialiased bicubic (a = -0.5, stretched by the ratio), symmetric borders. Pixel centres
    average: coarse pixel n lies at ``ratio * n + (ratio - 1) / 2``.

    Args:
        pan: [B, C, H, W], H and W multiples of the ratio.

    Returns:
        [B, C, H/ratio, W/ratio].
    """
    check_image("pan", pan)
    check_divisible("pan", pan, ratio)
    bank = _imresize_bank(ratio)
    return filter_axis(filter_axis(pan, -2, bank, "symmetric"), -1, bank, "symmetric")


def _decimated(
    x: Tensor, profiles: Tensor, ratio: int, boundary: str, phase: Phase | None = None
) -> Tensor:
    """[B, C or 1, H, W] through profiles [C, 41], on the MS grid of that phase.

    Shift, filter and decimation are one filter an axis: [B, C, H/ratio, W/ratio].
    """
    centre = ratio // 2
    for dim, at in zip((-2, -1), phase or (centre, centre), strict=True):
        # A tenth of a thousandth of a pixel, as in `expand`.
        distance = round(float(centre - at), 4)
        taps, start = profiles, centre - MTF_TAPS // 2
        if distance:
            moving, first = shift_weight(distance, x.dtype, x.device)
            # Full convolution: conv1d sums products, so one of the two is turned over.
            flipped = moving.flip(0)[None, None]
            taps = F.conv1d(profiles[:, None], flipped, padding=len(moving) - 1)[:, 0]
            start += first
        x = decimate_axis(x, dim, taps, start, ratio, boundary)
    return x


def back_project(
    fused: Tensor,
    ms: Tensor,
    gains: Gains | MTFFilters,
    ratio: int,
    phase: Phase | None = None,
    overwrite: bool = False,
) -> Tensor:
    """Add what the degraded fused image lacks of the MS image.

    One step of iterative back-projection (Irani and Peleg 1991): Wald's consistency property says
    that the fused image, degraded to the MS grid, is the MS image.

    Args:
        fused: [B, C, H, W].
        ms: [B, C, H/ratio, W/ratio], same units.
        gains: [C] MTF gains at Nyquist, or the filters made of them.
        phase: of ``ms``, as in `expand`.
        overwrite: let the result take the memory of ``fused`` where that saves time.

    Returns:
        [B, C, H, W].
    """
    check_image("fused", fused)
    check_divisible("fused", fused, ratio)
    profiles = filters_of(gains, ratio, fused).per_band()

    def lacking(bands: slice) -> Tensor:
        degraded = _decimated(fused[:, bands], profiles[bands], ratio, "replicate", phase)
        return expand(ms[:, bands] - degraded, ratio, phase, "reflect")

    if not piecewise(fused):
        return lacking(slice(None)).add_(fused)
    out = fused if overwrite else torch.empty_like(fused)
    for band in range(fused.shape[1]):
        one = slice(band, band + 1)
        torch.add(fused[:, one], lacking(one), out=out[:, one])
    return out


def degrade_pan_as_ms(
    pan: Tensor,
    gains: Gains,
    ratio: int,
    boundary: str = "replicate",
    phase: Phase | None = None,
) -> Tensor:
    """PAN as MS bands would see it, on the MS grid: MTF filter, then one sample an MS pixel.

    Args:
        pan: [B, 1, H, W], H and W multiples of the ratio.
        gains: [C] MTF gains at Nyquist, of the bands.
        boundary: of the filter.
        phase: of the MS grid, as in `expand`.

    Returns:
        [B, C, H/ratio, W/ratio].
    """
    check_pan(pan, ratio)
    return _decimated(pan, filters_of(gains, ratio, pan).per_band(), ratio, boundary, phase)


def pan_lowpass(
    pan: Tensor, gains: Gains | MTFFilters, ratio: int, boundary: str = "circular"
) -> Tensor:
    """PAN as each MS band would see it, back on the PAN grid (MTF-GLP's low-resolution PAN).

    MTF filter per band, decimation at ``[ratio//2::ratio]`` and the 23-tap interpolator, whose
    positions undo the decimation: the result is aligned with PAN whatever the phase of the MS
    image is.

    Args:
        pan: [B, 1, H, W], H and W multiples of the ratio.
        gains: [C] MTF gains of the MS bands, or the filters made of them.
        boundary: "circular" as in the toolbox (the filter's own borders then replicate), or
            "reflect" throughout.

    Returns:
        [B, C, H, W].
    """
    check_pan(pan, ratio)
    filters = filters_of(gains, ratio, pan)
    filtering = "replicate" if boundary == "circular" else boundary
    low = expand(_decimated(pan, filters.profiles, ratio, filtering), ratio, boundary=boundary)
    return filters.spread(low, 1)

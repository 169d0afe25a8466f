"""Wald's protocol as the DLPan-Toolbox and PanCollection define it.

A sensor's MS image is imitated by a Gaussian that has the sensor's gain at the Nyquist frequency,
and decimation at ``[ratio//2::ratio]``; PAN by MATLAB's antialiased bicubic; an MS image reaches
the PAN grid by the 23-tap half-band interpolator, whose sample positions undo that decimation.

Tensors are [B, C, H, W], float32 or float64, and keep their dtype and device. Kernels are designed
in float64 and cached.

A *phase* is where the centre of MS pixel (0, 0) lies, in 0-based PAN pixel coordinates (y, x):
``ratio // 2`` for the protocol above, 1.5 for products as delivered (pixel corners aligned,
ratio 4), 0 for decimation at ``[::ratio]``.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ksdiff.images.polyphase import FilterBank, decimate_axis, extend, filter_axis

RATIOS = range(2, 9)
MTF_TAPS = 41
_KAISER_BETA = 0.5
_SINC_REACH, _SINC_BETA = 6, 5.0  # MS pixels
SHIFT_HALF_WIDTH = 12
_SHIFT_BETA = 7.0
# Odd half of the toolbox's 23-tap half-band filter; the even taps are zero but for the centre.
_HALF_BAND = (
    0.305334091185,
    -0.072698593239,
    0.021809577942,
    -0.005192756653,
    0.000807762146,
    -0.000060081482,
)

Gains = Sequence[float] | Tensor
Phase = tuple[float, float]


@lru_cache(maxsize=512)
def _mtf_kernel(gain: float, ratio: int, taps: int) -> np.ndarray:
    if not 0.0 < gain < 1.0:
        raise ValueError(f"gain: expected a value between 0 and 1, got {gain}")
    if taps < 3 or taps % 2 == 0:
        raise ValueError(f"taps: expected an odd number of at least 3, got {taps}")
    half = (taps - 1) // 2
    alpha = math.sqrt((half / ratio) ** 2 / (-2.0 * math.log(gain)))
    at = np.arange(-half, half + 1, dtype=np.float64)
    square = at[:, None] ** 2 + at[None, :] ** 2
    response = np.exp(-square / (2.0 * alpha**2))
    kernel = np.real(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(response))))
    radius = np.sqrt(square)
    window = np.interp(radius, at[half:], np.kaiser(taps, _KAISER_BETA)[half:])
    window[radius > half] = 0.0
    kernel = kernel * window
    kernel.setflags(write=False)
    return kernel


def mtf_kernel(gain: float, ratio: int, taps: int = MTF_TAPS) -> np.ndarray:
    """Gaussian low-pass with a given gain at the Nyquist frequency of the coarse grid.

    The frequency-sampling design with a rotated Kaiser window (β = 0.5) of the toolbox
    (MATLAB's ``fwind1``); not renormalised, so the DC gain is a little below 1.

    Args:
        gain: MTF at Nyquist, between 0 and 1.
        ratio: resolution ratio.
        taps: odd width.

    Returns:
        [taps, taps] float64.
    """
    return _mtf_kernel(float(gain), int(ratio), int(taps)).copy()


@lru_cache(maxsize=128)
@torch.inference_mode(False)
def _mtf_weight(
    gains: tuple[float, ...], ratio: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    kernels = np.stack([_mtf_kernel(gain, ratio, MTF_TAPS) for gain in gains])
    return torch.from_numpy(kernels)[:, None].to(device=device, dtype=dtype)


class MTFFilters(NamedTuple):
    """The bands' low-pass filters, each as the product of a column and a row that are the same.

    Of `mtf_kernel` this leaves out some 1e-5: the window that makes it no such product is nearly
    flat where the kernel is not nearly zero. An eighth of the work; for what is computed for every
    pixel of every scene, not for what defines a protocol. Bands of equal gain share a profile.
    """

    profiles: Tensor  # [D, 41]
    bands: Tensor  # [C] int64: the profile of each band

    def per_band(self) -> Tensor:
        """[C, 41]."""
        return self.spread(self.profiles, 0)

    def spread(self, x: Tensor, dim: int) -> Tensor:
        """From one slice per profile to one per band, along ``dim``."""
        return x if len(self.profiles) == len(self.bands) else x.index_select(dim, self.bands)


@lru_cache(maxsize=512)
def _mtf_profile(gain: float, ratio: int) -> np.ndarray:
    values, vectors = np.linalg.eigh(_mtf_kernel(gain, ratio, MTF_TAPS))
    profile = vectors[:, -1] * math.sqrt(values[-1])
    return profile if profile.sum() > 0 else -profile


@lru_cache(maxsize=128)
@torch.inference_mode(False)
def mtf_filters(
    gains: tuple[float, ...], ratio: int, dtype: torch.dtype, device: torch.device
) -> MTFFilters:
    """The filters for images of that dtype on that device; ``gains`` [C] as in `mtf_kernel`.

    Functions that take them in the place of gains have nothing to ask or to fetch from the CPU.
    """
    distinct = tuple(dict.fromkeys(gains))
    profiles = np.stack([_mtf_profile(gain, ratio) for gain in distinct])
    return MTFFilters(
        torch.from_numpy(profiles).to(device=device, dtype=dtype),
        torch.tensor([distinct.index(gain) for gain in gains], device=device),
    )


def _filters(gains: Gains | MTFFilters, ratio: int, x: Tensor) -> MTFFilters:
    """For an image like ``x``."""
    if isinstance(gains, MTFFilters):
        return gains
    return mtf_filters(_gains(gains, len(gains)), ratio, x.dtype, x.device)


def _gains(gains: Gains, bands: int) -> tuple[float, ...]:
    values = tuple(float(g) for g in gains)
    if len(values) != bands:
        raise ValueError(f"gains: expected one per band ({bands}), got {len(values)}")
    return values


def _check_image(name: str, x: Tensor) -> None:
    if x.ndim != 4:
        raise ValueError(f"{name}: expected [B, C, H, W], got shape {tuple(x.shape)}")
    if not x.is_floating_point():
        raise TypeError(f"{name}: expected a floating-point tensor, got {x.dtype}")


def _check_divisible(name: str, x: Tensor, ratio: int) -> None:
    if x.shape[-2] % ratio or x.shape[-1] % ratio:
        raise ValueError(
            f"{name}: height and width must be multiples of the ratio {ratio}, "
            f"got {tuple(x.shape[-2:])}; crop first"
        )


def _check_pan(pan: Tensor, ratio: int) -> None:
    _check_image("pan", pan)
    if pan.shape[1] != 1:
        raise ValueError(f"pan: expected one band, got {pan.shape[1]}")
    _check_divisible("pan", pan, ratio)


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
    _check_image("x", x)
    weight = _mtf_weight(_gains(gains, x.shape[1]), ratio, x.dtype, x.device)[:, 0]
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
    _check_image("ms", ms)
    _check_divisible("ms", ms, ratio)
    weight = _mtf_weight(_gains(gains, ms.shape[1]), ratio, ms.dtype, ms.device)
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
    _check_image("pan", pan)
    _check_divisible("pan", pan, ratio)
    bank = _imresize_bank(ratio)
    return filter_axis(filter_axis(pan, -2, bank, "symmetric"), -1, bank, "symmetric")


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
    _check_image("x", x)
    for dim, distance in ((-2, dy), (-1, dx)):
        if distance:
            x = filter_axis(x, dim, _shift_bank(float(distance)), boundary)
    return x


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _shift_weight(distance: float, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, int]:
    """What `shift` convolves an axis with, [K] for a sum of products, and where it starts."""
    taps, first = shift_taps(distance)
    return torch.from_numpy(taps).to(device=device, dtype=dtype), first


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
            moving, first = _shift_weight(distance, x.dtype, x.device)
            # Full convolution: conv1d sums products, so one of the two is turned over.
            flipped = moving.flip(0)[None, None]
            taps = F.conv1d(profiles[:, None], flipped, padding=len(moving) - 1)[:, 0]
            start += first
        x = decimate_axis(x, dim, taps, start, ratio, boundary)
    return x


def _interpolator(ratio: int) -> np.ndarray:
    """Response of the interpolator to one MS sample, on the PAN grid.

    The toolbox's, the half-band filter once for every halving, where the ratio is a power of two;
    elsewhere, where the toolbox has none, a Kaiser-windowed sinc that reaches about as far.
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
    response = np.ones(1)
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
    _check_image("ms", ms)
    if ratio not in RATIOS:
        raise ValueError(f"ratio: expected a whole number from 2 to 8, got {ratio}")
    for dim, at in zip((-2, -1), phase or (ratio // 2,) * 2, strict=True):
        # A tenth of a thousandth of a pixel is far below what can be seen and lets banks be reused.
        ms = filter_axis(ms, dim, _expand_bank(ratio, round(float(at), 4)), boundary)
    return ms


def back_project(
    fused: Tensor,
    ms: Tensor,
    gains: Gains | MTFFilters,
    ratio: int,
    phase: Phase | None = None,
) -> Tensor:
    """Add to a fused image what its degraded self lacks of the MS image.

    One step of iterative back-projection (Irani and Peleg 1991): Wald's consistency property says
    that the fused image, degraded to the MS grid, is the MS image.

    Args:
        fused: [B, C, H, W].
        ms: [B, C, H/ratio, W/ratio], same units.
        gains: [C] MTF gains at Nyquist, or the filters made of them.
        phase: of ``ms``, as in `expand`.

    Returns:
        [B, C, H, W].
    """
    _check_image("fused", fused)
    _check_divisible("fused", fused, ratio)
    profiles = _filters(gains, ratio, fused).per_band()
    degraded = _decimated(fused, profiles, ratio, "replicate", phase)
    return fused + expand(ms - degraded, ratio, phase, "reflect")


def interp23tap(ms: Tensor, ratio: int) -> Tensor:
    """The toolbox's ``interp23tap``: circular, MS pixel n at PAN pixel ``ratio*n + ratio//2``.

    Args:
        ms: [B, C, h, w].
        ratio: 2 to 8; the toolbox has powers of two only, see `_interpolator` for others.

    Returns:
        [B, C, ratio*h, ratio*w].
    """
    return expand(ms, ratio)


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
    _check_pan(pan, ratio)
    return _decimated(pan, _filters(gains, ratio, pan).per_band(), ratio, boundary, phase)


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
    _check_pan(pan, ratio)
    filters = _filters(gains, ratio, pan)
    filtering = "replicate" if boundary == "circular" else boundary
    low = expand(_decimated(pan, filters.profiles, ratio, filtering), ratio, boundary=boundary)
    return filters.spread(low, 1)

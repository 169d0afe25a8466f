"""Finds shifts of many pixels, to the nearest MS pixel.

The fit of `ksdiff.images.shifts` follows slopes and needs to begin within an MS pixel or two. Here
every shift within reach is tried at once: cross-correlations by Fourier transforms say which share
of the variance of PAN's detail the bands explain at each, whatever mix of them PAN sees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ksdiff.images.inputs import local_detail
from ksdiff.images.wald import degrade_pan_as_ms

REACH = 20.0  # PAN pixels: the largest shift that is looked for
_TAPER = 0.25  # of a window's side, over which it fades: transforms wrap around
_LEAST_SIDE = 16  # MS pixels


class Peak(NamedTuple):
    """The shift at which the bands explain PAN best."""

    dy: float  # PAN pixels, whole MS pixels
    dx: float
    share: float  # of the variance of PAN's detail that the bands explain there
    here: float  # the same at no shift, or an MS pixel off
    rival: float  # the same at the best shift two MS pixels or more from the peak


def search_shift(
    windows: Sequence[tuple[Tensor, Tensor]], gains: Sequence[float], phase: tuple[float, float]
) -> Peak | None:
    """The whole MS pixels by which PAN's content lies further down and right than the MS's.

    Args:
        windows: of one scene and one size, PAN [1, 1, H, W] and MS [1, C, H / ratio, W / ratio].
        gains: [C] MTF gains at Nyquist.
        phase: PAN coordinate (y, x) of the centre of MS pixel (0, 0).

    Returns:
        None where nothing varies, or the windows are too small for the reach.
    """
    pan, ms = (torch.cat(images) for images in zip(*windows, strict=True))
    ratio = pan.shape[-1] // ms.shape[-1]
    reach = math.ceil(REACH / ratio)
    if min(ms.shape[-2:]) < max(_LEAST_SIDE, 3 * reach):
        return None
    gain = (sum(gains) / len(gains),)
    seen, bands = (
        _tapered(local_detail(image))
        for image in (degrade_pan_as_ms(pan, gain, ratio, "reflect", phase), ms)
    )
    energy = seen.square().sum()
    if not energy:
        return None
    shares = _explained(seen, bands, reach) / energy
    best = int(shares.argmax())
    row, column = divmod(best, 2 * reach + 1)
    at = torch.arange(-reach, reach + 1)
    apart = torch.maximum((at - at[row]).abs()[:, None], (at - at[column]).abs()).to(shares.device)
    near = shares[reach - 1 : reach + 2, reach - 1 : reach + 2]
    return Peak(
        float(ratio * at[row]),
        float(ratio * at[column]),
        shares[row, column].item(),
        near.max().item(),
        shares[apart >= 2].max().item(),
    )


def _explained(seen: Tensor, bands: Tensor, reach: int) -> Tensor:
    """The energy of images [K, 1, h, w] that bands [K, C, h, w] explain at every shift by up to
    ``reach``, [2 * reach + 1] squared: least squares over all K."""
    spectra = torch.fft.rfft2(seen) * torch.fft.rfft2(bands).conj()
    products = torch.fft.irfft2(spectra, s=seen.shape[-2:]).sum(0)
    at = torch.arange(-reach, reach + 1, device=seen.device)
    products = products[:, at % seen.shape[-2]][:, :, at % seen.shape[-1]]  # [C, R, R]
    flat = bands.transpose(0, 1).flatten(1)
    normal = flat @ flat.T
    ridge = 1e-6 * normal.diagonal().clamp_min(torch.finfo(flat.dtype).tiny ** 0.5)
    there = products.flatten(1)
    weights = torch.linalg.solve(normal + ridge.diag(), there)
    return (weights * there).sum(0).view_as(products[0])


def _tapered(images: Tensor) -> Tensor:
    """Images [K, C, h, w] that fade towards their rims."""
    for dim in (-2, -1):
        length = images.shape[dim]
        ramp = (torch.arange(length, dtype=torch.float64, device=images.device) + 0.5) / length
        rise = torch.minimum(ramp, 1 - ramp) / _TAPER
        fade = 0.5 - 0.5 * torch.cos(math.pi * rise.clamp(max=1.0))
        images = images * (fade[:, None] if dim == -2 else fade)
    return images

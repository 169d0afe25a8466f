"""Measures shifts between images of one scene to a few hundredths of a PAN pixel.

PAN and MS of a delivery are misregistered by up to two pixels, and so are the bands of sensors
whose arrays see the ground one after the other. A network trained on such pairs learns to blur, and
detail added in the wrong place degrades the image.

Every shift is a least-squares fit: one image as a combination of others and of its own slopes
(Lucas and Kanade 1981), on the local detail of the images.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ksdiff.images.wald import degrade_pan_as_ms

# A smoothing filter and the derivative that goes with it (Farid and Simoncelli 2004): neighbours'
# differences alone are a fifth less than the slope, and shifts come out that much too large.
_SMOOTH = (0.037659, 0.249153, 0.426375, 0.249153, 0.037659)
_SLOPE = (-0.109604, -0.276691, 0.0, 0.276691, 0.109604)
_NEAR = 5  # pixels: what varies within so many is detail
_RIM = len(_SMOOTH) // 2 + _NEAR // 2  # pixels that have none
_ROUNDING = 1e-5  # of an image's largest value
_LEAST_PIXELS = 256  # that have some: fewer determine no shift

_SMOOTHED = 8.0  # pixels: neighbours share their noise after smoothing
_ITERATIONS = 5  # at most
_SETTLED = 1.0  # PAN pixels: a smaller step is right to two hundredths
_LARGEST = 6.0  # PAN pixels: what a fit that runs further has followed is not a misregistration
_LEAST_CORRELATION = 0.8  # of two bands' detail: below, they show different things


class Fit(NamedTuple):
    """The offset of PAN in a window, in PAN pixels."""

    dy: float  # by which PAN's content lies further down than the MS's
    dx: float  # further right
    error: float  # standard error of the larger of the two
    share: float  # of the variance of PAN's detail that the bands explain there
    centre: tuple[float, float]  # (y, x) in the window, of the detail that tells


def estimate_shift(
    pan: Tensor, ms: Tensor, gains: Sequence[float], phase: tuple[float, float]
) -> tuple[float, float]:
    """(dy, dx) of `fit_shift`; (0, 0) where the images do not determine one."""
    fit = fit_shift(pan, ms, gains, phase)
    return (fit.dy, fit.dx) if fit else (0.0, 0.0)


def fit_shift(
    pan: Tensor, ms: Tensor, gains: Sequence[float], phase: tuple[float, float]
) -> Fit | None:
    """Offset (down, right) of PAN's content from the MS's, up to 6 PAN pixels.

    PAN is degraded like an MS band and sampled at the MS pixels, so that both images are aliased
    alike; the bands are combined to explain it best (least squares, as in GSA).

    Args:
        pan: [1, 1, H, W], any units.
        ms: [1, C, H / ratio, W / ratio], any units.
        gains: [C] MTF gains at Nyquist.
        phase: PAN coordinate (y, x) of the centre of MS pixel (0, 0).

    Returns:
        None where the images do not determine a shift.
    """
    ratio = pan.shape[-1] // ms.shape[-1]
    gain = (sum(gains) / len(gains),)
    bands, *slopes = _varying([ms])
    if bands.shape[1] < _LEAST_PIXELS:
        return None
    dy = dx = 0.0
    for _ in range(_ITERATIONS):
        seen = degrade_pan_as_ms(pan, gain, ratio, "reflect", (phase[0] + dy, phase[1] + dx))
        target, *own = (part[0] for part in _varying([seen]))
        weights = _solved(bands, target)
        # Half of either image's slopes: the error is then of third order in the shift.
        both = torch.stack(
            [(mine + weights @ theirs) / 2 for mine, theirs in zip(own, slopes, strict=True)]
        )
        rows = torch.cat((bands, both))
        solution = _solved(rows, target)
        step = -ratio * solution[-2:]
        dy, dx = dy + step[0].item(), dx + step[1].item()
        if not max(abs(dy), abs(dx)) <= _LARGEST:
            return None
        if step.abs().max() < _SETTLED:
            break
    energy = target.square().sum().item()
    if not energy:
        return None
    missed = (target - solution @ rows).square().sum().item()
    variance = _SMOOTHED * missed / target.numel() * _normal(rows).inverse()[-2:, -2:].diagonal()
    centre = _centre(both.square().sum(0), ms.shape[-1] - 2 * _RIM)
    return Fit(
        dy,
        dx,
        ratio * variance.max().sqrt().item(),
        1 - missed / energy,
        (phase[0] + ratio * (_RIM + centre[0]), phase[1] + ratio * (_RIM + centre[1])),
    )


def estimate_band_shifts(
    windows: Sequence[Tensor], pairs: Sequence[tuple[int, int]]
) -> list[tuple[float, float]]:
    """(dy, dx) in MS pixels by which each band lies further down and right than it should.

    Two bands of neighbouring wavelengths look nearly the same, so their offset can be measured to a
    few hundredths of a pixel. Each band is then assumed to be off by half of it: arrays that lie
    before and behind PAN's in the focal plane see the ground before and after it.

    Args:
        windows: of one scene, MS [1, C, h, w] in any units.
        pairs: of bands that lie on either side of PAN, see `ksdiff.sensors.Sensor`.

    Returns:
        One shift a band; zeros for bands of no pair. A pair that shows different things takes the
        median of the others.
    """
    found: dict[tuple[int, int], tuple[float, float]] = {}
    detail, *slopes = _varying(windows)
    for one, other in pairs if detail.shape[1] >= _LEAST_PIXELS else ():
        energy, energy_there = (detail[band].square().sum() for band in (one, other))
        product = detail[one] @ detail[other]
        if product > _LEAST_CORRELATION * (energy * energy_there).sqrt():
            scale = (energy / energy_there).sqrt()
            both = [(slope[one] + scale * slope[other]) / 2 for slope in slopes]
            step = -_solved(torch.stack((detail[other], *both)), detail[one])[1:]
            found[one, other] = tuple(step.tolist())
    off = [(0.0, 0.0)] * windows[0].shape[1]
    if found:
        usual = tuple(statistics.median(axis) for axis in zip(*found.values(), strict=True))
        for one, other in pairs:
            dy, dx = found.get((one, other), usual)
            off[one], off[other] = (dy / 2, dx / 2), (-dy / 2, -dx / 2)
    return off


def _varying(images: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Of images [1, C, h, w]: what varies between neighbours, smoothed, and its slopes down and
    right; each [C, N] in float64, over all images' pixels."""
    kernels = _kernels(images[0].device)
    parts = []
    for image in images:
        if min(image.shape[-2:]) <= 2 * _RIM:
            continue
        bands = image.float().transpose(0, 1)
        found = F.conv2d(bands, kernels)
        # Constant images have rounding errors, no detail.
        level = _ROUNDING * bands.abs().amax((1, 2, 3), keepdim=True)
        found = torch.where(found.abs().amax((1, 2, 3), keepdim=True) > level, found, 0.0)
        parts.append(found.transpose(0, 1).flatten(2))
    if not parts:
        return (torch.zeros(images[0].shape[1], 0, dtype=torch.float64),) * 3
    return tuple(torch.cat(parts, 2).double())


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _kernels(device: torch.device) -> Tensor:
    """[3, 1, 9, 9]: smoothing, slope down, slope right, each less its mean over what is near."""
    smooth, slope = (torch.tensor(taps, dtype=torch.float64) for taps in (_SMOOTH, _SLOPE))
    pairs = ((smooth, smooth), (slope, smooth), (smooth, slope))
    kernels = torch.stack([torch.outer(*pair) for pair in pairs])[:, None]
    mean = torch.full((1, 1, _NEAR, _NEAR), 1 / _NEAR**2, dtype=torch.float64)
    kernels = F.pad(kernels, (_NEAR // 2,) * 4) - F.conv2d(kernels, mean, padding=_NEAR - 1)
    return kernels.float().to(device)


def _solved(rows: Tensor, target: Tensor) -> Tensor:
    """Least squares: weights [R] of rows [R, N] that give the target [N]."""
    return torch.linalg.solve(_normal(rows), rows @ target)


def _normal(rows: Tensor) -> Tensor:
    """Products [R, R] of rows [R, N], with a ridge that keeps them regular."""
    normal = rows @ rows.T
    ridge = 1e-9 * normal.diagonal().clamp_min(torch.finfo(rows.dtype).tiny ** 0.5)
    return normal + ridge.diag()


def _centre(weights: Tensor, width: int) -> tuple[float, float]:
    """(row, column) of the centre of weights [N], which fill lines of ``width``."""
    weights = weights.unflatten(0, (-1, width))
    total = weights.sum()
    down, right = (torch.arange(n, device=weights.device).double() for n in weights.shape)
    return (
        (weights.sum(1) @ down / total).item(),
        (weights.sum(0) @ right / total).item(),
    )

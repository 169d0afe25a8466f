"""Measures the blur (MTF) of an MS image relative to its PAN.

A sensor's MTF is known from its design; what reaches the user has been resampled, sharpened or
degraded with other filters. Classical methods that estimate the filter from the pair (Vivone et al.
2015, semiblind deconvolution) need no sensor name; here one number of it is estimated.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ksdiff.images.inputs import local_detail
from ksdiff.images.wald import degrade_pan_as_ms

_CANDIDATES = tuple(0.06 + 0.03 * step for step in range(19))  # MTF gains at Nyquist
_COMPUTED = (0.06, 0.18, 0.32, 0.46, 0.60)  # of them; between these the image is interpolated
_LEAST_CORRELATION = 0.7  # of PAN's and the bands' detail: below, they show different things
_RANGE = (0.4, 1.6)  # of the sensor's own gain, where the measurement is believed

Images = tuple[Tensor, Tensor]  # PAN [1, 1, H, W] and MS [1, C, H / ratio, W / ratio], no holes


def measured_gains(
    windows: Sequence[Images],
    gains: tuple[float, ...],
    phase: tuple[float, float],
    moved: tuple[float, float] = (0.0, 0.0),
) -> tuple[float, ...]:
    """The sensor's MTF gains at Nyquist, scaled to what the scene itself shows.

    Args:
        windows: of one scene, in any units.
        gains: of the sensor's bands; their proportions are kept.
        phase: PAN coordinate (y, x) of the centre of MS pixel (0, 0).
        moved: (dy, dx) by which PAN's content lies off the MS's, in PAN pixels.

    Returns:
        One gain a band; ``gains`` where PAN and bands are too different to measure.
    """
    measured = measured_gain(windows, phase, moved)
    if measured is None:
        return gains
    scale = measured * len(gains) / sum(gains)
    scale = min(max(scale, _RANGE[0]), _RANGE[1])
    return tuple(scale * gain for gain in gains)


def measured_gain(
    windows: Sequence[Images],
    phase: tuple[float, float],
    moved: tuple[float, float] = (0.0, 0.0),
) -> float | None:
    """The MTF gain at Nyquist that fits all bands best, from 0.06 to 0.6.

    With this gain, PAN degraded to the MS grid correlates best with the bands' local detail. It is
    the blur of the MS image relative to PAN, which detail injection needs. None where PAN and bands
    are too different to measure. Arguments as for :func:`measured_gains`.
    """
    products = energy = power = torch.zeros((), dtype=torch.float64)
    for pan, ms in windows:
        ratio = pan.shape[-1] // ms.shape[-1]
        # PAN is sampled at the MS pixels, so that both images are aliased alike.
        seen = tuple(at + off for at, off in zip(phase, moved, strict=True))
        low = degrade_pan_as_ms(pan, _COMPUTED, ratio, phase=(seen[0], seen[1]))
        low, bands = (local_detail(image)[0].flatten(1) for image in (low, ms))
        products = products + low @ bands.T
        energy = energy + low @ low.T
        power = power + bands.square().sum(1)
    mix = _interpolation().to(products.device)
    products, energy = mix @ products, ((mix @ energy) * mix).sum(1, keepdim=True)
    smallest = torch.finfo(products.dtype).tiny
    correlation = (products / (energy * power).sqrt().clamp_min(smallest)).mean(1)
    return _peak(correlation.tolist()) if correlation.max() >= _LEAST_CORRELATION else None


@lru_cache
@torch.inference_mode(False)
def _interpolation() -> Tensor:
    """[candidates, computed]: PAN through every candidate as a mix of those computed (Lagrange).

    A pixel's value is so smooth a function of the gain that a polynomial of fourth degree gives the
    measurement to a thousandth.
    """
    at, nodes = (torch.tensor(gains, dtype=torch.float64) for gains in (_CANDIDATES, _COMPUTED))
    others = ~torch.eye(len(nodes), dtype=torch.bool)
    factors = (at[:, None, None] - nodes) / torch.where(others, nodes[:, None] - nodes, 1.0)
    return torch.where(others, factors, 1.0).prod(2)


def _peak(values: list[float]) -> float:
    """The candidate with the largest value, refined by the parabola through its neighbours."""
    best = values.index(max(values))
    if best in (0, len(values) - 1):
        return _CANDIDATES[best]
    before, at, after = values[best - 1 : best + 2]
    bend = before - 2 * at + after
    offset = 0.5 * (before - after) / bend if bend else 0.0
    return _CANDIDATES[best] + offset * (_CANDIDATES[1] - _CANDIDATES[0])

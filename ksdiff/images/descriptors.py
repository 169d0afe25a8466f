"""Descriptions of a scene and its bands as numbers, for networks that take any bands."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ksdiff.images.inputs import FusionInputs, detail_on_pan, detail_slope
from ksdiff.images.sharpness import PanGain, mean_gain
from ksdiff.sensors import Wavelengths

_CENTRES = (443.0, 490.0, 560.0, 665.0, 720.0, 840.0, 1600.0)  # nm, where bands usually lie
_SPREAD = 60.0  # nm
BAND_FEATURES = 3 + len(_CENTRES) + 5
SCENE_FEATURES = 9
_LEAST = 1e-3


def band_descriptors(
    wavelengths: Sequence[Wavelengths | None],
    gains: Sequence[float],
    contrast: Tensor,
    spread: Tensor,
    correlation: Tensor,
) -> Tensor:
    """[1, C, BAND_FEATURES].

    Args:
        wavelengths: per band, its limits in nm, or None where they are not known.
        gains: [C] MTF gains at Nyquist.
        contrast: [1, C] slope of the band's detail on PAN's, see `FusionInputs`.
        spread: [1, C] standard deviation over mean.
        correlation: [1, C] of the band's detail with PAN's.
    """
    known = torch.tensor([_spectral(limits) for limits in wavelengths])[None]
    gain = (torch.tensor(gains, dtype=torch.float32)[None] - 0.3) * 5
    measured = torch.stack(
        (
            gain.to(contrast),
            (contrast / spread).clamp_min(_LEAST).log(),
            correlation,
            correlation.square(),
            (spread.clamp_min(_LEAST).log() + 1) / 2,
        ),
        -1,
    )
    return torch.cat((known.to(measured), measured), -1)


def described(
    windows: FusionInputs,
    ratio: int,
    wavelengths: Sequence[Wavelengths | None],
    gains: Sequence[float],
    pan_gain: PanGain | None,
    misregistration: float | None = None,
) -> FusionInputs:
    """Windows of one scene (the batch) with its contrast, band and scene descriptors.

    Args:
        windows: PAN equalised from ``pan_gain``; ``spread`` is the scene's.
    """
    slope, correlation = detail_on_pan(windows, ratio)
    spread = windows.known("spread")[:1]
    contrast = detail_slope(slope[None], spread)
    bands = band_descriptors(wavelengths, gains, contrast, spread, correlation[None])
    scene = scene_descriptors(ratio, pan_gain, gains, misregistration, windows.pan)

    def everywhere(part: Tensor) -> Tensor:
        # A product with an expanded tensor is batched, and the last bit of MKL's batched products
        # depends on where the weights lie.
        return part.expand(len(windows.pan), *part.shape[1:]).contiguous()

    return windows._replace(
        contrast=everywhere(contrast), descriptors=everywhere(bands), scene=everywhere(scene)
    )


def _spectral(limits: Wavelengths | None) -> list[float]:
    if limits is None:
        return [0.0] * (3 + len(_CENTRES))
    centre, width = sum(limits) / 2, max(limits[1] - limits[0], 1.0)
    near = [math.exp(-(((centre - at) / _SPREAD) ** 2)) for at in _CENTRES]
    return [1.0, math.log(centre / 650), math.log(width / 60), *near]


def scene_descriptors(
    ratio: int,
    pan_gain: PanGain | None,
    gains: Sequence[float],
    misregistration: float | None,
    pan: Tensor,
) -> Tensor:
    """[1, SCENE_FEATURES].

    Args:
        pan_gain: how sharp PAN was before it was equalised; None: not known.
        gains: [C] MTF gains of the bands.
        misregistration: what may be left of it, in PAN pixels; None: not known.
        pan: [K, 1, H, W] windows of PAN, equalised and standardised.
    """
    number = pan_gain if isinstance(pan_gain, float) else None
    told = torch.tensor(
        [
            math.log2(ratio) - 1.5,
            float(pan_gain is not None),
            0.0 if number is None else math.log(number / 0.15),
            float(pan_gain == "bicubic"),
            (mean_gain(gains) - 0.3) * 5,
            math.log(len(gains)) - 1.2,
            0.0 if misregistration is None else min(misregistration, 1.0),
        ]
    )
    return torch.cat((told.to(pan), _octaves(pan).to(pan)))[None]


def _octaves(pan: Tensor) -> Tensor:
    """Logarithms [2] of PAN's variation in an octave relative to the next coarser one."""
    energies = []
    for _ in range(3):
        mean = F.avg_pool2d(pan, 3, stride=1)
        square = (pan[..., 1:-1, 1:-1] - mean).square()
        # In float32 the sum would depend on the number of threads.
        energies.append(square.mean(dtype=torch.float64) + 1e-6)
        pan = F.avg_pool2d(pan, 2)
    finest, middle, coarse = energies
    return torch.stack((finest / middle, middle / coarse)).log() / 2

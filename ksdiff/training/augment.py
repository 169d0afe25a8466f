"""Training samples: a random crop of a pair, varied as sensors and deliveries vary."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ksdiff.config import DataConfig
from ksdiff.images.expansion import expand
from ksdiff.images.inputs import FusionInputs, SceneStatistics, fusion_inputs
from ksdiff.images.translation import shift
from ksdiff.images.wald import degrade_ms
from ksdiff.training.pairs import TruthPair

_MOST_HAZE = 0.4  # of the band mean, added to a band: path radiance, black-level offsets
_MOST_CLEARED = 0.8  # of a crop's darkest value, taken away: haze-free scenes have more contrast
_MOST_SHARPENED = 1.2  # beyond it a truth's noise is what grows


class Sample(NamedTuple):
    inputs: FusionInputs
    gt: Tensor  # [B, C, S, S] divided by the band means, as lms is


def collate(samples: list[Sample]) -> Sample:
    inputs = FusionInputs.joined(sample.inputs for sample in samples)
    return Sample(inputs, torch.cat([sample.gt for sample in samples]))


def sample(pair: TruthPair, config: DataConfig, bands: int, rng: np.random.Generator) -> Sample:
    """One crop of ``pair`` as network inputs and truth, batch 1.

    The truth is degraded afresh with jittered MTF gains, or the delivered MS is used where there
    is one (``delivered_share`` of the time). A pair of another band count is mixed to ``bands``
    bands.
    """
    ratio, size = pair.ratio, config.crop
    rows, columns = (
        int(rng.integers((side - size) // ratio + 1)) * ratio for side in pair.gt.shape[-2:]
    )
    window = (..., slice(rows, rows + size), slice(columns, columns + size))
    variant = int(rng.integers(len(pair.pans)))
    gt, pan, statistics = (
        pair.gt[window],
        pair.pans[variant : variant + 1][window],
        pair.statistics[variant],
    )
    if config.detail_gain:
        least, most = config.detail_gain
        wanted = rng.uniform(least, most) / max(pair.detail_gains[variant], 0.1)
        gt = _sharpened(gt, pair.gains, ratio, min(max(wanted - 1, 0.0), _MOST_SHARPENED))
    jitter = config.shift_jitter
    if pair.ms is not None and rng.random() < config.delivered_share:
        top, left, side = rows // ratio, columns // ratio, size // ratio
        ms, phase = pair.ms[..., top : top + side, left : left + side], pair.phase
    else:
        jittered = np.array(pair.gains) + rng.uniform(-config.gain_jitter, config.gain_jitter)
        # The MS may be off as well as PAN; then PAN is right, and the truth goes with it.
        moved = shift(gt, *rng.normal(0, jitter, 2).round(2))
        ms, phase = degrade_ms(moved, jittered.round(2).clip(0.1, 0.5).tolist(), ratio), None
    gains = pair.gains
    if gt.shape[1] != bands:
        mix = torch.from_numpy(rng.dirichlet((0.5,) * gt.shape[1], bands)).float()
        contrast = statistics.contrast @ mix.T  # a slope: linear in the band
        mix = mix / statistics.ms_mean
        gt, ms = (torch.einsum("dc,bchw->bdhw", mix, image) for image in (gt, ms))
        statistics = statistics._replace(
            ms_mean=torch.ones_like(contrast), contrast=contrast, spread=contrast
        )
        gains = (float(np.mean(gains)),) * bands
    haze = config.haze * _haze(gt, statistics, rng)
    gt, ms = gt + haze[..., None, None], ms + haze[..., None, None]
    hazy = statistics.ms_mean + haze
    contrast = statistics.contrast * statistics.ms_mean / hazy
    statistics = _jittered(statistics._replace(ms_mean=hazy, contrast=contrast), config, rng)
    pan = shift(pan, *rng.normal(0, jitter, 2).round(2))
    turn = int(rng.integers(8))
    pan, ms, gt = (turned(image, turn) for image in (pan, ms, gt))
    phase = _turned_phase(phase or (ratio // 2, ratio // 2), ratio, turn)
    inputs = fusion_inputs(pan, ms, gains, ratio, phase, statistics)
    return Sample(inputs, gt / statistics.ms_mean[..., None, None])


def _sharpened(gt: Tensor, gains: tuple[float, ...], ratio: int, amount: float) -> Tensor:
    """The truth with its detail beyond the MS grid strengthened by 1 + ``amount``."""
    low = expand(degrade_ms(gt, gains, ratio), ratio, None, "reflect")
    return (gt + amount * (gt - low)).clamp_min(0)


def _haze(gt: Tensor, statistics: SceneStatistics, rng: np.random.Generator) -> Tensor:
    """An offset [1, C] in DN for each band: more haze, or less than the scene has."""
    amount = torch.from_numpy(rng.random((1, gt.shape[1]))).float()
    if rng.random() < 0.5:
        return -_MOST_CLEARED * amount * gt.amin((2, 3)).clamp_min(0)
    return _MOST_HAZE * amount * statistics.ms_mean


def _jittered(
    statistics: SceneStatistics, config: DataConfig, rng: np.random.Generator
) -> SceneStatistics:
    amount = config.radiometric_jitter
    scaled = (
        value * torch.from_numpy(rng.uniform(1 - amount, 1 + amount, value.shape)).float()
        for value in statistics
    )
    return SceneStatistics(*scaled)


def turned(image: Tensor, turn: int) -> Tensor:
    """One of the eight flips and rotations, 0 to 7, of [..., H, W]."""
    if turn & 1:
        image = image.flip(-2)
    if turn & 2:
        image = image.flip(-1)
    return image.transpose(-1, -2) if turn & 4 else image


def _turned_phase(phase: tuple[float, float], ratio: int, turn: int) -> tuple[float, float]:
    """The decimation phase of a turned image."""
    y, x = phase
    y = ratio - 1 - y if turn & 1 else y
    x = ratio - 1 - x if turn & 2 else x
    return (x, y) if turn & 4 else (y, x)

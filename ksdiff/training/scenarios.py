"""Training samples for any bands at any ratio: which bands, what PAN, how sharp, at what ratio."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ksdiff.images.descriptors import band_descriptors, scene_descriptors
from ksdiff.images.expansion import expand
from ksdiff.images.inputs import FusionInputs, SceneStatistics, detail_slope, standardised
from ksdiff.images.mtf import MTF_TAPS, mtf_filters
from ksdiff.images.polyphase import decimate_axis
from ksdiff.images.sharpness import EQUALISER_HALF, PanGain, equaliser_taps, mean_gain
from ksdiff.images.translation import SHIFT_HALF_WIDTH, shift_taps
from ksdiff.sensors import Wavelengths
from ksdiff.training.augment import Sample, turned
from ksdiff.training.sources import Moments, Source

RATIOS = (2, 3, 4, 5, 6, 7, 8)
_RATIO_SHARES = (0.24, 0.12, 0.34, 0.08, 0.1, 0.05, 0.07)
_CROPS = {2: 64, 3: 72, 4: 64, 5: 80, 6: 72, 7: 56, 8: 64}  # PAN pixels, multiples of 8 and ratio
_COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 10)  # bands
_COUNT_SHARES = (0.05, 0.05, 0.12, 0.3, 0.06, 0.1, 0.08, 0.18, 0.06)
_UNKNOWN = 0.2  # share of samples whose wavelengths, or PAN's sharpness, are not told
_MIXED = 0.25  # share of samples whose bands are smooth mixtures of the image's
_SUMMED = 0.25  # share of samples of pairs whose PAN is a sum of bands all the same
_SWIR = 1300.0  # nm: beyond, no PAN sees
_MOST_HAZE = 0.4  # of the band mean
_MOST_CLEARED = 0.8  # of the darkest value


@dataclass(frozen=True)
class Scenario:
    """What the samples of a batch share, so that they can be one tensor."""

    bands: int
    ratio: int

    @property
    def crop(self) -> int:
        return _CROPS[self.ratio]

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Scenario:
        count = rng.choice(_COUNTS, p=np.array(_COUNT_SHARES) / sum(_COUNT_SHARES))
        ratio = rng.choice(RATIOS, p=np.array(_RATIO_SHARES) / sum(_RATIO_SHARES))
        return cls(int(count), int(ratio))


class _Drawn(NamedTuple):
    """One sample before what is done to whole batches."""

    gt: Tensor  # [1, C, S, S] DN
    pan: Tensor  # [1, 1, S, S] DN
    gains: tuple[float, ...]  # [C] MTF gains of the bands, as told
    statistics: SceneStatistics
    descriptors: Tensor
    had: float | None  # gain that ``pan`` has, where it is still to be blurred
    gain: PanGain | None  # that it is to have
    told: PanGain | None  # that the network is told
    sigma: float  # PAN pixels by which PAN is off
    misregistration: float | None  # that the network is told


class Scenarios:
    """Draws samples from sources.

    Args:
        as_delivered: with the bands and the PAN that sources have, and what is known of them told.
    """

    def __init__(self, sources: Sequence[Source], as_delivered: bool = False) -> None:
        self.sources, self.as_delivered = list(sources), as_delivered
        areas = np.array([s.bands.shape[-2] * s.bands.shape[-1] for s in self.sources], float)
        # Pairs show what PANs are like; there are fewer of them.
        paired = np.array([4.0 if s.pans is not None else 1.0 for s in self.sources])
        # Images of one place show less than as many of different places.
        places = Counter(s.group for s in self.sources)
        alike = np.array([places[s.group] for s in self.sources])
        self.weights = (areas / alike) ** 0.5 * paired

    def batch(
        self, scenario: Scenario, turn: int, centred: bool, rngs: Sequence[np.random.Generator]
    ) -> Sample:
        """A crop for each generator as network inputs and truth: [len(rngs), ...].

        Args:
            turn: 0 to 7, one of the eight flips and rotations.
            centred: MS pixels in the middle of their PAN pixels, else at Wald's phase.
        """
        drawn = [self._draw(scenario, rng) for rng in rngs]
        ratio = scenario.ratio
        gt = turned(torch.cat([one.gt for one in drawn]), turn)
        pan = turned(torch.cat([one.pan for one in drawn]), turn)
        phase = (ratio - 1) / 2 if centred else float(ratio // 2)
        true_gains = [
            [float(g) for g in (np.array(one.gains) + rng.uniform(-0.05, 0.05)).clip(0.08, 0.6)]
            for one, rng in zip(drawn, rngs, strict=True)
        ]
        ms = _noisy(_seen_by_ms(gt, true_gains, ratio, phase, rngs), rngs)
        pan = _equalised(_noisy(pan, rngs), drawn, ratio, rngs)
        statistics = SceneStatistics(
            *(torch.cat(parts) for parts in zip(*(one.statistics for one in drawn), strict=True))
        )
        pan = standardised(pan, statistics)
        profiles = _profiles([one.gains for one in drawn], ratio)
        many = pan.expand(-1, scenario.bands, -1, -1)
        low = _filtered(many, profiles, profiles, -(MTF_TAPS // 2) + ratio // 2, ratio)
        inputs = FusionInputs(
            pan=pan,
            pan_low=expand(low, ratio, None, "reflect"),
            lms=expand(ms / statistics.ms_mean[..., None, None], ratio, (phase,) * 2, "reflect"),
            contrast=statistics.contrast,
            spread=statistics.spread,
            descriptors=torch.cat([one.descriptors for one in drawn]),
            scene=torch.cat(
                [
                    scene_descriptors(
                        ratio, one.told, one.gains, one.misregistration, pan[i : i + 1]
                    )
                    for i, one in enumerate(drawn)
                ]
            ),
        )
        return Sample(inputs, gt / statistics.ms_mean[..., None, None])

    def _draw(self, scenario: Scenario, rng: np.random.Generator) -> _Drawn:
        source, moments = self._source(scenario, rng)
        vary = not self.as_delivered
        mix, wavelengths = torch.eye(len(source.bands)), source.wavelengths
        if vary:
            mix, wavelengths = _bands(source, scenario.bands, rng)
        gains = tuple(round(float(g), 2) for g in mix @ torch.tensor(source.gains) / mix.sum(1))
        gain = mean_gain(gains)
        size, count = scenario.crop, len(source.bands)
        top, left = (int(rng.integers(side - size + 1)) for side in source.bands.shape[-2:])
        window = (..., slice(top, top + size), slice(left, left + size))
        gt = torch.einsum("cn,nhw->chw", mix, source.bands[window])[None]
        whole = torch.zeros(len(mix) + 1, len(moments.mean))
        whole[:-1, :count] = mix
        had: float | None = None
        told: PanGain | None
        if source.pans is None or (vary and rng.random() < _SUMMED):
            whole[-1, :count] = response = _response(source, rng)
            if source.crisp is not None and rng.random() < 0.4:
                images, told = source.crisp, "bicubic"
            else:
                images, had = source.bands, gain
                told = gain
                if rng.random() < 0.75:
                    told = float(math.exp(rng.uniform(math.log(0.07), math.log(gain))))
            pan = torch.einsum("n,nhw->hw", response, images[window])[None, None]
        else:
            variant = int(rng.integers(len(source.pans)))
            pan, told = source.pans[variant][window][None, None], source.pan_gains[variant]
            whole[-1, -1] = 1
        seen = moments.mixed(whole)
        # Haze, or less of it than the scene has: an offset for every band.
        mean = seen.mean[None, :-1].float()
        haze = _haze(gt, mean, rng) if vary else torch.zeros_like(mean)
        statistics, correlation = _statistics(seen, (mean + haze).clamp_min(1e-6), rng)
        if vary and rng.random() < _UNKNOWN:
            wavelengths = (None,) * scenario.bands
        sigma = 0.25 if vary and rng.random() < 0.15 else 0.05
        return _Drawn(
            gt=(gt + haze[..., None, None]).clamp_min(0),
            pan=pan,
            gains=gains,
            statistics=statistics,
            descriptors=band_descriptors(
                wavelengths, gains, statistics.contrast, statistics.spread, correlation
            ),
            had=had,
            gain=told,
            told=None if vary and rng.random() < _UNKNOWN else told,
            sigma=sigma,
            misregistration=sigma if vary and rng.random() < 0.5 else None,
        )

    def _source(self, scenario: Scenario, rng: np.random.Generator) -> tuple[Source, Moments]:
        while True:
            fits = np.array([_fit(s, scenario.bands) for s in self.sources])
            weights = self.weights * fits
            source = self.sources[int(rng.choice(len(weights), p=weights / weights.sum()))]
            if min(source.bands.shape[-2:]) < scenario.crop:
                continue
            moments = source.moments_at(scenario.ratio)
            if moments is not None:
                return source, moments


def _fit(source: Source, bands: int) -> float:
    """Bands that an image has are worth more than mixtures of fewer."""
    return 1.0 if len(source.bands) >= bands else 0.15


def _bands(
    source: Source, count: int, rng: np.random.Generator
) -> tuple[Tensor, tuple[Wavelengths | None, ...]]:
    """Which bands: a mixing matrix [count, N], and wavelengths."""
    total = len(source.bands)
    if total >= count and total < 20 and rng.random() > _MIXED:
        chosen = np.sort(rng.choice(total, count, replace=False))
        return torch.eye(total)[chosen], tuple(source.wavelengths[i] for i in chosen)
    limits = [known for known in source.wavelengths if known is not None]
    if len(limits) < total:
        return torch.from_numpy(rng.dirichlet((0.5,) * total, count)).float(), (None,) * count
    centres = np.array(limits).mean(1)
    rows, wavelengths = [], []
    for _ in range(count):
        at = centres[rng.integers(total)] + rng.normal(0, 15)
        width = rng.uniform(20, 120)
        response = np.exp(-0.5 * ((centres - at) / (0.42 * width)) ** 2) + 1e-9
        response *= rng.uniform(0.7, 1.3, total)
        rows.append(response / response.sum())
        wavelengths.append((max(at - width / 2, 350.0), at + width / 2))
    return torch.from_numpy(np.array(rows)).float(), tuple(wavelengths)


def _response(source: Source, rng: np.random.Generator) -> Tensor:
    """A PAN's response to the bands [N]: a smooth curve over the visible, often near infrared."""
    limits = [known for known in source.wavelengths if known is not None]
    if len(limits) < len(source.bands):
        return torch.from_numpy(rng.dirichlet((3.0,) * len(source.bands))).float()
    centres = np.array(limits).mean(1)
    low, high = rng.uniform(400, 520), rng.uniform(640, 920)
    edges = 1 / (1 + np.exp(-(centres - low) / 15)) / (1 + np.exp((centres - high) / 15))
    response = edges * rng.uniform(0.5, 1.5, len(centres)) * (centres < _SWIR) + 1e-6
    response = response * np.diff(np.array(limits), axis=1)[:, 0]
    means = source.bands.flatten(1).mean(1).numpy()
    if rng.random() < 0.5:  # in reflectance-like units instead of digital numbers
        response = response / np.maximum(means, 1e-6) * means.mean()
    return torch.from_numpy(response / response.sum()).float()


def _haze(gt: Tensor, mean: Tensor, rng: np.random.Generator) -> Tensor:
    """An offset [1, C] in DN for each band: more haze, or less than the scene has."""
    amount = torch.from_numpy(rng.random((1, gt.shape[1]))).float()
    if rng.random() < 0.5:
        return -_MOST_CLEARED * amount * torch.minimum(gt.amin((2, 3)), 0.9 * mean).clamp_min(0)
    return _MOST_HAZE * amount * mean


def _seen_by_ms(
    gt: Tensor,
    gains: Sequence[Sequence[float]],
    ratio: int,
    phase: float,
    rngs: Sequence[np.random.Generator],
) -> Tensor:
    """[B, C, S / ratio, S / ratio]: every band through its own MTF; each sample a little off."""
    profiles = _profiles(gains, ratio).reshape(len(gt), -1, MTF_TAPS)
    axes = []
    for _ in range(2):
        rows = []
        for sample, rng in zip(profiles.numpy(), rngs, strict=True):
            moving, first = shift_taps(ratio // 2 - phase + float(rng.normal(0, 0.05)))
            rows.append(_aligned([np.convolve(row, moving) for row in sample], first))
        axes.append(torch.from_numpy(np.concatenate(rows)).float())
    down, right = axes
    return _filtered(gt, down, right, _FIRST_SHIFT - MTF_TAPS // 2 + ratio // 2, ratio)


_FIRST_SHIFT = -SHIFT_HALF_WIDTH - 2  # earliest tap of a shift by less than two pixels
_SHIFT_TAPS = 2 * SHIFT_HALF_WIDTH + 5


def _aligned(rows: list[np.ndarray], first: int) -> np.ndarray:
    """Filters that begin at tap ``first`` padded to begin at a common one and be equally long."""
    before = first - _FIRST_SHIFT
    length = MTF_TAPS + _SHIFT_TAPS - 1
    return np.stack([np.pad(row, (before, length - before - len(row))) for row in rows])


def _profiles(gains: Sequence[Sequence[float]], ratio: int) -> Tensor:
    """MTF filters [B * C, taps] of gains [B][C]."""
    flat = tuple(round(gain, 2) for sample in gains for gain in sample)
    return mtf_filters(flat, ratio, torch.float32, torch.device("cpu")).per_band()


def _equalised(
    pan: Tensor, drawn: list[_Drawn], ratio: int, rngs: Sequence[np.random.Generator]
) -> Tensor:
    """PANs blurred to the gain drawn, moved a little, and brought to the bands' sharpness as far as
    theirs is told; one filter an axis."""
    axes = []
    for _ in range(2):
        rows = []
        for one, rng in zip(drawn, rngs, strict=True):
            wanted = mean_gain(one.gains)
            taps = np.array(equaliser_taps(one.told, wanted, ratio))
            if one.had is not None:
                assert isinstance(one.gain, float)
                taps = np.convolve(taps, equaliser_taps(one.had, one.gain, ratio))
            else:
                taps = np.pad(taps, EQUALISER_HALF)
            moving, first = shift_taps(float(rng.normal(0, one.sigma)))
            taps = np.convolve(taps, moving)
            before = first - _FIRST_SHIFT
            length = 4 * EQUALISER_HALF + _SHIFT_TAPS
            rows.append(np.pad(taps, (before, length - before - len(taps))))
        axes.append(torch.from_numpy(np.stack(rows)).float())
    down, right = axes
    return _filtered(pan, down, right, _FIRST_SHIFT - 2 * EQUALISER_HALF, 1)


def _filtered(x: Tensor, down: Tensor, right: Tensor, start: int, stride: int) -> Tensor:
    """x [B, C, H, W], each of its B * C planes through taps [B * C, K] of its own."""
    planes = x.reshape(1, -1, *x.shape[-2:])
    for dim, taps in ((-2, down), (-1, right)):
        planes = decimate_axis(planes, dim, taps, start, stride, "reflect")
    return planes.reshape(*x.shape[:2], *planes.shape[-2:])


def _noisy(image: Tensor, rngs: Sequence[np.random.Generator]) -> Tensor:
    """With noise up to 3 % of the variation, in three samples of ten."""
    share = torch.tensor([rng.uniform(0, 0.03) * (rng.random() < 0.3) for rng in rngs])
    noise = np.stack([rng.standard_normal(image.shape[1:], dtype=np.float32) for rng in rngs])
    sigma = share.float()[:, None, None, None] * image.std((-1, -2), keepdim=True)
    return image + sigma * torch.from_numpy(noise)


def _statistics(
    seen: Moments, ms_mean: Tensor, rng: np.random.Generator
) -> tuple[SceneStatistics, Tensor]:
    """Of the whole scene, jittered; and the correlation [1, C] of the bands' detail with PAN's."""
    deviation = seen.covariance.diagonal().clamp_min(1e-12).sqrt().float()
    detail = seen.detail
    power = detail.diagonal().clamp_min(1e-12)
    correlation = (detail[:-1, -1] / (power[:-1] * power[-1]).sqrt()).float()[None]
    spread = (deviation[None, :-1] / ms_mean).clamp_min(1e-3)
    slope = (detail[:-1, -1] / power[-1]).float()[None] * deviation[-1] / ms_mean
    jitter = lambda value: value * torch.from_numpy(rng.uniform(0.95, 1.05, value.shape)).float()  # noqa: E731
    statistics = SceneStatistics(
        ms_mean=jitter(ms_mean),
        contrast=jitter(detail_slope(slope, spread)),
        pan_mean=seen.mean[-1:].float()[None],
        pan_std=jitter(deviation[None, -1:]),
        spread=jitter(spread),
    )
    return statistics, correlation

"""Digital numbers to normalised network inputs, independent of sensor and gain, and back."""

import functools
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ksdiff.images.expansion import expand
from ksdiff.images.mtf import MTFFilters
from ksdiff.images.wald import pan_lowpass

_LEAST_SPREAD = 1e-3  # of the mean: a constant image has no contrast, but must not divide by zero
_DETAIL_WINDOW = 5  # MS pixels: what varies within it is detail
_CONTRAST_RANGE = (0.2, 3.0)  # of the ratio of standard deviations, where a regression is trusted


class FusionInputs(NamedTuple):
    """Normalised tensors of one window, or of a batch of windows.

    Digital numbers differ between sensors by factors and offsets; what a network learns about
    detail should not. Each MS band is divided by its scene mean, and PAN is standardised, so that
    ``1 + contrast * pan`` is PAN matched to a band in mean and strength of detail (where the
    histogram matching of the classical methods matches mean and standard deviation).
    """

    pan: Tensor  # [B, 1, H, W] (PAN - mean) / std, both of the low-passed PAN of the scene
    pan_low: Tensor  # [B, C, H, W] PAN through each band's MTF and back, in the same units
    lms: Tensor  # [B, C, H, W] expanded MS divided by each band's scene mean
    contrast: Tensor  # [B, C] a band's detail (in units of its mean) per detail of ``pan_low``
    # For networks that take any bands:
    spread: Tensor | None = None  # [B, C] a band's standard deviation over its mean
    descriptors: Tensor | None = None  # [B, C, D] what is known of each band
    scene: Tensor | None = None  # [B, S] what is known of the scene

    def cropped(self, window: tuple) -> "FusionInputs":
        """The part of the images that ``window`` indexes."""
        return FusionInputs._make((*(image[window] for image in self[:3]), *self[3:]))

    def first(self) -> "FusionInputs":
        """The first of the batch."""
        return self.map(lambda part: part[:1])

    def map(self, function: Callable[[Tensor], Tensor]) -> "FusionInputs":
        """``function`` of every tensor."""
        return FusionInputs._make(None if part is None else function(part) for part in self)

    @classmethod
    def joined(cls, several: Iterable["FusionInputs"]) -> "FusionInputs":
        """One batch of several."""
        columns = zip(*several, strict=True)
        return cls._make(None if parts[0] is None else torch.cat(parts) for parts in columns)

    def known(self, name: Literal["spread", "descriptors", "scene"]) -> Tensor:
        """A field that networks for any bands need; ValueError where it is not given."""
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"inputs: a network for any bands needs {name}, got none")
        return value


class SceneStatistics(NamedTuple):
    """Means and standard deviations in DN, of whole scenes (B of them, mostly one).

    PAN's are those of PAN averaged over MS pixels, so that both images show the same detail.
    """

    ms_mean: Tensor  # [B, C]
    contrast: Tensor  # [B, C] see FusionInputs; at first a band's standard deviation over its mean
    pan_mean: Tensor  # [B, 1]
    pan_std: Tensor  # [B, 1]
    spread: Tensor  # [B, C] a band's standard deviation over its mean

    @classmethod
    def of(cls, pan: Tensor, ms: Tensor, valid: Tensor | None = None) -> "SceneStatistics":
        """Of pan [1, H, W] and ms [C, h, w]; ``valid`` [h, w] marks the MS pixels that count."""
        moments = SceneMoments()
        moments.update(pan, ms, valid)
        return moments.statistics()


class SceneMoments:
    """Accumulates a scene's statistics window by window, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.total = torch.zeros((), dtype=torch.float64)
        self.squares = torch.zeros((), dtype=torch.float64)

    def update(self, pan: Tensor, ms: Tensor, valid: Tensor | None = None) -> None:
        """Add a window: pan [1, H, W], ms [C, h, w], ``valid`` [h, w] bool or None for all."""
        ratio = pan.shape[-1] // ms.shape[-1]
        values = torch.cat((ms.double(), F.avg_pool2d(pan.double(), ratio))).flatten(1)
        if valid is not None:
            values = values[:, valid.flatten()]
        self.count += values.shape[1]
        self.total = self.total + values.sum(1)
        self.squares = self.squares + values.square().sum(1)

    def add(self, other: "SceneMoments") -> None:
        """Add the sums over other windows."""
        self.count += other.count
        self.total = self.total + other.total
        self.squares = self.squares + other.squares

    def statistics(self) -> SceneStatistics:
        if not self.count:
            raise ValueError("statistics: expected at least one valid pixel, got none")
        mean = self.total / self.count
        std = (self.squares / self.count - mean**2).clamp_min(0).sqrt()
        scale = torch.where(mean > 0, mean, 1.0)
        std = torch.maximum(std, _LEAST_SPREAD * scale)
        mean, scale, std = mean.float()[None], scale.float()[None], std.float()[None]
        spread = std[:, :-1] / scale[:, :-1]
        return SceneStatistics(scale[:, :-1], spread, mean[:, -1:], std[:, -1:], spread)


def fusion_inputs(
    pan: Tensor,
    ms: Tensor,
    gains: tuple[float, ...] | MTFFilters,
    ratio: int,
    phase: tuple[float, float] | None,
    statistics: SceneStatistics,
    boundary: str = "reflect",
) -> FusionInputs:
    """Normalise pan [B, 1, H, W] and ms [B, C, h, w] (DN) with their scenes' statistics.

    ``gains`` are the MS bands' MTF gains at Nyquist or the filters made of them, ``phase`` the PAN
    pixel at the centre of the first MS pixel (None: the toolbox's), as in
    :func:`ksdiff.images.expansion.expand`.
    """
    mean = statistics.ms_mean[..., None, None]
    pan = standardised(pan, statistics)
    return FusionInputs(
        pan=pan,
        pan_low=pan_lowpass(pan, gains, ratio, boundary),
        lms=expand(ms / mean, ratio, phase, boundary),
        contrast=statistics.contrast,
        spread=statistics.spread,
    )


def standardised(pan: Tensor, statistics: SceneStatistics) -> Tensor:
    """PAN [B, 1, H, W], DN, standardised by its scene's mean and standard deviation."""
    return (pan - statistics.pan_mean[..., None, None]) / statistics.pan_std[..., None, None]


def scene_inputs(
    pan: Tensor,
    ms: Tensor,
    gains: tuple[float, ...],
    ratio: int,
    phase: tuple[float, float] | None,
    boundary: str = "reflect",
) -> tuple[FusionInputs, SceneStatistics]:
    """A whole scene, pan [1, 1, H, W] and ms [1, C, h, w], as network inputs; its statistics."""
    statistics = SceneStatistics.of(pan[0], ms[0])
    inputs = fusion_inputs(pan, ms, gains, ratio, phase, statistics, boundary)
    contrast = detail_contrast(inputs, ratio)
    return inputs._replace(contrast=contrast), statistics._replace(contrast=contrast)


def detail_contrast(inputs: FusionInputs, ratio: int) -> Tensor:
    """The contrast [1, C] that a scene's own detail shows, from windows of it (the batch).

    The slope of each band on the low-passed PAN, both less their means over 5 x 5 MS pixels. Over
    whole scenes, bands and PAN vary for different reasons (fields, water, shadow), so the ratio of
    standard deviations says little about a band's share of PAN's detail; the slope between
    neighbours does. It is clamped to 0.2 to 3 times that ratio, which replaces it where PAN has no
    detail.
    """
    slope, _ = detail_on_pan(inputs, ratio)
    return detail_slope(slope, inputs.contrast[0])[None]


def detail_on_pan(inputs: FusionInputs, ratio: int) -> tuple[Tensor, Tensor]:
    """Slope [C] of each band's detail on the low-passed PAN's, NaN where PAN has none, and their
    correlation [C]; from windows of a scene (the batch)."""
    lms, low = (
        local_detail(image[..., ::ratio, ::ratio]).float() for image in (inputs.lms, inputs.pan_low)
    )
    power = low.square().sum((0, 2, 3))
    product = (lms * low).sum((0, 2, 3))
    smallest = torch.finfo(low.dtype).tiny
    slope = torch.where(power > 0, product / power.clamp_min(smallest), torch.nan)
    own = lms.square().sum((0, 2, 3))
    return slope, product / (own * power).sqrt().clamp_min(smallest)


def detail_slope(slope: Tensor, spread: Tensor) -> Tensor:
    """A measured slope clamped to 0.2 to 3 times the ratio of standard deviations; the ratio itself
    where there is no slope (NaN)."""
    least, most = (factor * spread for factor in _CONTRAST_RANGE)
    return torch.where(slope.isnan(), spread, slope.clamp(least, most))


def local_detail(image: Tensor) -> Tensor:
    """Local detail of an image [B, C, h, w] on the MS grid: the image less its 5 x 5 means, without
    the border, [B, C, h - 4, w - 4] in float64."""
    sums = coarse = image.double()
    for dim in (-2, -1):  # pooling takes twice as long
        count = sums.shape[dim] - _DETAIL_WINDOW + 1
        parts = [sums.narrow(dim, start, count) for start in range(_DETAIL_WINDOW)]
        sums = functools.reduce(torch.add, parts)
    half = _DETAIL_WINDOW // 2
    inner = (..., slice(half, -half), slice(half, -half))
    return coarse[inner] - sums / _DETAIL_WINDOW**2


def to_dn(fused: Tensor, statistics: SceneStatistics, overwrite: bool = False) -> Tensor:
    """Fused [B, C, H, W] from units of the band means to DN, in its own memory or in new one."""
    mean = statistics.ms_mean[..., None, None]
    return fused.mul_(mean) if overwrite else fused * mean

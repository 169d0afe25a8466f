"""What weights for a fixed number of bands learn from a scene, and are judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ksdiff.config import Config, DataConfig
from ksdiff.errors import KSDiffError
from ksdiff.images.inputs import FusionInputs, scene_inputs
from ksdiff.images.pair import Pair
from ksdiff.images.wald import back_project
from ksdiff.inference.scene import PreparedScene
from ksdiff.metrics import sam
from ksdiff.models.ksdiff import KSDiff
from ksdiff.sensors import Sensor
from ksdiff.training.augment import Sample, collate, sample
from ksdiff.training.pairs import TruthPair, degraded_pair, halved_pair, without_bicubic
from ksdiff.training.stages import l1_within

MARGIN = 8  # pixels at a rim that do not count
_SIDE = 512  # PAN pixels of a window to learn from
_LEAST_SIDE = 256  # PAN pixels: degraded, a quarter of it; less holds no crop
_LEAST_HALVED = 64  # pixels of a truth that was halved
_BATCH = 4
_FULL_WEIGHT = 0.1  # of the full-resolution loss


class Miss(NamedTuple):
    """What fused images lack beside their truths."""

    detail: float  # the part of the truths' detail that is not there, whatever its strength
    angle: float  # mean spectral angle, degrees

    @property
    def product(self) -> float:
        """One number; of a single band, which has no angle, the detail alone."""
        return self.detail * (self.angle or 1.0)

    @classmethod
    def mean(cls, found: Sequence[tuple[float, float]]) -> Miss:
        """Of what `missed` gives for each of several images."""
        detail, angle = np.mean(found, 0)
        return cls(float(detail**0.5), float(angle))

    def improves_on(self, other: Miss, least: float) -> bool:
        """Whether neither is worse and the product is less by the share ``least``."""
        neither = self.detail <= other.detail and self.angle <= other.angle
        return neither and self.product < (1 - least) * other.product


class Lessons(Protocol):
    """A scene to learn from: first it degraded and halved, then it degraded."""

    least_gain: float  # of the error, in the trial: less is chance, or lost at the next scale
    taken: float  # the share of what was learnt that is taken over

    @property
    def pixels(self) -> int:
        """Of the truths that crops are taken from now."""
        ...

    def show_whole(self) -> None:
        """Take crops of the degraded scene, no longer of it at half its resolution."""
        ...

    def loss(self, model: KSDiff, generator: torch.Generator) -> Tensor:
        """Of a batch of crops; ``generator`` makes the noise of the priors."""
        ...

    def miss(self, model: KSDiff) -> Miss:
        """Of the model on the degraded scene, fused as inference fuses."""
        ...


def missed(fused: Tensor, truth: Tensor, lms: Tensor) -> tuple[float, float]:
    """The share [0, 1] of the variance of truth - lms that no multiple, band by band, of fused -
    lms explains; and the spectral angle. Images [1, C, H, W]; a rim does not count."""
    inner = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    fused, truth, lms = (image[inner] for image in (fused, truth, lms))
    alike = F.cosine_similarity((fused - lms).flatten(2), (truth - lms).flatten(2), -1)
    return 1 - alike.square().mean().item(), sam(fused, truth).mean().item()


class FixedBandLessons:
    """Training crops of a scene, degraded and at full resolution, and the crops that judge."""

    least_gain = 0.01
    taken = 1.0

    def __init__(
        self,
        pair: Pair,
        sensor: Sensor,
        registration: str,
        config: Config,
        seed: int,
        device: torch.device,
    ) -> None:
        windows, gains = _windows(pair, sensor, registration)
        self.rng = np.random.default_rng(seed)
        self.config, self.gains, self.ratio, self.device = config, gains, pair.ratio, device
        self.bands, self.phase = pair.bands, pair.phase
        self.whole = [_lesson(window, pair.phase, gains, config.data) for window in windows]
        self.judging = [sample for one in self.whole for sample in self._judged(one)]
        self.full = [
            (scene_inputs(*window, gains, pair.ratio, pair.phase), window[1]) for window in windows
        ]
        self.show([_as_trained(halved_pair(one), config.data) for one in self.whole])

    @property
    def pixels(self) -> int:
        return sum(one.gt[0, 0].numel() for one in self.pairs)

    def show(self, pairs: list[TruthPair]) -> None:
        """What to take crops of the degraded scene from; at first it at half its resolution."""
        self.pairs = pairs
        side = min(min(one.gt.shape[-2:]) for one in pairs)
        self.data = DataConfig(
            crop=min(64, side // 8 * 8),
            detail_gain=self.config.data.detail_gain,
            gain_jitter=0.02,
            radiometric_jitter=0.02,
        )

    def show_whole(self) -> None:
        """See `Lessons`."""
        self.show(self.whole)

    def loss(self, model: KSDiff, generator: torch.Generator) -> Tensor:
        """See `Lessons`; at full resolution the fused image must give the MS image when degraded,
        besides."""
        batch = self.reduced()
        loss = l1_within(fused_by(model, batch.inputs, generator), batch.gt, MARGIN)
        inputs, ms = self.full_resolution()
        fused = fused_by(model, inputs, generator)
        agreed = back_project(fused, ms, self.gains, self.ratio, self.phase)
        return loss + _FULL_WEIGHT * l1_within(agreed, fused, MARGIN)

    @torch.no_grad()
    def miss(self, model: KSDiff) -> Miss:
        """See `Lessons`."""
        model.eval()
        found = []
        for inputs, gt in self.judging:
            kernels = model.estimate_kernels(inputs, torch.Generator().manual_seed(0))
            found.append(missed(model.fuse(inputs, kernels), gt, inputs.lms))
        return Miss.mean(found)

    def reduced(self) -> Sample:
        picks = self.rng.integers(len(self.pairs), size=_BATCH)
        parts = [sample(self.pairs[i], self.data, self.bands, self.rng) for i in picks]
        return moved(collate(parts), self.device)

    def full_resolution(self) -> tuple[FusionInputs, Tensor]:
        """A crop of the scene itself, and the MS under it in units of the band means."""
        (inputs, statistics), ms = self.full[int(self.rng.integers(len(self.full)))]
        side = self.data.crop
        top, left = (
            int(self.rng.integers((length - side) // self.ratio + 1)) * self.ratio
            for length in inputs.pan.shape[-2:]
        )
        window = (..., slice(top, top + side), slice(left, left + side))
        crop = inputs.cropped(window)
        coarse = (
            ...,
            slice(top // self.ratio, (top + side) // self.ratio),
            slice(left // self.ratio, (left + side) // self.ratio),
        )
        target = ms[coarse] / statistics.ms_mean[..., None, None]
        return crop.map(lambda part: part.to(self.device)), target.to(self.device)

    def _judged(self, pair: TruthPair) -> list[Sample]:
        """The square that a window holds with each of its PANs, the truth's detail at mid-range."""
        side = min(pair.gt.shape[-2:]) // 8 * 8
        gain = self.config.data.detail_gain
        steady = DataConfig(
            crop=side,
            detail_gain=(float(np.mean(gain)),) * 2 if gain else (),
            gain_jitter=0.0,
            shift_jitter=0.0,
            radiometric_jitter=0.0,
            haze=0.0,
        )
        square = (..., slice(side), slice(side))
        pairs = [replace(pair, pans=pan[None][square], gt=pair.gt[square]) for pan in pair.pans]
        samples = [sample(one, steady, self.bands, np.random.default_rng(0)) for one in pairs]
        return [moved(one, self.device) for one in samples]


def fused_by(model: KSDiff, inputs: FusionInputs, generator: torch.Generator) -> Tensor:
    """Crops fused with priors of their own, from which no gradient comes."""
    with torch.no_grad():
        condition = model.condition(inputs)
        noise = torch.randn(condition.shape, generator=generator).to(condition)
        prior = model.sample_prior(condition, noise)
    return model(inputs, prior)


def _windows(
    pair: Pair, sensor: Sensor, registration: str
) -> tuple[list[tuple[Tensor, Tensor]], tuple[float, ...]]:
    """PAN [1, 1, H, W] and MS [1, C, h, w] of a few windows far apart, registered, without holes;
    and the MTF gains that they show."""
    if min(pair.shape) < _LEAST_SIDE:
        height, width = pair.shape
        raise KSDiffError(
            f"pan and ms: {height} x {width} PAN pixels in common are too few to adapt to, "
            f"expected {_LEAST_SIDE} a side or more; sharpen with the weights as they are"
        )
    scene = PreparedScene.of(pair, sensor, registration=registration, tile=_SIDE, side=_SIDE)
    return scene.samples, scene.gains


def _lesson(
    window: tuple[Tensor, Tensor],
    phase: tuple[float, float],
    gains: tuple[float, ...],
    data: DataConfig,
) -> TruthPair:
    """A window with truth, made as the weights' training data were."""
    pair = degraded_pair("the scene", *window, phase, gains)
    if (pair.truth_gain or 1.0) < data.least_gain:
        pair = halved_pair(pair)
        if min(pair.gt.shape[-2:]) < _LEAST_HALVED:
            raise KSDiffError(
                "ms: too blurred beside PAN to learn from as it is, and the scene is too small to "
                f"be halved, expected {8 * _LEAST_HALVED} PAN pixels a side or more; sharpen with "
                "the weights as they are"
            )
    return _as_trained(pair, data)


def _as_trained(pair: TruthPair, data: DataConfig) -> TruthPair:
    return pair if data.bicubic_pan else without_bicubic(pair)


def moved(batch: Sample, device: torch.device) -> Sample:
    """On the device."""
    return Sample(batch.inputs.map(lambda part: part.to(device)), batch.gt.to(device))

"""Fine-tuning weights on the scene to be sharpened, for sensors outside the training data."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ksdiff.config import Config, DataConfig, ModelConfig
from ksdiff.errors import KSDiffError
from ksdiff.images.inputs import FusionInputs, scene_inputs
from ksdiff.images.pair import Pair
from ksdiff.images.wald import back_project
from ksdiff.inference.scene import PreparedScene
from ksdiff.io.input_options import InputOptions
from ksdiff.io.rasters import Name, open_pair
from ksdiff.metrics import sam
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import check_fit, load_weights, save_weights, weights_for
from ksdiff.sensors import Sensor, sensor_for
from ksdiff.training.augment import Sample, collate, sample
from ksdiff.training.pairs import TruthPair, degraded_pair, halved_pair, without_bicubic
from ksdiff.training.stages import l1_within

_SIDE = 512  # PAN pixels of a window to learn from
_LEAST_SIDE = 256  # PAN pixels: degraded, a quarter of it; less holds no crop
_LEAST_HALVED = 64  # pixels of a truth that was halved
_MARGIN = 8  # pixels at a rim that do not count
_BATCH = 4
_RATE = 3e-4
_AVERAGE = 0.98
_CHECK_EVERY = 25  # steps
_PATIENCE = 4  # checks without a better one
_TRIAL = 0.5  # of the time, at most, goes to learning one scale lower
_LEAST_GAIN = 0.01  # of the error: less is chance
_FULL_WEIGHT = 0.1  # of the full-resolution loss


@dataclass(frozen=True)
class Adapted:
    """What `adapt` did."""

    model: KSDiff  # the adapted one; without a gain the one that it began with
    config: Config
    before: float  # error of the weights on the lesson, see `adapt`
    after: float  # of ones that had learnt one scale lower
    kept: bool  # whether the weights were adapted
    steps: int  # all that were taken, in the trial and after it
    seconds: float

    def save(self, path: str | Path) -> None:
        """Write the weights as a .safetensors file."""
        save_weights(path, self.model, self.config)


def adapt(
    pan: Name | Sequence[Name],
    ms: Name | Sequence[Name],
    *,
    reading: InputOptions | None = None,
    weights: str | Path | None = None,
    sensor: str | None = None,
    minutes: float = 5.0,
    device: str = "cpu",
    seed: int = 0,
    step: Callable[[float, float], None] = lambda share, loss: None,
) -> Adapted:
    """Fine-tune weights on one scene.

    Two losses: at reduced resolution, where the MS image is the truth, its detail strengthened to
    the range of the weights' training (``data.detail_gain``); and at full resolution, where the
    fused image must give the MS image when degraded. Whether that helps is tried one scale lower
    first, in half the time at most: the weights learn from the lesson at half its resolution and
    are judged on the lesson, by what they miss of its detail, whatever its strength, times the
    spectral angle. If that error does not fall by 1 %, the weights stay
    as they were; otherwise they begin again and learn from the lesson, in as
    many rounds of it as were best in the trial. They then add the whole residual, whatever share
    the first ones held back.

    Args:
        pan, ms, reading, sensor, device: as for `Sharpener.sharpen_files`.
        weights: to begin with; chosen by band count and ratio if left out.
        minutes: the most to spend; it ends earlier when the trial gains no more.
        step: called with the share of the time spent and the error, at every check; after the
            trial with what it was at its best.

    Raises:
        KSDiffError: bad input, a scene under 256 PAN pixels, no weights.
    """
    if minutes <= 0:
        raise KSDiffError(f"minutes: expected more than 0, got {minutes}")
    began = time.monotonic()
    with open_pair(pan, ms, reading) as pair:
        name = weights or weights_for(pair.bands, pair.ratio)
        model, config = load_weights(name)
        check_fit(name, model.config, pair.bands, pair.ratio)
        if model.any_bands:
            raise KSDiffError(
                f"weights {name}: those for any bands do not adapt to a scene; sharpen with them "
                "as they are, or adapt weights for the scene's band count"
            )
        windows, gains = _windows(pair, sensor_for(sensor, pair.bands, pair.ratio))
    lessons = _Lessons(windows, gains, pair, config, seed, torch.device(device))
    model = model.to(device)
    clock = _Clock(began, 60 * minutes, step)
    best_steps, before, after, steps = _trial(model, lessons, clock)
    kept = after < (1 - _LEAST_GAIN) * before
    adapted = model
    if kept:
        rounds = best_steps / lessons.pixels
        lessons.show(lessons.whole)
        adapted, taken = _learn(model, lessons, clock, round(rounds * lessons.pixels), after)
        steps += taken
        config = replace(config, model=_at_full_strength(config.model))
    return Adapted(adapted, config, before, after, kept, steps, time.monotonic() - began)


class _Lessons:
    """Training crops of a scene, degraded and at full resolution, and the crops that judge."""

    def __init__(
        self,
        windows: list[tuple[Tensor, Tensor]],
        gains: tuple[float, ...],
        pair: Pair,
        config: Config,
        seed: int,
        device: torch.device,
    ) -> None:
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

    def reduced(self) -> Sample:
        picks = self.rng.integers(len(self.pairs), size=_BATCH)
        parts = [sample(self.pairs[i], self.data, self.bands, self.rng) for i in picks]
        return _moved(collate(parts), self.device)

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
        return [_moved(one, self.device) for one in samples]


class _Clock:
    """The share of the time that is spent, and its progress callback."""

    def __init__(self, began: float, seconds: float, step: Callable[[float, float], None]) -> None:
        self.began, self.seconds, self.step = began, seconds, step

    @property
    def share(self) -> float:
        return (time.monotonic() - self.began) / self.seconds

    def tell(self, loss: float) -> None:
        self.step(min(self.share, 1.0), loss)


class _Learner:
    """A copy of the model in training, and its moving average, which is used."""

    def __init__(self, model: KSDiff, lessons: _Lessons) -> None:
        self.lessons, self.generator = lessons, torch.Generator().manual_seed(0)
        # As it will be used: in training mode the kernels would act at full strength, not the
        # config's.
        self.model = KSDiff(_at_full_strength(model.config)).to(lessons.device).eval()
        self.model.load_state_dict(model.state_dict())
        self.trained = [*self.model.network.parameters(), *self.model.generator.parameters()]
        if self.model.injection is not None:
            self.trained += self.model.injection.parameters()
        self.optimizer = torch.optim.Adam(self.trained, lr=_RATE)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(_AVERAGE))

    def step(self) -> None:
        loss = _reduced_loss(self.model, self.lessons.reduced(), self.generator)
        loss = loss + _FULL_WEIGHT * _full_loss(self.model, self.lessons, self.generator)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.model)


def _at_full_strength(config: ModelConfig) -> ModelConfig:
    """With the whole residual: it is held back for sensors that training has not seen."""
    return replace(config, injection=replace(config.injection, residual_strength=1.0))


def _trial(model: KSDiff, lessons: _Lessons, clock: _Clock) -> tuple[int, float, float, int]:
    """The number of steps one scale lower that is best for the lesson, the error before and after
    them, and the steps taken to find out."""
    learner = _Learner(model, lessons)
    before = least = _error(model, lessons)
    best, stale, steps = 0, 0, 0
    while stale < _PATIENCE and clock.share < _TRIAL:
        for _ in range(_CHECK_EVERY):
            learner.step()
            steps += 1
            if clock.share > _TRIAL:
                break
        now = _error(learner.average.module, lessons)
        stale += 1
        if now < least:
            best, least, stale = steps, now, 0
        clock.tell(now)
    return best, before, least, steps


def _learn(
    model: KSDiff, lessons: _Lessons, clock: _Clock, steps: int, judged: float
) -> tuple[KSDiff, int]:
    """The model after so many steps, or those that there was time for, and how many they were."""
    learner = _Learner(model, lessons)
    for taken in range(1, steps + 1):
        learner.step()
        if taken % _CHECK_EVERY == 0:
            clock.tell(judged)
        if clock.share > 1:
            break
    return learner.average.module, taken


def _reduced_loss(model: KSDiff, batch: Sample, generator: torch.Generator) -> Tensor:
    return l1_within(_fused(model, batch.inputs, generator), batch.gt, _MARGIN)


def _full_loss(model: KSDiff, lessons: _Lessons, generator: torch.Generator) -> Tensor:
    inputs, ms = lessons.full_resolution()
    fused = _fused(model, inputs, generator)
    agreed = back_project(fused, ms, lessons.gains, lessons.ratio, lessons.phase)
    return l1_within(agreed, fused, _MARGIN)


def _fused(model: KSDiff, inputs: FusionInputs, generator: torch.Generator) -> Tensor:
    with torch.no_grad():
        condition = model.condition(inputs)
        noise = torch.randn(condition.shape, generator=generator).to(condition)
        prior = model.sample_prior(condition, noise)
    return model(inputs, prior)


@torch.no_grad()
def _error(model: KSDiff, lessons: _Lessons) -> float:
    """Of detail and colour: the part of truths' detail, as a root mean square, that is not in what
    the model adds to lms, times the spectral angle in degrees.

    Band by band at the strength that fits best: an MS image tells little of how much detail a truth
    holds. As inference fuses, in evaluation mode, one prior for a window.
    """
    model.eval()
    inner = (..., slice(_MARGIN, -_MARGIN), slice(_MARGIN, -_MARGIN))
    missing, angles = [], []
    for inputs, gt in lessons.judging:
        kernels = model.estimate_kernels(inputs, torch.Generator().manual_seed(0))
        fused, truth, lms = (
            image[inner] for image in (model.fuse(inputs, kernels), gt, inputs.lms)
        )
        alike = F.cosine_similarity((fused - lms).flatten(2), (truth - lms).flatten(2), -1)
        missing.append(1 - alike.square().mean().item())
        angles.append(sam(fused, truth).mean().item())
    return float(np.mean(missing) ** 0.5 * np.mean(angles))


def _windows(pair: Pair, sensor: Sensor) -> tuple[list[tuple[Tensor, Tensor]], tuple[float, ...]]:
    """PAN [1, 1, H, W] and MS [1, C, h, w] of a few windows far apart, registered, without holes;
    and the MTF gains that they show."""
    if min(pair.shape) < _LEAST_SIDE:
        height, width = pair.shape
        raise KSDiffError(
            f"pan and ms: {height} x {width} PAN pixels in common are too few to adapt to, "
            f"expected {_LEAST_SIDE} a side or more; sharpen with the weights as they are"
        )
    scene = PreparedScene.of(pair, sensor, tile=_SIDE, side=_SIDE)
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


def _moved(batch: Sample, device: torch.device) -> Sample:
    return Sample(batch.inputs.map(lambda part: part.to(device)), batch.gt.to(device))

"""Fine-tuning weights on the scene to be sharpened, for sensors outside the training data."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ksdiff.config import Config, ModelConfig
from ksdiff.errors import KSDiffError
from ksdiff.images.pair import Pair
from ksdiff.images.sharpness import PanGain
from ksdiff.inference.sensor import bundled_for, pan_gain_of, sensor_of
from ksdiff.io.input_options import InputOptions
from ksdiff.io.rasters import Raster, open_pair
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import check_fit, load_weights, save_weights
from ksdiff.sensors import Sensor
from ksdiff.training.band_lessons import BandLessons
from ksdiff.training.lessons import FixedBandLessons, Lessons, Miss

_RATE = 3e-4
_AVERAGE = 0.98
_CHECK_EVERY = 25  # steps
_PATIENCE = 4  # checks without a better one
_TRIAL = 0.5  # of the time, at most, goes to learning one scale lower


@dataclass(frozen=True)
class Adapted:
    """What `adapt` did."""

    model: KSDiff  # the adapted one; without a gain the one that it began with
    config: Config
    before: Miss  # of the weights on the degraded scene, see `adapt`
    after: Miss  # of ones that had learnt one scale lower
    kept: bool  # whether the weights were adapted
    steps: int  # all that were taken, in the trial and after it
    seconds: float

    def save(self, path: str | Path) -> None:
        """Write the weights as a .safetensors file."""
        save_weights(path, self.model, self.config)


def adapt(
    pan: Raster,
    ms: Raster,
    *,
    reading: InputOptions | None = None,
    weights: str | Path | None = None,
    sensor: str | None = None,
    registration: str = "auto",
    pan_gain: str = "auto",
    minutes: float = 5.0,
    device: str = "cpu",
    seed: int = 0,
    step: Callable[[float, float], None] = lambda share, loss: None,
) -> Adapted:
    """Fine-tune weights on one scene.

    They learn at reduced resolution, where the MS image is the truth
    (`ksdiff.training.lessons`, `ksdiff.training.band_lessons`). Whether that helps is tried one
    scale lower first, in half the time at most: the weights learn from the degraded scene at half
    its resolution and are judged on the degraded scene, by what they miss of its detail, whatever
    its strength, and by the spectral angle. If either gets worse, or their product falls by less
    than 1 % (5 % for weights for any bands), the weights stay as they were; otherwise they begin
    again and learn from the degraded scene, in as many rounds of it as were best in the trial. They
    then add the whole residual, whatever share the first ones held back. Weights for any bands end
    halfway between the first ones and what was learnt (Wortsman et al., Robust fine-tuning of
    zero-shot models, 2022).

    Args:
        pan, ms, reading, sensor, device: as for `Sharpener.sharpen_files`.
        registration: what is undone of shifts before, see
            `ksdiff.inference.options.SharpenOptions`.
        weights: to start from; chosen by band count and ratio if left out.
        pan_gain: how sharp PAN is, see `ksdiff.inference.options.SharpenOptions`; for weights for
            any bands.
        minutes: time limit; adapting ends earlier when the trial gains no more.
        step: called with the share of the time spent and the error, at every check; after the
            trial with what it was at its best.

    Raises:
        KSDiffError: bad input, a scene too small to learn from, no weights.
    """
    if minutes <= 0:
        raise KSDiffError(f"minutes: expected more than 0, got {minutes}")
    began = time.monotonic()
    with open_pair(pan, ms, reading) as pair:
        seen_by = sensor_of(sensor, pair)
        name = weights or bundled_for(seen_by, pan_gain)
        model, config = load_weights(name)
        check_fit(name, model.config, pair.bands, pair.ratio)
        told = pan_gain_of(pan_gain, seen_by)
        lessons = lessons_of(pair, seen_by, told, model.to(device), config, seed, registration)
    return learn(model, config, lessons, Clock(began, 60 * minutes, step))


def lessons_of(
    pair: Pair,
    sensor: Sensor,
    pan_gain: PanGain | None,
    model: KSDiff,
    config: Config,
    seed: int,
    registration: str = "auto",
) -> Lessons:
    """What ``model`` can learn from a pair.

    Raises:
        KSDiffError: a scene too small to learn from.
    """
    device = next(model.parameters()).device
    if model.any_bands:
        return BandLessons(pair, sensor, registration, pan_gain, model, seed, device)
    return FixedBandLessons(pair, sensor, registration, config, seed, device)


def learn(model: KSDiff, config: Config, lessons: Lessons, clock: Clock) -> Adapted:
    """The trial one scale lower, and what follows from it; see `adapt`."""
    best_steps, before, after, steps = _trial(model, lessons, clock)
    kept = after.improves_on(before, lessons.least_gain)
    adapted = model
    if kept:
        rounds = best_steps / lessons.pixels
        lessons.show_whole()
        adapted, taken = _learn(model, lessons, clock, round(rounds * lessons.pixels), after)
        steps += taken
        config = replace(config, model=_at_full_strength(config.model))
    return Adapted(adapted, config, before, after, kept, steps, clock.spent)


class Clock:
    """The share of the time that is spent, and its progress callback."""

    def __init__(
        self,
        began: float,
        seconds: float,
        step: Callable[[float, float], None] = lambda share, loss: None,
    ) -> None:
        self.began, self.seconds, self.step = began, seconds, step

    @property
    def spent(self) -> float:
        """Seconds."""
        return time.monotonic() - self.began

    @property
    def share(self) -> float:
        return self.spent / self.seconds

    def tell(self, loss: float) -> None:
        self.step(min(self.share, 1.0), loss)


class Learner:
    """A copy of the model in training, and its moving average, which is used."""

    def __init__(self, model: KSDiff, lessons: Lessons) -> None:
        self.lessons, self.first = lessons, model
        self.generator = torch.Generator().manual_seed(0)
        # As it will be used: in training mode the kernels would act at full strength, not the
        # config's.
        device = next(model.parameters()).device
        self.model = KSDiff(_at_full_strength(model.config)).to(device).eval()
        self.model.load_state_dict(model.state_dict())
        self.trained = [*self.model.network.parameters(), *self.model.generator.parameters()]
        if self.model.injection is not None:
            self.trained += self.model.injection.parameters()
        if self.model.any_bands:
            self.trained += self.model.ends.parameters()
        self.optimizer = torch.optim.Adam(self.trained, lr=_RATE)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(_AVERAGE))

    def step(self) -> None:
        loss = self.lessons.loss(self.model, self.generator)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.model)

    @property
    def learnt(self) -> KSDiff:
        """The averaged model, as much of it as is taken over."""
        learnt = cast(KSDiff, self.average.module)
        if self.lessons.taken == 1:
            return learnt
        between = copy.deepcopy(learnt)
        with torch.no_grad():
            for now, first in zip(between.parameters(), self.first.parameters(), strict=True):
                now.copy_(first.lerp(now, self.lessons.taken))
        return between


def _at_full_strength(config: ModelConfig) -> ModelConfig:
    """With the whole residual: it is held back for sensors that training has not seen."""
    return replace(config, injection=replace(config.injection, residual_strength=1.0))


def _trial(model: KSDiff, lessons: Lessons, clock: Clock) -> tuple[int, Miss, Miss, int]:
    """The number of steps one scale lower that is best for the degraded scene, what is missed
    before and after them, and the steps taken to find out."""
    learner = Learner(model, lessons)
    before = least = lessons.miss(model)
    best, stale, steps = 0, 0, 0
    while stale < _PATIENCE and clock.share < _TRIAL:
        for _ in range(_CHECK_EVERY):
            learner.step()
            steps += 1
            if clock.share > _TRIAL:
                break
        now = lessons.miss(learner.learnt)
        stale += 1
        if now.improves_on(before, 0) and now.product < least.product:
            best, least, stale = steps, now, 0
        clock.tell(now.product)
    return best, before, least, steps


def _learn(
    model: KSDiff, lessons: Lessons, clock: Clock, steps: int, judged: Miss
) -> tuple[KSDiff, int]:
    """The model after so many steps, or those that there was time for, and how many they were."""
    learner = Learner(model, lessons)
    for taken in range(1, steps + 1):
        learner.step()
        if taken % _CHECK_EVERY == 0:
            clock.tell(judged.product)
        if clock.share > 1:
            break
    return learner.learnt, taken

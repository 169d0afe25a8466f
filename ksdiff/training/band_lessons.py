"""What weights for any bands learn from a scene, and are judged on."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ksdiff.errors import KSDiffError
from ksdiff.images.expansion import expand
from ksdiff.images.pair import Pair
from ksdiff.images.sharpness import GENERIC, PanGain
from ksdiff.images.translation import shift
from ksdiff.inference.scene import PreparedScene
from ksdiff.models.ksdiff import KSDiff
from ksdiff.sensors import Sensor
from ksdiff.training.held_out import case_of
from ksdiff.training.lessons import MARGIN, Miss, fused_by, missed, moved
from ksdiff.training.scenarios import Scenario, Scenarios
from ksdiff.training.sources import Source, degraded_pans, halved
from ksdiff.training.stages import fusion_loss
from ksdiff.training.validation import Scene, case_scene, fuse_all

_BATCH = 4
_LEAST_MS = 14  # MS pixels of a truth, degraded, from which statistics can be taken
_STRENGTHS = (0.4, 2.5)  # least and most by which a truth's detail is scaled


class BandLessons:
    """See `ksdiff.training.lessons.Lessons`.

    The scene degraded as it is itself: PAN by its own gain, by the toolbox's bicubic, or, where
    neither is known, by both. A truth's detail is scaled, band by band, to the strength of what the
    weights add: an MS image tells little of how much there is at the scene's own resolution. Nor
    does all else that is learnt there hold here, so half of it is taken.
    """

    least_gain = 0.05
    taken = 0.5

    def __init__(
        self,
        pair: Pair,
        sensor: Sensor,
        registration: str,
        pan_gain: PanGain | None,
        model: KSDiff,
        seed: int,
        device: torch.device,
    ) -> None:
        self.ratio = pair.ratio
        scenario = Scenario(pair.bands, pair.ratio)
        block = 8 * pair.ratio
        truth = 2 * block * math.ceil(max(scenario.crop, _LEAST_MS * pair.ratio) / block)
        if min(pair.shape) < truth * pair.ratio:
            height, width = pair.shape
            raise KSDiffError(
                f"pan and ms: {height} x {width} PAN pixels in common are too few to adapt to at "
                f"ratio {pair.ratio}, expected {truth * pair.ratio} a side or more; sharpen with "
                "the weights as they are"
            )
        self.rng, self.device, self.scenario = np.random.default_rng(seed), device, scenario
        whole, half = _windows(pair, sensor, registration, pan_gain, truth * pair.ratio)
        self.judging = [_Judged.of(source, pair.ratio, device) for source in whole]
        self.whole = [
            _as_strong(source, judged, model)
            for source, judged in zip(whole, self.judging, strict=True)
        ]
        self._show([_as_strong(one, _Judged.of(one, pair.ratio, device), model) for one in half])

    def _show(self, sources: list[Source]) -> None:
        self.pixels = sum(source.bands[0].numel() for source in sources)
        self.scenarios = Scenarios(sources, as_delivered=True)

    def show_whole(self) -> None:
        """See `Lessons`."""
        self._show(self.whole)

    def loss(self, model: KSDiff, generator: torch.Generator) -> Tensor:
        """See `Lessons`."""
        rngs = [np.random.default_rng(seed) for seed in self.rng.integers(2**62, size=_BATCH)]
        turn, centred = int(self.rng.integers(8)), bool(self.rng.random() < 0.5)
        batch = moved(self.scenarios.batch(self.scenario, turn, centred, rngs), self.device)
        return fusion_loss(model, fused_by(model, batch.inputs, generator), batch, MARGIN)

    def miss(self, model: KSDiff) -> Miss:
        """See `Lessons`."""
        found = [
            missed(fuse_all(model.eval(), [scene], stage=2)[scene.name], scene.truth.cpu(), lms)
            for scenes, lms in self.judging
            for scene in scenes
        ]
        return Miss.mean(found)


def _windows(
    pair: Pair, sensor: Sensor, registration: str, pan_gain: PanGain | None, side: int
) -> tuple[list[Source], list[Source]]:
    """Windows far apart, the MS as truth, and the same at half the resolution."""
    scene = PreparedScene.of(pair, sensor, registration=registration, side=side)
    kinds: tuple[PanGain, ...] = ("bicubic", GENERIC) if pan_gain is None else (pan_gain,)
    dy, dx = (at - (pair.ratio - 1) / 2 for at in pair.phase)
    whole: list[Source] = []
    half: list[Source] = []
    for pan, ms in scene.samples:
        pan, ms = pan.cpu(), ms[0].cpu()
        centred = shift(pan, -dy, -dx)
        sharp, (bicubic,) = degraded_pans(centred, pair.ratio, ("bicubic",))
        name = f"window {len(whole) + 1}"
        source = Source(name, "the scene", ms, sensor.wavelengths, scene.gains, sharp, (bicubic,))
        told = (pan_gain,) * len(kinds)
        half.append(replace(halved(source, kinds), pan_gains=told))
        pans, _ = degraded_pans(centred, pair.ratio, kinds)
        whole.append(replace(source, pans=pans, pan_gains=told))
    return whole, half


class _Judged(NamedTuple):
    """A source as cases, one for each of its PANs."""

    scenes: list[Scene]
    lms: Tensor  # [1, C, H, W] DN

    @classmethod
    def of(cls, source: Source, ratio: int, device: torch.device) -> _Judged:
        every = tuple(range(len(source.bands)))
        assert source.pans is not None
        cases = [
            case_of(source, every, pan, told, ratio)
            for pan, told in zip(source.pans, source.pan_gains, strict=True)
        ]
        lms = expand(cases[0].ms, ratio, cases[0].phase, "reflect")
        return cls([case_scene(case, device) for case in cases], lms)


def _as_strong(source: Source, judged: _Judged, model: KSDiff) -> Source:
    """With the truth's detail as strong as what the model adds, on the mean over PANs."""
    fused = torch.cat([fuse_all(model, [scene], stage=2)[scene.name] for scene in judged.scenes])
    truth = judged.scenes[0].truth.cpu()
    inner = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    added, missing = (fused - judged.lms)[inner], (truth - judged.lms)[inner]
    strength = added.square().sum((0, 2, 3)) / (added * missing).sum((0, 2, 3)).clamp_min(1e-9)
    strength = strength.clamp(*_STRENGTHS)[:, None, None]
    height, width = truth.shape[-2:]
    low = judged.lms[0]
    bands = low + strength * (source.bands[:, :height, :width] - low)
    pans = None if source.pans is None else source.pans[:, :height, :width]
    return replace(source, bands=bands.clamp_min(0), pans=pans, moments={})

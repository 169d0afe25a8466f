"""What is computed once per scene: statistics, sample windows, shifts and MTF."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ksdiff.images.bands import Alignment
from ksdiff.images.descriptors import described
from ksdiff.images.fill import fill_invalid
from ksdiff.images.inputs import (
    FusionInputs,
    SceneStatistics,
    detail_contrast,
    detail_on_pan,
    fusion_inputs,
)
from ksdiff.images.mtf import MTFFilters, mtf_filters
from ksdiff.images.optics import measured_gains
from ksdiff.images.pair import Pair, Patch
from ksdiff.images.placement import Move, RegisteredPair, Window
from ksdiff.images.polyphase import FilterBank
from ksdiff.images.registration import Registration, Scenery, View, register
from ksdiff.images.sharpness import PanGain, equaliser_bank, filtered, mean_gain
from ksdiff.inference.progress import Stage, silent
from ksdiff.inference.survey import Survey, sample_windows, survey
from ksdiff.inference.transfer import upload
from ksdiff.sensors import Sensor

_FILL_REACH = 64  # PAN pixels: as far as filters reach from a valid pixel into a hole
_SAMPLE_SIDE = 256  # PAN pixels, of the windows that stand for the scene
_SAMPLE_RIM = 16  # PAN pixels at its rim that the prior does not see: mirrored images made them
_LOCAL_WINDOWS = 100  # that show where PAN lies, at most
_UNRELATED = 0.1  # correlation of a band's detail with PAN's, at most
_SAMPLES = 8  # more change little and cost time on small scenes


@dataclass(frozen=True)
class PreparedScene:
    """What all windows of a scene share, whichever model fuses them. Tensors lie on ``device``."""

    pair: Pair  # PAN moved onto the MS
    sensor: Sensor
    device: torch.device
    statistics: SceneStatistics
    gains: tuple[float, ...]  # [C] MTF gains at Nyquist that the scene shows
    alignment: Alignment | None  # where the bands lie apart
    registration: Registration  # by how much PAN was off the MS, undone in ``pair``
    samples: list[tuple[Tensor, Tensor]]  # PAN [1, 1, h, w] and MS [1, C, h / ratio, w / ratio],
    # DN, of windows far apart, in place and without holes
    inputs: FusionInputs  # of the samples, as the batch
    surveyed: Survey
    equaliser: FilterBank | None = None  # what PAN passes, where a network wants it equalised

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        pair: Pair,
        sensor: Sensor,
        device: torch.device | None = None,
        *,
        registration: str = "auto",
        contrast: str = "slope",
        pan_gain: PanGain | None = None,
        any_bands: bool = False,
        tile: int = 512,
        side: int = _SAMPLE_SIDE,
        stage: Stage = silent,
        surveyed: Survey | None = None,
    ) -> PreparedScene:
        """Read a scene once for statistics, and a few windows of it for everything else.

        Args:
            pair: as delivered.
            device: the CPU by default.
            registration, contrast, tile: see `ksdiff.inference.options.SharpenOptions`.
            pan_gain: how sharp PAN is, see `ksdiff.images.sharpness`; None: not known.
            any_bands: for a network that takes any bands: PAN equalised, inputs described.
            side: of a sample window, PAN pixels.
            stage: progress callback.
            surveyed: of the pair with this ``tile``, where it is known.

        Raises:
            KSDiffError: no pixel has data in both images.
        """
        device = device or torch.device("cpu")
        if surveyed is None:
            count = math.prod(math.ceil(length / tile) for length in pair.shape)
            surveyed = survey(pair, tile, stage("Surveying", count))
        statistics = SceneStatistics(*(upload(part, device) for part in surveyed.statistics))
        equaliser = None
        if any_bands:
            equaliser = equaliser_bank(pan_gain, mean_gain(sensor.ms_gains), pair.ratio)

        def look(pair: Pair, side: int, count: int) -> list[View]:
            places = sample_windows(pair.shape, surveyed, pair.ratio, side, count)
            windows = (Window.read(pair, *at) for at in places)
            return [_view(window, statistics, equaliser, device) for window in windows]

        placed = _placed(pair, sensor, registration, side, look)
        inputs = _inputs(placed, statistics, device)
        if any_bands:
            known = sensor.wavelengths, placed.gains, pan_gain, placed.registration.remaining
            inputs = described(inputs, pair.ratio, *known)
            statistics = statistics._replace(contrast=inputs.contrast[:1])
        elif contrast == "slope":
            statistics = statistics._replace(contrast=detail_contrast(inputs, pair.ratio))
        inputs = inputs._replace(contrast=statistics.contrast.expand(len(placed.samples), -1))
        return cls(
            sensor=sensor,
            device=device,
            statistics=statistics,
            inputs=inputs,
            surveyed=surveyed,
            equaliser=equaliser,
            **placed._asdict(),
        )

    @property
    def shift(self) -> tuple[float, float]:
        """(dy, dx) in PAN pixels by which PAN was off the MS; where that varies, its middle."""
        return self.registration.shift

    @property
    def describes_bands(self) -> bool:
        """Whether a network is told what the bands are, as one that takes any bands is."""
        return self.equaliser is not None

    @property
    def filters(self) -> MTFFilters:
        return mtf_filters(self.gains, self.pair.ratio, torch.float32, self.device)

    @property
    def unrelated(self) -> tuple[int, ...]:
        """Bands, from 0, whose detail has nothing in common with PAN's."""
        _, correlation = detail_on_pan(self.inputs, self.pair.ratio)
        return tuple(
            band for band, value in enumerate(correlation.tolist()) if abs(value) < _UNRELATED
        )

    @property
    def apart(self) -> float:
        """PAN pixels between two bands of the MS image, at most."""
        return 0.0 if self.alignment is None else self.alignment.furthest

    @property
    def blur(self) -> float:
        """The MTF gain at Nyquist that the scene shows, over the sensor's."""
        return self.gains[0] / self.sensor.ms_gains[0]

    @property
    def prior_inputs(self) -> FusionInputs:
        """The samples without the rim that mirrored borders affect; small scenes keep it."""
        if min(self.inputs.pan.shape[-2:]) < _SAMPLE_SIDE:
            return self.inputs
        inner = (..., slice(_SAMPLE_RIM, -_SAMPLE_RIM), slice(_SAMPLE_RIM, -_SAMPLE_RIM))
        return self.inputs.cropped(inner)

    def images(self, patch: Patch) -> tuple[Tensor, Tensor]:
        """PAN [1, 1, H, W] and MS [1, C, h, w] of a window of ``pair``, DN without holes."""
        return filled(patch, self.statistics, self.device)

    def network_inputs(self, patch: Patch) -> FusionInputs:
        """What the network sees of a window of ``pair``."""
        pan, ms = self.images(patch)
        pan = filtered(pan, self.equaliser)
        if self.alignment is not None:
            ms = self.alignment.together(ms)
        ratio, phase = self.pair.ratio, self.pair.phase
        inputs = fusion_inputs(pan, ms, self.filters, ratio, phase, self.statistics)
        first = self.inputs.first()
        return inputs._replace(descriptors=first.descriptors, scene=first.scene)


class _Placed(NamedTuple):
    """Fields of `PreparedScene` that say where PAN and bands lie, and what showed it."""

    pair: Pair
    alignment: Alignment | None
    registration: Registration
    samples: list[tuple[Tensor, Tensor]]
    gains: tuple[float, ...]


def _placed(
    pair: Pair,
    sensor: Sensor,
    registration: str,
    side: int,
    look: Callable[[Pair, int, int], list[View]],
) -> _Placed:
    """Register the bands to each other and PAN to them.

    Args:
        look: at so many windows of a pair, with so long a side.
    """
    views = look(pair, side, _SAMPLES)
    alignment = None
    if registration != "off":
        alignment = Alignment.measured([view.ms for view in views], sensor, pair.ratio)
    views = [_together(view, alignment) for view in views]

    def more() -> list[View]:
        found = look(pair, _local_side(pair.shape, pair.ratio), _LOCAL_WINDOWS)
        return [_together(view, alignment) for view in found]

    scenery = Scenery(views, more, sensor.ms_gains, pair.phase, pair.shape)
    found = register(scenery, registration)
    samples = [(view.pan, view.ms) for view in views]
    if found.field is None:
        gains = measured_gains(samples, sensor.ms_gains, pair.phase, found.shift)
    off = found.move
    if off is not None:
        samples = [(view.moved_back(off), view.ms) for view in views]
        if found.field is not None:
            gains = measured_gains(samples, sensor.ms_gains, pair.phase)
        pair = RegisteredPair(pair, off)
    return _Placed(pair, alignment, found, samples, gains)


def _inputs(placed: _Placed, statistics: SceneStatistics, device: torch.device) -> FusionInputs:
    """Of the samples, as the batch."""
    pair = placed.pair
    filters = mtf_filters(placed.gains, pair.ratio, torch.float32, device)
    pan, ms = (torch.cat(images) for images in zip(*placed.samples, strict=True))
    return fusion_inputs(pan, ms, filters, pair.ratio, pair.phase, statistics)


def _view(
    window: Window,
    statistics: SceneStatistics,
    equaliser: FilterBank | None,
    device: torch.device,
) -> View:
    def moved_back(off: Move) -> Tensor:
        return filtered(_filled_pan(window.moved_back(off), statistics, device), equaliser)

    pan, ms = filled(window.delivered(), statistics, device)
    return View(window.top, window.left, filtered(pan, equaliser), ms, moved_back)


def _together(view: View, alignment: Alignment | None) -> View:
    return view if alignment is None else view._replace(ms=alignment.together(view.ms))


def _local_side(shape: tuple[int, int], ratio: int) -> int:
    """Of the windows that show a field, PAN pixels: an eighth of the scene's shorter side, and
    enough of the MS to show anything."""
    return min(max(min(shape) // 8, 32 * ratio, 128), 64 * max(ratio, 4))


def filled(
    patch: Patch, statistics: SceneStatistics, device: torch.device
) -> tuple[Tensor, Tensor]:
    """PAN [1, 1, H, W] and MS [1, C, h, w] in DN on the device, without holes."""
    ratio = patch.pan.shape[-1] // patch.ms.shape[-1]
    mean = statistics.ms_mean[..., None, None]
    ms = _filled(patch.ms, patch.ms_valid, mean, _FILL_REACH // ratio, device)
    return _filled_pan(patch, statistics, device), ms


def _filled_pan(patch: Patch, statistics: SceneStatistics, device: torch.device) -> Tensor:
    mean = statistics.pan_mean[..., None, None]
    return _filled(patch.pan, patch.pan_valid, mean, _FILL_REACH, device)


def _filled(
    values: Tensor, valid: Tensor, fallback: Tensor, reach: int, device: torch.device
) -> Tensor:
    there = upload(values, device)
    if valid.all():  # asked on the CPU, where there is nothing to wait for
        return there
    return fill_invalid(there, upload(valid, device), fallback, reach)

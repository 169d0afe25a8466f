"""Pairs with ground truth to train on, made from scenes with and without one."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ksdiff.errors import KSDiffError
from ksdiff.images.bands import Alignment
from ksdiff.images.inputs import SceneStatistics, scene_inputs
from ksdiff.images.optics import measured_gain
from ksdiff.images.shifts import estimate_shift
from ksdiff.images.translation import shift
from ksdiff.images.wald import degrade_ms, degrade_pan
from ksdiff.io.pancollection import PanCollection
from ksdiff.io.rasters import open_pair
from ksdiff.io.scenes import SceneFiles, list_scenes
from ksdiff.sensors import Sensor, sensor_for

_PAN_GAINS = (0.10, 0.15, 0.20)  # MTF at Nyquist: real ones are .11 to .17


@dataclass(frozen=True)
class TruthPair:
    """A scene whose fused image is known. Values are DN."""

    name: str
    pans: Tensor  # [V, 1, H, W], registered to gt: one PAN, or V that differ in sharpness
    gt: Tensor  # [1, C, H, W]
    ms: Tensor | None  # [1, C, H / ratio, W / ratio] as delivered; None: degrade gt
    phase: tuple[float, float] | None  # of ms, see wald
    gains: tuple[float, ...]  # MTF gains [C]
    ratio: int
    truth_gain: float | None = None  # MTF gain of the truth's own optics, measured if it had any

    @property
    def statistics(self) -> tuple[SceneStatistics, ...]:
        """With each PAN: of the MS image, for which the truth degraded stands in."""
        return self._measured[0]

    @property
    def detail_gains(self) -> tuple[float, ...]:
        """For each PAN, the share of its matched detail (GLP) that the truth holds, over bands."""
        return self._measured[1]

    @cached_property
    def _measured(self) -> tuple[tuple[SceneStatistics, ...], tuple[float, ...]]:
        """Statistics and detail gains: both need the inputs, which are large and not kept."""
        rim = min(16, min(self.gt.shape[-2:]) // 4)
        inner = (..., slice(rim, -rim), slice(rim, -rim))
        ms = degrade_ms(self._whole(self.gt), self.gains, self.ratio)
        found, shares = [], []
        for pan in self.pans[:, None]:
            inputs, statistics = scene_inputs(self._whole(pan), ms, self.gains, self.ratio, None)
            found.append(statistics)
            detail = (inputs.contrast[..., None, None] * (inputs.pan - inputs.pan_low))[inner]
            truth = self._whole(self.gt) / statistics.ms_mean[..., None, None]
            missing = (truth - inputs.lms)[inner]
            share = (detail * missing).sum((0, 2, 3)) / detail.square().sum((0, 2, 3))
            shares.append(share.mean().item())
        return tuple(found), tuple(shares)

    def _whole(self, image: Tensor) -> Tensor:
        """Cut to whole MS pixels."""
        height, width = (side // self.ratio * self.ratio for side in image.shape[-2:])
        return image[..., :height, :width]


class CollectionPairs:
    """The patches of a PanCollection file with truth, read one by one."""

    def __init__(self, source: PanCollection) -> None:
        self.source = source

    @property
    def sensor(self) -> Sensor:
        return self.source.sensor

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> TruthPair:
        images, sensor = self.source.images(index), self.sensor
        phase = (float(sensor.ratio // 2),) * 2
        return TruthPair(
            self.source.name(index),
            images["pan"],
            images["gt"],
            images["ms"],
            phase,
            sensor.ms_gains,
            sensor.ratio,
        )


def load_pairs(
    folder: str | Path,
    ratio: int,
    exclude: tuple[str, ...] = (),
    least_side: int = 0,
    halved: bool = False,
    bicubic_pan: bool = True,
    least_gain: float = 0.0,
) -> list[TruthPair]:
    """All scenes of ``folder`` with that ratio as pairs with truth; PAN is registered to it.

    A scene without truth is degraded once more by Wald's protocol, its MS becoming the truth.

    Args:
        exclude: names of scenes to leave out.
        least_side: PAN pixels that a pair must have.
        halved: besides, each pair at half its resolution, where it is large enough, as its sensor
            would have delivered it: the truth through the sensor's MTF, whatever blurred it before.
        bicubic_pan: degrade PAN by the protocol's bicubic as well, not only by MTFs.
        least_gain: an MS image whose MTF, measured beside its PAN, has less than this gain at
            Nyquist is no truth as it is; ``halved``, it still is.

    Raises:
        KSDiffError: an empty folder, no scene of that ratio, a truth with a side under
            ``least_side`` pixels (the training crop), a name to exclude that is not there.
    """
    scenes = list_scenes(folder)
    unknown = sorted(set(exclude) - {scene.name for scene in scenes})
    if unknown:
        raise KSDiffError(
            f"data.exclude: {unknown[0]!r} is not a scene of {folder}; exclude: [] replaces the "
            "list of the base"
        )
    found = (_pair(scene, ratio) for scene in scenes if scene.name not in exclude)
    pairs = [pair for pair in found if pair is not None]
    if not pairs:
        raise KSDiffError(f"{folder}: expected scenes of ratio {ratio}, found none")
    for pair in pairs:
        if min(pair.gt.shape[-2:]) < least_side:
            height, width = pair.gt.shape[-2:]
            raise KSDiffError(
                f"{folder}: the truth of scene {pair.name} has {height} x {width} pixels, smaller "
                f"than the crop of {least_side}; lower data.crop or name it in data.exclude"
            )
    half = [halved_pair(pair) for pair in pairs] if halved else []
    least = max(least_side, 8 * ratio)
    pairs = [pair for pair in pairs if (pair.truth_gain or 1.0) >= least_gain]
    pairs += [pair for pair in half if min(pair.gt.shape[-2:]) >= least]
    return pairs if bicubic_pan else [without_bicubic(pair) for pair in pairs]


def _pair(scene: SceneFiles, ratio: int) -> TruthPair | None:
    with open_pair(scene.pan, scene.ms) as source:
        if source.ratio != ratio:
            return None
        patch = source.read()
        sensor = sensor_for(scene.sensor, source.bands, ratio)
        ms, gains = patch.ms, sensor.ms_gains
        alignment = Alignment.measured([ms], sensor, ratio)
        if alignment is not None:
            ms = alignment.together(ms)
        if scene.gt is not None:
            gt = source.read_truth(scene.gt)
            if alignment is not None:
                gt = alignment.apart.reversed()(gt)
            step = estimate_shift(patch.pan, degrade_ms(gt, gains, ratio), gains, (ratio // 2,) * 2)
            pan = shift(patch.pan, -step[0], -step[1])
            return TruthPair(scene.name, pan, gt, ms, source.phase, gains, ratio)
    return degraded_pair(scene.name, patch.pan, ms, source.phase, gains)


def degraded_pair(
    name: str,
    pan: Tensor,
    ms: Tensor,
    phase: tuple[float, float],
    gains: tuple[float, ...],
) -> TruthPair:
    """A scene without truth, degraded once more: its MS [1, C, h, w] becomes the truth.

    ``pan`` [1, 1, H, W] is registered to it, in several degrees of sharpness.
    """
    ratio = pan.shape[-1] // ms.shape[-1]
    height, width = (side // ratio * ratio for side in ms.shape[-2:])
    gt = ms[..., :height, :width]
    step = estimate_shift(pan, ms, gains, phase)
    # A degraded PAN pixel lies at the middle of its MS pixel: there the MS sample must be, too.
    centre = [at - (ratio - 1) / 2 for at in phase]
    moved = shift(pan, -step[0] - centre[0], -step[1] - centre[1])
    pans = _degraded_pans(moved, ratio)[..., :height, :width]
    return TruthPair(
        name, pans, gt, None, None, gains, ratio, measured_gain([(pan, ms)], phase, step)
    )


def halved_pair(pair: TruthPair) -> TruthPair:
    """At half the resolution, seen again through the MTFs of PAN and MS.

    At the new Nyquist frequency, half the old, a Gaussian MTF of gain g has left g ** 1/4; a filter
    with the rest of the sensor's own gain follows.
    """
    step = 2 * pair.ratio
    height, width = (side // step * step for side in pair.gt.shape[-2:])
    mean = sum(pair.gains) / len(pair.gains)
    left = (pair.truth_gain or mean) ** 0.25
    gains = tuple(min(gain / left, 0.99) for gain in pair.gains)
    gt, pan = (image[..., :height, :width] for image in (pair.gt, pair.pans[:1]))
    return TruthPair(
        f"{pair.name}, halved",
        _degraded_pans(pan, 2),
        degrade_ms(shift(gt, 0.5, 0.5), gains, 2),
        None,
        None,
        pair.gains,
        pair.ratio,
    )


def without_bicubic(pair: TruthPair) -> TruthPair:
    """Without the PAN that the protocol's bicubic has degraded, where there are others."""
    return replace(pair, pans=pair.pans[1:]) if len(pair.pans) > 1 else pair


def _degraded_pans(pan: Tensor, ratio: int) -> Tensor:
    """PAN at a ratio-th of its resolution, [V, 1, h, w], first by bicubic, then by MTFs.

    Bicubic is the protocol's; real PANs and some delivered sets are softer.
    """
    half = 0.5 if ratio % 2 == 0 else 0.0  # from the middle of a block to the sample in it
    centred = shift(pan, half, half)
    pans = [degrade_pan(pan, ratio), *(degrade_ms(centred, (gain,), ratio) for gain in _PAN_GAINS)]
    return torch.cat(pans)

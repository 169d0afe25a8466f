"""The inputs of an evaluation: scenes of a folder, or patches of a PanCollection file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ksdiff.baselines import ClassicalPair
from ksdiff.errors import KSDiffError
from ksdiff.evaluation.report import SceneInfo
from ksdiff.images.bands import Alignment
from ksdiff.images.colours import colour_bands
from ksdiff.images.pair import ArrayPair
from ksdiff.inference.scene import PreparedScene
from ksdiff.io.pancollection import SUFFIXES, PanCollection
from ksdiff.io.rasters import ScenePair, open_pair
from ksdiff.io.scenes import SceneFiles, list_scenes
from ksdiff.metrics import full_indexes, reduced_indexes
from ksdiff.sensors import Sensor, sensor_for


@dataclass(frozen=True)
class Subject:
    """A pair of images, with or without truth, and how its results are scored."""

    info: SceneInfo
    sensor: Sensor
    pan: Tensor  # [1, 1, H, W]
    ms: Tensor  # [1, C, h, w]
    truth: Tensor | None  # [1, C, H, W]
    phase: tuple[float, float]
    boundary: str  # of the classical methods
    index_phase: tuple[float, float] | None  # of the full-resolution indexes
    colours: list[int]
    descriptions: tuple[str | None, ...] = ()  # of the MS bands
    alignment: Alignment | None = None  # of ``ms``, whose bands it has brought together

    def to(self, device: torch.device) -> Subject:
        truth = None if self.truth is None else self.truth.to(device)
        return replace(self, pan=self.pan.to(device), ms=self.ms.to(device), truth=truth)

    def pair(self) -> ClassicalPair:
        return ClassicalPair.of(
            self.pan,
            self.ms,
            self.sensor.ms_gains,
            self.info.ratio,
            self.phase,
            self.boundary,
            self.sensor.pan_gain,
        )

    def measured(self) -> Subject:
        """The same with KSDiff's own inputs: registered bands, registered PAN and measured MTF
        gains. Where there is truth, the result's bands are moved `apart` again."""
        scene = PreparedScene.of(
            ArrayPair(self.pan[0], self.ms[0], self.phase), self.sensor, self.pan.device
        )
        pan, ms = scene.images(scene.pair.read())
        if scene.alignment is not None:
            ms = scene.alignment.together(ms)
        sensor = replace(self.sensor, ms_gains=scene.gains)
        return replace(self, pan=pan, ms=ms, sensor=sensor, alignment=scene.alignment)

    @property
    def judged_together(self) -> bool:
        """Without truth bands are compared with PAN and MS, and here these have them together."""
        return self.alignment is not None and self.truth is None

    def apart(self, fused: Tensor) -> Tensor:
        """Bands where they are judged: the truth has them where the MS as delivered has them."""
        if self.alignment is None or self.judged_together:
            return fused
        return self.alignment.apart(fused)

    @cached_property
    def _lms(self) -> Tensor:
        return self.pair().lms

    def judge(self, fused: Tensor, border: int) -> dict[str, float]:
        fused = fused.to(self.pan.device)
        if self.truth is not None:
            limit = self.info.data_range
            assert limit is not None  # as there is truth
            return reduced_indexes(fused, self.truth, self.info.ratio, limit, border)
        return full_indexes(
            fused,
            self.pan,
            self.ms,
            self._lms,
            self.sensor.ms_gains,
            self.info.ratio,
            self.index_phase,
        )


@dataclass(frozen=True)
class Subjects:
    """Subjects, each read when its turn comes, and how many there are."""

    count: int
    each: Iterator[Subject]

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Subject]:
        return self.each


def subjects(source: str | Path, sensor: str | None) -> Subjects:
    """The scenes of a folder by name, or the patches of an .h5 file in their order.

    Scenes take the phase that their transforms say. Classical methods wrap around at the borders,
    as in the toolbox; of scenes without truth, where no border is cut, they mirror. Patches have
    the phase of ``interp23tap`` throughout, as in published tables.

    Raises:
        KSDiffError: no scenes, pixels without data, an unknown sensor, a file that is not
            PanCollection's.
    """
    if Path(source).suffix.lower() in SUFFIXES:
        patches = PanCollection(source, sensor or "", truth=False)
        return Subjects(len(patches), _patches(patches))
    scenes = list_scenes(source)
    return Subjects(len(scenes), _scenes(scenes, sensor))


def _scenes(scenes: Sequence[SceneFiles], sensor: str | None) -> Iterator[Subject]:
    for files in scenes:
        with open_pair(files.pan, files.ms) as pair:
            yield _scene(files, pair, sensor)


def _patches(source: PanCollection) -> Iterator[Subject]:
    sensor = replace(source.sensor, pan_decimated=True)  # as PanCollection decimates PAN
    ratio = sensor.ratio
    limit = 2.0**sensor.bits - 1
    for index in range(len(source)):
        images = source.images(index)
        pan, ms, truth = images["pan"], images["ms"], images.get("gt")
        info = SceneInfo(
            source.name(index),
            sensor.name,
            sensor.bands,
            ratio,
            "full" if truth is None else "reduced",
            pan.shape[2],
            pan.shape[3],
            None if truth is None else limit,
        )
        phase = (float(ratio // 2),) * 2
        colours = colour_bands(sensor.bands, sensor.band_names)
        yield Subject(info, sensor, pan, ms, truth, phase, "circular", None, colours)


def _scene(files: SceneFiles, pair: ScenePair, name: str | None) -> Subject:
    sensor = sensor_for(name or files.sensor, pair.bands, pair.ratio)
    sensor = replace(sensor, pan_decimated=pair.pan_decimated)
    patch = pair.read()
    if not (patch.pan_valid.all() and patch.ms_valid.all()):
        raise KSDiffError(
            f"{pair.name}: pixels without data cannot be judged; crop the scene to its valid part"
        )
    truth = pair.read_truth(files.gt) if files.gt else None
    info = SceneInfo(
        files.name,
        sensor.name,
        pair.bands,
        pair.ratio,
        "full" if truth is None else "reduced",
        *pair.shape,
        _data_range(sensor, pair, truth),
    )
    return Subject(
        info,
        sensor,
        patch.pan,
        patch.ms,
        truth,
        pair.phase,
        "reflect" if truth is None else "circular",
        pair.phase,
        colour_bands(pair.bands, pair.descriptions),
        pair.descriptions,
    )


def _data_range(sensor: Sensor, pair: ScenePair, truth: Tensor | None) -> float | None:
    """Largest possible DN: of the sensor, of the file's type; else guessed from the truth."""
    if truth is None:
        return None
    if sensor.known:
        limit = 2.0**sensor.bits - 1
        if np.issubdtype(pair.dtype, np.integer):
            return min(limit, float(np.iinfo(pair.dtype).max))
        if truth.max() > 1:
            return limit
    highest = truth.max().item()
    return 2.0 ** math.ceil(math.log2(highest + 1)) - 1 if highest > 1 else 1.0

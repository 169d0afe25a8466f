"""Scores of methods on a folder of scenes: tables for people, JSON for programs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ksdiff.baselines import METHODS, Pair
from ksdiff.data.outputs import atomic
from ksdiff.data.scenes import Patch, SceneFiles, ScenePair, list_scenes, open_pair
from ksdiff.errors import KSDiffError
from ksdiff.inference.sharpen import Sharpener
from ksdiff.machine import machine_header
from ksdiff.metrics import full_indexes, reduced_indexes
from ksdiff.sensors import Sensor, sensor_for

KSDIFF = "ksdiff"
DEFAULT_METHODS = (*METHODS, KSDIFF)
DEFAULT_BORDER = 21
HIGHER_IS_BETTER = frozenset({"Q2n", "SCC", "PSNR", "SSIM", "HQNR", "QNR"})


@dataclass(frozen=True)
class Row:
    """One method on one scene."""

    scene: str
    method: str
    resolution: str  # "reduced": against ground truth; "full": without
    seconds: float
    indexes: dict[str, float]


@dataclass(frozen=True)
class SceneInfo:
    name: str
    sensor: str
    bands: int
    ratio: int
    resolution: str
    height: int  # PAN pixels
    width: int
    data_range: float | None  # DN, of PSNR and SSIM


@dataclass(frozen=True)
class Evaluation:
    header: dict[str, object]
    scenes: list[SceneInfo]
    rows: list[Row]
    notes: list[str]

    def means(self, resolution: str) -> list[Row]:
        """One row per method: the mean over its scenes of that resolution."""
        rows = [row for row in self.rows if row.resolution == resolution]
        means = []
        for method in dict.fromkeys(row.method for row in rows):
            own = [row for row in rows if row.method == method]
            indexes = {
                name: sum(row.indexes[name] for row in own) / len(own) for name in own[0].indexes
            }
            seconds = sum(row.seconds for row in own) / len(own)
            means.append(Row(f"mean of {len(own)}", method, resolution, seconds, indexes))
        return means

    def markdown(self) -> str:
        """A table per scene and resolution; the best value of each index is bold."""
        parts = []
        for scene in self.scenes:
            title = (
                f"{scene.name}: {scene.sensor}, {scene.bands} bands, ratio {scene.ratio}, "
                f"{scene.height} x {scene.width}, {scene.resolution} resolution"
            )
            parts.append(_table(title, [row for row in self.rows if row.scene == scene.name]))
        for resolution in ("reduced", "full"):
            count = sum(scene.resolution == resolution for scene in self.scenes)
            if count > 1:
                title = f"Mean over {count} scenes, {resolution} resolution"
                parts.append(_table(title, self.means(resolution)))
        parts += [f"Note: {note}" for note in self.notes]
        return "\n\n".join(parts) + "\n"

    def write_json(self, path: str | Path) -> None:
        content = {
            "header": self.header,
            "scenes": [asdict(scene) for scene in self.scenes],
            "rows": [asdict(row) for row in self.rows],
            "means": [
                asdict(row) for resolution in ("reduced", "full") for row in self.means(resolution)
            ],
            "notes": self.notes,
        }
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n")


def evaluate(
    folder: str | Path,
    methods: Sequence[str] = DEFAULT_METHODS,
    *,
    weights: str | Path | torch.nn.Module | None = None,
    sensor: str | None = None,
    border: int = DEFAULT_BORDER,
    device: str = "auto",
    seed: int = 0,
    step: Callable[[str], None] = lambda name: None,
) -> Evaluation:
    """Score methods on every scene of a folder.

    Scenes with NAME_gt.tif get reduced-resolution indexes, the others full-resolution ones. All
    methods see the phase that the transforms say. Classical methods wrap around at the borders, as
    in the toolbox, at reduced resolution; at full resolution, where no border is cut, they mirror.

    Args:
        folder: of NAME_pan.tif, NAME_ms.tif and maybe NAME_gt.tif and scenes.json.
        methods: names from `ksdiff.baselines.METHODS`, and ``ksdiff``.
        weights, device, seed: of KSDiff; see `Sharpener`.
        sensor: of all scenes, instead of what scenes.json says.
        border: pixels cut before reduced-resolution indexes, the toolbox's ``d``.
        step: called with each scene's name before it.

    Raises:
        KSDiffError: an unknown method, no scenes, pixels without data, a scene smaller than the
            border, no weights for any of the scenes.
    """
    methods = _known(methods)
    sharpener = None
    if KSDIFF in methods:
        sharpener = Sharpener(weights, device=device, seed=seed)
    scenes, rows, notes = [], [], []
    for files in list_scenes(folder):
        step(files.name)
        with open_pair(files.pan, files.ms) as pair:
            known = sensor_for(sensor or files.sensor, pair.bands, pair.ratio)
            patch = _complete(pair)
            truth = pair.read_truth(files.gt) if files.gt else None
            scene = _info(files, pair, known, truth)
            if truth is not None and min(pair.shape) < 2 * border + 32:
                raise KSDiffError(
                    f"{files.gt}: {pair.shape[0]} x {pair.shape[1]} pixels leave too little "
                    f"inside a border of {border}; give a smaller --border"
                )
            scenes.append(scene)
            judge = _judge(patch, pair, known, truth, scene.data_range, border)
            for method in methods:
                try:
                    fuse = _fusion(method, patch, pair, known, truth is not None, sharpener)
                    began = time.perf_counter()
                    fused = fuse()
                    seconds = time.perf_counter() - began
                except KSDiffError as error:
                    if method != KSDIFF:
                        raise
                    notes.append(f"{KSDIFF} left out on {scene.name}: {error}")
                    continue
                rows.append(Row(scene.name, method, scene.resolution, seconds, judge(fused)))
    if KSDIFF in methods and not any(row.method == KSDIFF for row in rows):
        raise KSDiffError(notes[0])
    settings = {
        "data": str(folder),
        "border": border,
        "weights": str(weights) if isinstance(weights, (str, Path)) else None,
        "sensor": sensor,
        "seed": seed,
    }
    return Evaluation(machine_header() | settings, scenes, rows, notes)


def _known(methods: Sequence[str]) -> list[str]:
    methods = list(dict.fromkeys(name.strip().lower() for name in methods if name.strip()))
    unknown = [name for name in methods if name not in DEFAULT_METHODS]
    if unknown or not methods:
        asked = unknown[0] if unknown else "none"
        raise KSDiffError(f"methods: {asked!r} is not one of {', '.join(DEFAULT_METHODS)}")
    return methods


def _complete(pair: ScenePair) -> Patch:
    patch = pair.read()
    if not (patch.pan_valid.all() and patch.ms_valid.all()):
        raise KSDiffError(
            f"{pair.name}: pixels without data cannot be judged; crop the scene to its valid part"
        )
    return patch


def _info(files: SceneFiles, pair: ScenePair, sensor: Sensor, truth: Tensor | None) -> SceneInfo:
    return SceneInfo(
        files.name,
        sensor.name,
        pair.bands,
        pair.ratio,
        "full" if truth is None else "reduced",
        *pair.shape,
        _data_range(sensor, pair, truth),
    )


def _data_range(sensor: Sensor, pair: ScenePair, truth: Tensor | None) -> float | None:
    """Largest possible DN: of the sensor, of the file's type; else guessed from the truth."""
    if truth is None:
        return None
    if sensor.name != "unknown":
        limit = 2.0**sensor.bits - 1
        if np.issubdtype(pair.dtype, np.integer):
            return min(limit, float(np.iinfo(pair.dtype).max))
        if truth.max() > 1:
            return limit
    highest = truth.max().item()
    return 2.0 ** math.ceil(math.log2(highest + 1)) - 1 if highest > 1 else 1.0


def _judge(
    patch: Patch,
    pair: ScenePair,
    sensor: Sensor,
    truth: Tensor | None,
    data_range: float | None,
    border: int,
) -> Callable[[Tensor], dict[str, float]]:
    if truth is not None:
        return lambda fused: reduced_indexes(fused, truth, pair.ratio, data_range, border)
    exp = Pair.of(patch.pan, patch.ms, sensor.ms_gains, pair.ratio, pair.phase, "reflect")
    return lambda fused: full_indexes(
        fused, patch.pan, patch.ms, exp.lms, sensor.ms_gains, pair.ratio, pair.phase
    )


def _fusion(
    method: str,
    patch: Patch,
    pair: ScenePair,
    sensor: Sensor,
    reduced: bool,
    sharpener: Sharpener | None,
) -> Callable[[], Tensor]:
    if method == KSDIFF:
        name = None if sensor.name == "unknown" else sensor.name
        return lambda: sharpener.sharpen(patch.pan[0], patch.ms[0], pair.phase, name)[None]
    boundary = "circular" if reduced else "reflect"
    gains, pan_gain = sensor.ms_gains, sensor.pan_gain
    return lambda: METHODS[method](
        Pair.of(patch.pan, patch.ms, gains, pair.ratio, pair.phase, boundary, pan_gain)
    )


def _table(title: str, rows: list[Row]) -> str:
    if not rows:
        return f"{title}\n\n(no rows)"
    names = list(rows[0].indexes)
    best = {}
    for name in names:
        choose = max if name in HIGHER_IS_BETTER else min
        best[name] = choose(row.indexes[name] for row in rows)
    cells = [["method", *names, "s"]]
    for row in rows:
        values = [
            f"**{row.indexes[name]:.4f}**"
            if row.indexes[name] == best[name]
            else f"{row.indexes[name]:.4f}"
            for name in names
        ]
        cells.append([row.method, *values, f"{row.seconds:.2f}"])
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([title, "", lines[0], rule, *lines[1:]])

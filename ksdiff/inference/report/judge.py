"""Indexes without truth, of a fused image and of the classical methods on the same pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from rasterio.windows import Window
from torch import Tensor

from ksdiff.baselines import METHODS
from ksdiff.images.expansion import expand
from ksdiff.images.inputs import SceneStatistics
from ksdiff.inference.classical import classical
from ksdiff.inference.progress import Stage, silent
from ksdiff.inference.scene import PreparedScene
from ksdiff.inference.survey import sample_windows
from ksdiff.io.geotiff import quantise
from ksdiff.io.image import Image
from ksdiff.metrics import full_indexes

_SIDES = (512, 256, 128, 64)  # PAN pixels of what is judged: the first of which one is all valid
_CANDIDATES = 16
_MARGIN = 32  # PAN pixels around it that filters see


class Judged(NamedTuple):
    """Indexes by method on one window, the best HQNR first."""

    window: tuple[int, int, int, int]  # top, left, height, width in PAN pixels
    whole: bool  # the window is the scene
    rows: list[tuple[str, dict[str, float]]]  # the fused image is called FUSED


FUSED = "fused"


def judged(
    scene: PreparedScene,
    fused: Image,
    made_by: str,
    together: bool = False,
    stage: Stage = silent,
) -> Judged | None:
    """Judge a fused image beside PAN and MS as they were fused, and classical methods likewise.

    Of a large scene it is the window that is most like the whole: of up to 16 far apart and full
    of data, the one whose PAN and MS have the means and deviations nearest to the scene's. What
    classical methods give is rounded and clipped as the fused image was.

    Args:
        made_by: the method that made the image; a classical one has no second row.

    Returns:
        None where no window has data everywhere, or there is one band only.
    """
    pair = scene.pair
    window = _window(scene, fused) if pair.bands > 1 else None
    if window is None:
        return None
    others = [name for name in METHODS if name != made_by]
    step = stage("Judging", len(others) + 1)
    top, left, height, width = window
    pan, ms, inner, coarse = _around(scene, window)
    beside = scene.alignment.together(ms) if together and scene.alignment is not None else ms
    lms = expand(beside, pair.ratio, pair.phase, "reflect")

    def indexes(image: Tensor) -> dict[str, float]:
        step()
        return full_indexes(
            image,
            pan[inner],
            beside[coarse],
            lms[inner],
            scene.gains,
            pair.ratio,
            pair.phase,
        )

    values, _ = fused.read(Window(left, top, width, height))
    found = [(FUSED, indexes(values.to(scene.device)))]
    for name in others:
        image = classical(scene, name, together)(pan, ms)[None][inner]
        found.append((name, indexes(_as_written(image, fused))))
    found.sort(key=lambda row: -row[1]["HQNR"])
    return Judged(window, (height, width) == tuple(pair.shape), found)


def _around(
    scene: PreparedScene, window: tuple[int, int, int, int]
) -> tuple[Tensor, Tensor, tuple, tuple]:
    """PAN and MS of a window with a margin, and where it lies in either."""
    pair, (top, left, height, width) = scene.pair, window
    margin = _MARGIN // pair.ratio * pair.ratio
    first = [max(0, at - margin) for at in (top, left)]
    stop = [
        min(length, at + side + margin)
        for at, side, length in zip((top, left), (height, width), pair.shape, strict=True)
    ]
    pan, ms = scene.images(pair.read(*first, *(b - a for a, b in zip(first, stop, strict=True))))
    rows = slice(top - first[0], top - first[0] + height)
    columns = slice(left - first[1], left - first[1] + width)
    coarse = (slice(s.start // pair.ratio, s.stop // pair.ratio) for s in (rows, columns))
    return pan, ms, (..., rows, columns), (..., *coarse)


def _as_written(image: Tensor, fused: Image) -> Tensor:
    values = image[0].cpu().numpy()
    whole = np.ones(values.shape, dtype=bool)
    written = quantise(values, whole, fused.dtype, fused.nodata)
    return torch.from_numpy(written.astype(np.float32))[None].to(image.device)


def _window(scene: PreparedScene, fused: Image) -> tuple[int, int, int, int] | None:
    shape, ratio = scene.pair.shape, scene.pair.ratio
    for side in _SIDES:
        found = []
        for window in sample_windows(shape, scene.surveyed, ratio, side, _CANDIDATES):
            patch = scene.pair.read(*window)
            top, left, height, width = window
            complete = fused.read(Window(left, top, width, height))[1].all()
            if complete and patch.pan_valid.all() and patch.ms_valid.all():
                own = SceneStatistics.of(patch.pan[0], patch.ms[0])
                found.append((_unlike(own, scene.statistics), window))
        if found:
            return min(found)[1]
    return None


def _unlike(own: SceneStatistics, whole: SceneStatistics) -> float:
    """How far a window's means and deviations are from a scene's, in the scene's deviations."""
    total = 0.0
    pairs = (
        (own.pan_mean, own.pan_std, whole.pan_mean, whole.pan_std),
        (
            own.ms_mean,
            own.ms_mean * own.spread,
            whole.ms_mean,
            whole.ms_mean * whole.spread,
        ),
    )
    for mean, deviation, scene_mean, scene_deviation in pairs:
        scene_mean, scene_deviation = scene_mean.cpu(), scene_deviation.cpu()
        off = (mean - scene_mean).abs() / scene_deviation
        total += float((off + torch.log(deviation / scene_deviation).abs()).mean())
    return total

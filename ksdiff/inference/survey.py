"""One streaming pass over a scene: its statistics, and where to look for its prior."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ksdiff.errors import KSDiffError
from ksdiff.images.inputs import SceneMoments, SceneStatistics
from ksdiff.images.pair import Pair

_CELL = 32  # PAN pixels: resolution of the map of valid pixels
_LEAST_SHARE = 0.9  # of valid pixels in a sample window, relative to the best window there is


@dataclass(frozen=True)
class Survey:
    statistics: SceneStatistics
    valid_share: np.ndarray  # [ceil(H / 32), ceil(W / 32)] of MS pixels with data in both images


def survey(pair: Pair, tile: int, step: Callable[[], None] = lambda: None) -> Survey:
    """Gather means, standard deviations and the map of valid pixels.

    Args:
        tile: side of the windows read, a multiple of 32.
        step: called after every window.

    Raises:
        KSDiffError: no pixel has data in both images.
    """
    height, width = pair.shape
    moments = SceneMoments()
    share = np.zeros((math.ceil(height / _CELL), math.ceil(width / _CELL)), dtype=np.float32)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            patch = pair.read(top, left, min(tile, height - top), min(tile, width - left))
            valid = whole_ms_pixels(patch.pan_valid, patch.ms_valid, pair.ratio)
            moments.update(patch.pan[0], patch.ms[0], None if valid.all() else valid)
            cell = _CELL // pair.ratio
            cells = F.avg_pool2d(
                valid[None].float(), cell, ceil_mode=True, count_include_pad=False
            )[0].numpy()
            row, column = top // _CELL, left // _CELL
            share[row : row + cells.shape[0], column : column + cells.shape[1]] = cells
            step()
    if not share.any():
        raise KSDiffError("pan and ms have no pixel with data in common")
    return Survey(moments.statistics(), share)


def whole_ms_pixels(pan_valid: Tensor, ms_valid: Tensor, ratio: int) -> Tensor:
    """MS pixels [h, w] that have data in every band and all over their block of PAN."""
    whole = ms_valid[0].all(0)
    if pan_valid.all():
        return whole
    return whole & (F.avg_pool2d(pan_valid.float(), ratio)[0, 0] == 1)


def sample_windows(
    shape: tuple[int, int], valid_share: np.ndarray, ratio: int, side: int, count: int
) -> list[tuple[int, int, int, int]]:
    """Choose up to ``count`` equally large windows, well filled and far from each other.

    Args:
        shape: of the scene in PAN pixels.
        valid_share: from `survey`.
        side: of a window; less where the scene is smaller, always a multiple of 8.

    Returns:
        (top, left, height, width) of each, in PAN pixels.
    """
    height, width = (min(side, length // 8 * 8) for length in shape)
    candidates = [
        (top, left)
        for top in _even_starts(shape[0], height, ratio)
        for left in _even_starts(shape[1], width, ratio)
    ]
    shares = np.array(
        [
            valid_share[
                top // _CELL : math.ceil((top + height) / _CELL),
                left // _CELL : math.ceil((left + width) / _CELL),
            ].mean()
            for top, left in candidates
        ]
    )
    good = np.array(candidates, dtype=float)[shares >= _LEAST_SHARE * shares.max()]
    chosen = _spread(good, count)
    return [(int(top), int(left), height, width) for top, left in chosen]


def _even_starts(length: int, size: int, ratio: int) -> list[int]:
    count = math.ceil((length - size) / size) + 1
    return [int(at) // ratio * ratio for at in np.linspace(0, length - size, count)]


def _spread(points: np.ndarray, count: int) -> np.ndarray:
    """Farthest-point sampling from the point nearest to the middle; reading order."""
    chosen = [int(np.argmin(np.square(points - points.mean(0)).sum(1)))]
    distance = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        distance = np.minimum(distance, np.square(points - points[chosen[-1]]).sum(1))
        chosen.append(int(np.argmax(distance)))
    return points[sorted(chosen)]

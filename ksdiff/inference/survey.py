"""One streaming pass over a scene: its statistics, and where to look for its prior."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ksdiff.errors import KSDiffError
from ksdiff.images.inputs import SceneMoments, SceneStatistics
from ksdiff.images.pair import Pair

_CELL = 32  # PAN pixels: resolution of the map of valid pixels, at least
_LEAST_SHARE = 0.9  # of valid pixels in a sample window, relative to the best window there is


class NothingInCommon(KSDiffError):
    """A pair of which no pixel has data in both images."""


@dataclass(frozen=True)
class Survey:
    statistics: SceneStatistics
    # [ceil(H / cell), ceil(W / cell)]: of MS pixels with data in both images
    valid_share: np.ndarray
    detail: np.ndarray  # of the same shape: mean difference of neighbouring PAN pixels, DN
    cell: int  # PAN pixels


def survey(pair: Pair, tile: int, step: Callable[[], None] = lambda: None) -> Survey:
    """Gather means, standard deviations and the map of valid pixels.

    Args:
        tile: side of the windows read, about.
        step: called after every window.

    Raises:
        KSDiffError: no pixel has data in both images.
    """
    rows, columns = (survey_spans(length, tile, pair.ratio) for length in pair.shape)

    def parts() -> Iterator[SurveyPart]:
        for (top, bottom), (left, right) in itertools.product(rows, columns):
            yield SurveyPart.of(pair, top, left, bottom - top, right - left)
            step()

    return surveyed(pair.shape, pair.ratio, parts())


def _cell(ratio: int) -> int:
    """Resolution of the map of valid pixels, in PAN pixels: whole MS pixels."""
    return math.ceil(_CELL / ratio) * ratio


def survey_spans(length: int, tile: int, ratio: int) -> list[tuple[int, int]]:
    """Where the windows that a survey reads start and stop along an axis, in PAN pixels."""
    tile -= tile % _cell(ratio)
    return [(start, min(start + tile, length)) for start in range(0, length, tile)]


class SurveyPart(NamedTuple):
    """What a survey learns from one window."""

    top: int  # PAN pixels
    left: int
    moments: SceneMoments
    valid_share: np.ndarray  # as in `Survey`, of the window
    detail: np.ndarray

    @classmethod
    def of(cls, pair: Pair, top: int, left: int, height: int, width: int) -> SurveyPart:
        patch = pair.read(top, left, height, width)
        valid = whole_ms_pixels(patch.pan_valid, patch.ms_valid, pair.ratio)
        moments = SceneMoments()
        moments.update(patch.pan[0], patch.ms[0], None if valid.all() else valid)
        cell = _cell(pair.ratio)
        share, detail = (
            F.avg_pool2d(image, side, ceil_mode=True, count_include_pad=False)[0].numpy()
            for image, side in (
                (valid[None].float(), cell // pair.ratio),
                (_differences(patch.pan[0], patch.pan_valid[0]), cell),
            )
        )
        return cls(top, left, moments, share, detail)


def _differences(pan: Tensor, valid: Tensor) -> Tensor:
    """Absolute ones between horizontal neighbours that both have data, [1, H, W], else 0."""
    apart = (pan[..., 1:] - pan[..., :-1]).abs()
    if not valid.all():
        apart *= valid[..., 1:] & valid[..., :-1]
    return F.pad(apart, (0, 1))


def surveyed(shape: tuple[int, int], ratio: int, parts: Iterable[SurveyPart]) -> Survey:
    """Add up the parts of a scene, which come in reading order.

    Raises:
        KSDiffError: no pixel has data in both images.
    """
    moments, cell = SceneMoments(), _cell(ratio)
    share, detail = np.zeros((2, *(math.ceil(length / cell) for length in shape)), dtype=np.float32)
    for part in parts:
        moments.add(part.moments)
        row, column = part.top // cell, part.left // cell
        height, width = part.valid_share.shape
        area = slice(row, row + height), slice(column, column + width)
        share[area], detail[area] = part.valid_share, part.detail
    if not share.any():
        raise NothingInCommon("pan and ms have no pixel with data in common")
    return Survey(moments.statistics(), share, detail, cell)


def whole_ms_pixels(pan_valid: Tensor, ms_valid: Tensor, ratio: int) -> Tensor:
    """MS pixels [h, w] that have data in every band and all over their block of PAN."""
    whole = ms_valid[0].all(0)
    if pan_valid.all():
        return whole
    return whole & (F.avg_pool2d(pan_valid.float(), ratio)[0, 0] == 1)


def sample_windows(
    shape: tuple[int, int], known: Survey, ratio: int, side: int, count: int
) -> list[tuple[int, int, int, int]]:
    """Choose up to ``count`` equally large windows, well filled and far from each other.

    Args:
        shape: of the scene in PAN pixels.
        known: from `survey`.
        side: of a window; less where the scene is smaller, always a multiple of 8 and the ratio.

    Returns:
        (top, left, height, width) of each, in PAN pixels.
    """
    step, cell = math.lcm(8, ratio), known.cell
    height, width = (min(side, length) // step * step for length in shape)
    candidates = [
        (top, left)
        for top in _even_starts(shape[0], height, ratio)
        for left in _even_starts(shape[1], width, ratio)
    ]
    shares = np.array(
        [
            known.valid_share[
                top // cell : math.ceil((top + height) / cell),
                left // cell : math.ceil((left + width) / cell),
            ].mean()
            for top, left in candidates
        ]
    )
    good = np.array(candidates, dtype=float)[shares >= _LEAST_SHARE * shares.max()]
    chosen = _spread(good, count)
    return [(int(top), int(left), height, width) for top, left in chosen]


def most_detailed(
    shape: tuple[int, int], known: Survey, ratio: int, side: int
) -> tuple[int, int, int, int]:
    """The window with the most detail, at most ``side`` wide and high.

    Returns:
        (top, left, height, width) in PAN pixels, multiples of the ratio.
    """
    sides = [min(side, length) // ratio * ratio for length in shape]
    sums = np.pad(known.detail, ((1, 0), (1, 0))).cumsum(0, dtype=float).cumsum(1)
    down, right = (math.ceil(length / known.cell) for length in sides)
    found = sums[down:] - sums[:-down]
    found = found[:, right:] - found[:, :-right]
    best = np.unravel_index(int(found.argmax()), found.shape)
    top, left = (
        min(int(at) * known.cell, (length - s) // ratio * ratio)
        for at, length, s in zip(best, shape, sides, strict=True)
    )
    return top, left, sides[0], sides[1]


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

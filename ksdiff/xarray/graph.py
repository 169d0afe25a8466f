"""A dask graph whose blocks are the windows of a scene.

Every survey window is a task, one task makes the scene's prior of them, and every fusion window is
a task that gets its pixels and those around it. A last task per window blends it with the rims of
its neighbours. The computations are those of `Sharpener`, in the same order.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import dask.array as da
import numpy as np
import torch
from dask.base import tokenize
from dask.delayed import Delayed
from dask.graph_manipulation import bind
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from ksdiff.images.placement import MARGIN
from ksdiff.inference.processes import FUSING, Prepared, Recipe, fuser_of, sharpener_of
from ksdiff.inference.survey import SurveyPart, survey_spans, surveyed
from ksdiff.inference.tiles import Span, weigh
from ksdiff.inference.windows import begin_window, read_window, window_spans
from ksdiff.io.geotiff import quantise
from ksdiff.xarray.images import ArrayPair


class Window(NamedTuple):
    """A fused window, weighted for blending, and where it has data."""

    values: np.ndarray  # [C, height, width] of its spans
    valid: np.ndarray


class Rims(NamedTuple):
    """What a window adds to its neighbours."""

    right: np.ndarray
    below: np.ndarray
    corner: np.ndarray


def fused_array(pair: ArrayPair, pan: da.Array, ms: da.Array, recipe: Recipe) -> da.Array:
    """The fused scene [C, H, W]; a chunk is what one window finishes.

    Args:
        pair: the scene, its values those of ``pan`` and ``ms``.
        pan, ms: [1, H, W] and [C, h, w] of numpy or dask, not yet cut to the shared extent.
    """
    sharpener_of(recipe).check(pair)
    tile, bare = recipe.options.tile, pair.holding(None, None)
    rows, columns = (window_spans(length, tile, pair.ratio) for length in pair.shape)
    pan, ms = (
        da.asarray(image)[:, area[0], area[1]]
        for image, area in zip((pan, ms), pair.areas, strict=True)
    )
    token = tokenize(pan.name, ms.name, *pair.identity, recipe)
    name, window, rims, survey, prepared = (
        f"ksdiff-{part}-{token}" for part in ("sharpen", "window", "rims", "survey", "prepare")
    )
    tasks: dict[Key, object] = {}
    looked = [survey_spans(length, tile, pair.ratio) for length in pair.shape]
    far = _blocks(pan, ms, pair.ratio, looked)
    for i, j in _places(looked):
        look = functools.partial(_survey, bare, looked[0][i], looked[1][j])
        tasks[survey, i, j] = (look, *_keys(far, i, j))
    surveys = list(tasks)
    tasks[prepared] = (functools.partial(_prepare, recipe, pair, token), surveys)
    # Dask's own collections do not pass as what its annotations ask for.
    layers = HighLevelGraph.from_collections(prepared, tasks, far)  # type: ignore[arg-type]
    scene = Delayed(prepared, layers)
    # Windows wait for the whole survey. Chunks that both used would stay in memory until then, and
    # so would those of windows that were read before.
    pan, ms = (bind(image, scene, seed=token) for image in (pan, ms))
    tasks = {}
    seen = [_seen(spans, pair.ratio) for spans in (rows, columns)]
    near = _blocks(pan, ms, pair.ratio, seen)
    for i, j in _places(seen):
        corner = seen[0][i][0], seen[1][j][0]
        fuse = functools.partial(_fuse, recipe, bare, corner, rows[i], columns[j])
        tasks[window, i, j] = (fuse, prepared, *_keys(near, i, j))
        tasks[rims, i, j] = (functools.partial(_rims, rows[i], columns[j]), (window, i, j))
        beside = [
            (rims, i - up, j - left) if i >= up and j >= left else None
            for up, left in ((0, 1), (1, 0), (1, 1))
        ]
        blend = functools.partial(_blend, bare, rows[i], columns[j])
        tasks[name, 0, i, j] = (blend, (window, i, j), *beside)
    graph = HighLevelGraph.from_collections(name, tasks, [*near, scene])  # type: ignore[list-item]
    chunks = tuple(tuple(s.finished - s.start for s in spans) for spans in (rows, columns))
    return da.Array(graph, name, ((pair.bands,), *chunks), pair.dtype)


def _places(spans: list[list[tuple[int, int]]]) -> Iterator[tuple[int, int]]:
    return itertools.product(range(len(spans[0])), range(len(spans[1])))


def _keys(images: tuple[da.Array, ...], i: int, j: int) -> list[Key]:
    return [(image.name, 0, i, j) for image in images]


def _blocks(
    pan: da.Array, ms: da.Array, ratio: int, spans: list[list[tuple[int, int]]]
) -> tuple[da.Array, da.Array]:
    """Both images with chunks that are the pixels at ``spans``, of rows and columns of PAN."""
    coarse = [[(start // ratio, stop // ratio) for start, stop in axis] for axis in spans]
    return _chunked(pan, spans), _chunked(ms, coarse)


def _chunked(image: da.Array, spans: Sequence[list[tuple[int, int]]]) -> da.Array:
    """An image whose chunks are its pixels at ``spans``, which may overlap, side by side."""
    for axis, along in enumerate(spans, start=1):
        places = [(*[slice(None)] * axis, slice(*span)) for span in along]
        parts = [image[place] for place in places]
        image = da.concatenate(parts, axis).rechunk({axis: tuple(b - a for a, b in along)})
    return image.rechunk({0: -1})


def _seen(spans: list[Span], ratio: int) -> list[tuple[int, int]]:
    """What windows read along an axis, with what registering PAN needs around it."""
    length = spans[-1].stop
    return [
        (
            max(span.read_start - MARGIN, 0) // ratio * ratio,
            min(math.ceil((span.read_stop + MARGIN) / ratio) * ratio, length),
        )
        for span in spans
    ]


def _survey(
    bare: ArrayPair,
    rows: tuple[int, int],
    columns: tuple[int, int],
    pan: np.ndarray,
    ms: np.ndarray,
) -> SurveyPart:
    pair = bare.holding(pan, ms, rows[0], columns[0])
    return SurveyPart.of(pair, rows[0], columns[0], rows[1] - rows[0], columns[1] - columns[0])


def _prepare(recipe: Recipe, pair: ArrayPair, token: str, parts: list[SurveyPart]) -> Prepared:
    """Reads a few windows of the scene, which the survey chooses: computes them on its own."""
    return Prepared.of(recipe, pair, None, surveyed(pair.shape, pair.ratio, parts), token)


def _fuse(
    recipe: Recipe,
    bare: ArrayPair,
    corner: tuple[int, int],
    row: Span,
    column: Span,
    prepared: Prepared,
    pan: np.ndarray,
    ms: np.ndarray,
) -> Window:
    scene = prepared.on(bare.holding(pan, ms, *corner))
    with torch.inference_mode():
        patch = read_window(scene.pair, row, column)
        with FUSING:
            fuse = fuser_of(recipe, prepared)
            begun = begin_window(scene, fuse, patch, row, column)
            fused = begun.fused()
        weigh(fused, row, column)
        return Window(fused.numpy().copy(), begun.valid.numpy().copy())


def _rims(row: Span, column: Span, window: Window) -> Rims:
    height, width = row.finished - row.start, column.finished - column.start
    values = window.values
    return Rims(
        values[:, :height, width:].copy(),
        values[:, height:, :width].copy(),
        values[:, height:, width:].copy(),
    )


def _blend(
    bare: ArrayPair,
    row: Span,
    column: Span,
    window: Window,
    left: Rims | None,
    above: Rims | None,
    corner: Rims | None,
) -> np.ndarray:
    """As `Blender` does: first what lies left, in either row, then what lies above."""
    height, width = row.finished - row.start, column.finished - column.start
    values = window.values[:, :height, :width].copy()
    if left is not None:
        values[:, :, : column.ramp_up] += left.right
    if above is not None:
        below = above.below.copy()
        if corner is not None:
            below[:, :, : column.ramp_up] += corner.corner
        values[:, : row.ramp_up] += below
    return quantise(values, window.valid[:, :height, :width], bare.dtype, bare.nodata)

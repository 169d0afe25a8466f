"""Fusing a prepared scene window by window."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ksdiff.images.pair import Pair, Patch
from ksdiff.images.polyphase import extend
from ksdiff.inference.progress import Stage, silent
from ksdiff.inference.scene import PreparedScene
from ksdiff.inference.tiles import Blender, Span, plan_spans
from ksdiff.inference.transfer import ahead, download, held_back, side_by_side

_MULTIPLE = 8  # PAN pixels: the network halves its input three times
_OVERLAP = 16  # PAN pixels over which neighbours blend
_ROUNDS = 2  # windows for each thread, or those of an operation share a window's work better
_MARGIN = 24  # PAN pixels around a window that its filters need and its result drops

# Fused DN [C, H, W] from PAN [1, 1, H, W] and MS [1, C, h, w], DN without holes.
Fuse = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Finished:
    """A finished part of the fused image."""

    fused: Tensor  # [C, h, w] DN
    valid: Tensor  # [C, h, w] bool, its pixels that have data
    top: int  # of its corner, PAN pixels
    left: int


@dataclass(frozen=True)
class Part(Finished):
    """A finished part of the fused image, and what it was made of."""

    source: Patch  # what lies there of PAN and MS


class Beside(NamedTuple):
    """A window that is blended with those to its left and right, not yet with those above."""

    fused: Tensor  # [C, height, w] DN, weighted; of its span's height, with what it adds below
    valid: Tensor  # [C, h, w] bool, of what it finishes; [1, 1, 1] for all of it


class Begun(NamedTuple):
    fused: Callable[[], Tensor]  # waits for the window's DN [C, h, w]
    valid: Tensor
    source: Patch


def fused_windows(
    scene: PreparedScene,
    fuse: Fuse,
    tile: int,
    in_flight: int = 0,
    stage: Stage = silent,
    threads: int = 1,
) -> Iterator[Part]:
    """The fused scene, part by part in reading order.

    Args:
        tile: side of a window in PAN pixels.
        in_flight: windows whose results are waited for only after the next ones have begun.
        stage: progress callback.
        threads: that compute windows side by side, where there are enough windows for them.
    """
    rows, columns = window_grid(scene.pair, tile)
    blender = Blender(rows, columns)
    chosen = range(len(rows))
    step = stage("Sharpening", len(rows) * len(columns))
    for i, j, window in _begun(scene, fuse, rows, columns, chosen, in_flight, threads):
        fused = blender.add(window.fused(), i, j)
        height, width = fused.shape[1:]
        yield Part(
            fused,
            window.valid[:, :height, :width],
            rows[i].start,
            columns[j].start,
            window.source.cropped(slice(0, height), slice(0, width)),
        )
        step()


def fused_row(
    scene: PreparedScene, fuse: Fuse, tile: int, row: int, in_flight: int = 0
) -> Iterator[Beside]:
    """One row of the windows of `fused_windows`, from left to right, for `stacked`."""
    rows, columns = window_grid(scene.pair, tile)
    blender, height = Blender(rows, columns), rows[row].finished - rows[row].start
    for i, j, window in _begun(scene, fuse, rows, columns, [row], in_flight):
        fused = blender.beside(window.fused(), i, j)
        yield Beside(fused, window.valid[:, :height, : fused.shape[2]])


def stacked(pair: Pair, tile: int, fused: Iterable[Iterable[Beside]]) -> Iterator[Finished]:
    """What `fused_windows` yields, from all rows of `fused_row`, the topmost first."""
    rows, columns = window_grid(pair, tile)
    blender = Blender(rows, columns)
    for i, row in enumerate(fused):
        for j, window in enumerate(row):
            done = blender.above(window.fused, i, j)
            yield Finished(done, window.valid.expand(done.shape), rows[i].start, columns[j].start)


def window_grid(pair: Pair, tile: int) -> tuple[list[Span], list[Span]]:
    """The windows of a scene along both axes."""
    height, width = pair.shape
    return window_spans(height, tile, pair.ratio), window_spans(width, tile, pair.ratio)


def _begun(
    scene: PreparedScene,
    fuse: Fuse,
    rows: list[Span],
    columns: list[Span],
    chosen: Sequence[int],
    in_flight: int,
    threads: int = 1,
) -> Iterator[tuple[int, int, Begun]]:
    """The windows of these rows in reading order, read ahead of what is computed."""
    places = itertools.product(chosen, range(len(columns)))
    read = ahead((i, j, read_window(scene.pair, rows[i], columns[j])) for i, j in places)

    def begin(place: tuple[int, int, Patch]) -> tuple[int, int, Begun]:
        i, j, patch = place
        return i, j, begin_window(scene, fuse, patch, rows[i], columns[j])

    threads = min(threads, len(chosen) * len(columns) // _ROUNDS)
    begun = side_by_side(begin, read, threads) if threads > 1 else map(begin, read)
    return held_back(begun, in_flight)


def read_window(pair: Pair, row: Span, column: Span) -> Patch:
    return pair.read(
        row.read_start,
        column.read_start,
        row.read_stop - row.read_start,
        column.read_stop - column.read_start,
    )


def window_spans(length: int, tile: int, ratio: int) -> list[Span]:
    """The windows along an axis of a scene, in PAN pixels; they start with MS pixels."""
    multiple = math.lcm(_MULTIPLE, ratio)
    overlap, margin = (math.ceil(size / multiple) * multiple for size in (_OVERLAP, _MARGIN))
    return plan_spans(length, tile // multiple * multiple, overlap, margin, multiple)


def begin_window(scene: PreparedScene, fuse: Fuse, patch: Patch, row: Span, column: Span) -> Begun:
    """Start fusing a window."""
    pair = scene.pair
    inner = tuple(slice(s.start - s.read_start, s.stop - s.read_start) for s in (row, column))
    valid = valid_output(patch, pair.ratio, pair.phase)[..., inner[0], inner[1]]
    source = patch.cropped(*inner)
    if not (patch.pan_valid.any() and patch.ms_valid.any()):
        return Begun(download(torch.zeros(valid.shape)), valid, source)
    size = (row.padded_stop - row.read_start, column.padded_stop - column.read_start)
    fused = fuse(*scene.images(_mirrored(patch, size, pair.ratio)))
    return Begun(download(fused[..., inner[0], inner[1]]), valid, source)


def valid_output(patch: Patch, ratio: int, phase: tuple[float, float]) -> Tensor:
    """Pixels of the fused window that have data [C, H, W]: PAN's and the nearest MS pixel's."""
    if patch.ms_valid.all():
        return patch.pan_valid[0].expand(patch.ms_valid.shape[1], -1, -1)
    nearest = [
        torch.floor((torch.arange(length) - at) / ratio + 0.5).long().clamp(0, count - 1)
        for length, count, at in zip(patch.pan.shape[-2:], patch.ms.shape[-2:], phase, strict=True)
    ]
    ms_valid = patch.ms_valid[0][:, nearest[0]][:, :, nearest[1]]
    return ms_valid & patch.pan_valid[0]


def _mirrored(patch: Patch, size: tuple[int, int], ratio: int) -> Patch:
    """Continue a window beyond the scene, to the size that the network takes."""
    parts = []
    for values, scale in zip(patch, (1, ratio, 1, ratio), strict=True):
        for dim, length in zip((-2, -1), size, strict=True):
            values = extend(values, dim, 0, length // scale, "symmetric")
        parts.append(values)
    return Patch(*parts)

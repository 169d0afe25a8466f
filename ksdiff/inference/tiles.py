"""Overlapping windows that cover a scene, and the blending of what is computed in them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Span:
    """One axis of a window, in pixels of the scene."""

    start: int  # what the result covers, the overlap with the next span included
    stop: int
    finished: int  # from ``start`` to here no later span adds anything
    read_start: int  # what the model sees
    read_stop: int
    padded_stop: int  # ``read_stop``, or beyond the scene to reach a multiple
    ramp_up: int  # pixels over which the weight rises from 0 to 1; 0 at the scene's edge
    ramp_down: int

    def ramps(self) -> Iterator[tuple[slice, Tensor]]:
        """Where the result blends with that of neighbours, and float32 weights that add up to one
        with theirs; elsewhere the weight is one."""
        if self.ramp_up:
            yield slice(0, self.ramp_up), _ramp(self.ramp_up)
        if self.ramp_down:
            yield slice(-self.ramp_down, None), _ramp(self.ramp_down).flip(0)


def _ramp(length: int) -> Tensor:
    at = (torch.arange(length, dtype=torch.float64) + 0.5) / length
    return (torch.sin(0.5 * math.pi * at) ** 2).float()


def plan_spans(length: int, stride: int, overlap: int, margin: int, multiple: int) -> list[Span]:
    """Cover ``length`` pixels.

    Args:
        length: of the axis.
        stride: from one span to the next; the last one may be longer by up to ``overlap``.
        overlap: pixels that two neighbours share and blend.
        margin: further pixels the model sees on either side and whose result is dropped.
        multiple: what the model sees is a multiple of this, in size; all others are, too.
    """
    for name, value in (("stride", stride), ("overlap", overlap), ("margin", margin)):
        if value % multiple:
            raise ValueError(f"{name}: expected a multiple of {multiple}, got {value}")
    if not 0 < overlap <= stride:
        raise ValueError(f"overlap: expected 1 to {stride} pixels, got {overlap}")
    starts = list(range(0, max(length - overlap, 1), stride))
    spans = []
    for index, start in enumerate(starts):
        last = index == len(starts) - 1
        stop = length if last else start + stride + overlap
        read_start, read_stop = max(start - margin, 0), min(stop + margin, length)
        size = math.ceil((read_stop - read_start) / multiple) * multiple
        read_start = max(read_stop - size, 0)
        spans.append(
            Span(
                start=start,
                stop=stop,
                finished=length if last else start + stride,
                read_start=read_start,
                read_stop=read_stop,
                padded_stop=read_start + size,
                ramp_up=overlap if index else 0,
                ramp_down=0 if last else overlap,
            )
        )
    return spans


def weigh(values: Tensor, row: Span, column: Span) -> None:
    """Multiply a window's result [C, height, width] by its weights, in place."""
    for at, weights in row.ramps():
        values[:, at] *= weights[:, None]
    for at, weights in column.ramps():
        values[..., at] *= weights


class Blender:
    """Adds up windows in reading order and hands out each part as soon as it is finished.

    It holds one strip of the scene's width and the overlap's height, never the scene.
    """

    def __init__(self, rows: list[Span], columns: list[Span]):
        self._rows = rows
        self._columns = columns
        self._right: Tensor | None = None
        self._below: dict[int, Tensor] = {}

    def add(self, values: Tensor, row: int, column: int) -> Tensor:
        """Add window (row, column), [C, height, width] of its spans, which are overwritten.

        Returns:
            [C, h, w], finished, with its corner at the starts of the two spans.
        """
        return self.above(self.beside(values, row, column), row, column)

    def beside(self, values: Tensor, row: int, column: int) -> Tensor:
        """Blend a window with the one to its left, which came before; ``values`` are overwritten.

        Returns:
            [C, height, w]: its columns are finished, its rows want `above`.
        """
        rows, columns = self._rows[row], self._columns[column]
        weigh(values, rows, columns)
        if column and self._right is not None:
            values[..., : columns.ramp_up] += self._right
        width = columns.finished - columns.start
        self._right = values[..., width:].clone()
        return values[..., :width]

    def above(self, values: Tensor, row: int, column: int) -> Tensor:
        """Blend what `beside` gave with what lies above; every row comes after the one before.

        Returns:
            [C, h, w], finished.
        """
        rows = self._rows[row]
        height = rows.finished - rows.start
        if row:
            values[:, : rows.ramp_up] += self._below.pop(column)
        self._below[column] = values[:, height:].clone()
        return values[:, :height]

"""Moves PAN onto its MS: delivered pairs are off by a fraction of a pixel, sometimes by many."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ksdiff.images.fields import Field
from ksdiff.images.fill import fill_invalid
from ksdiff.images.pair import Pair, Patch
from ksdiff.images.resample import displaced
from ksdiff.images.translation import shift

# PAN pixels: the longest shift and half the taps of the filter that applies it
MARGIN = 32

Move = tuple[float, float] | Field  # (dy, dx) in PAN pixels, by which PAN lies off the MS


class Window(NamedTuple):
    """A window as read, with surroundings for filters."""

    wide: Patch
    rows: slice  # of the window, in PAN pixels of ``wide``
    columns: slice
    top: int  # of the window, in PAN pixels of the scene
    left: int

    @classmethod
    def read(cls, pair: Pair, top: int, left: int, height: int, width: int) -> Window:
        """The window at (top, left) with its surroundings, as far as the scene extends."""
        margin = math.ceil(MARGIN / pair.ratio) * pair.ratio
        spans, inner = [], []
        for start, size, length in ((top, height, pair.shape[0]), (left, width, pair.shape[1])):
            first, stop = max(start - margin, 0), min(start + size + margin, length)
            spans.append((first, stop - first))
            inner.append(slice(start - first, start - first + size))
        (row, rows), (column, columns) = spans
        return cls(pair.read(row, column, rows, columns), inner[0], inner[1], top, left)

    def delivered(self) -> Patch:
        """The window as it was read."""
        return self.wide.cropped(self.rows, self.columns)

    def moved_back(self, off: Move) -> Patch:
        """The window with PAN moved back by ``off``, and its pixels without data too."""
        pan, valid = self.wide.pan, self.wide.pan_valid
        if not valid.all():
            mean = pan.sum() / valid.sum().clamp_min(1)
            pan = fill_invalid(pan, valid, mean, MARGIN)
        # The nearest pixel decides whether a moved one has data.
        if isinstance(off, Field):
            rows, columns = self.top - self.rows.start, self.left - self.columns.start
            down, right = off.over(rows, columns, *pan.shape[-2:])
            pan = displaced(pan, down, right)
            moved = valid if valid.all() else _nearest(valid, down, right)
        else:
            dy, dx = (-step for step in off)
            pan = shift(pan, dy, dx)
            moved = shift(valid.float(), round(dy), round(dx)) > 0.5
        if not valid.all():
            valid = moved
            pan = torch.where(valid, pan, 0.0)
        return self.wide._replace(pan=pan, pan_valid=valid).cropped(self.rows, self.columns)


def _nearest(valid: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """`displaced` of pixels that have data or not, [1, 1, H, W]."""
    height, width = valid.shape[-2:]
    rows = torch.arange(height)[:, None] + down.round().long()
    columns = torch.arange(width) + right.round().long()
    return valid[..., rows.clamp(0, height - 1), columns.clamp(0, width - 1)]


class RegisteredPair:
    """A pair whose PAN is moved back by ``off``, onto its MS."""

    def __init__(self, pair: Pair, off: Move) -> None:
        self._pair, self._off = pair, off
        self.shape, self.bands, self.ratio = pair.shape, pair.bands, pair.ratio
        self.phase = pair.phase

    def read(
        self, top: int = 0, left: int = 0, height: int | None = None, width: int | None = None
    ) -> Patch:
        """See `Pair.read`."""
        height = self.shape[0] - top if height is None else height
        width = self.shape[1] - left if width is None else width
        return Window.read(self._pair, top, left, height, width).moved_back(self._off)

"""Registration of PAN to MS: deliveries are off by a fraction of a pixel, sometimes by two."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ksdiff.images.bands import Alignment
from ksdiff.images.fill import fill_invalid
from ksdiff.images.optics import measured_gains
from ksdiff.images.pair import Pair, Patch
from ksdiff.images.shifts import estimate_shift
from ksdiff.images.wald import shift
from ksdiff.runtime import alone_if_small
from ksdiff.sensors import Sensor

_LEAST_SIDE = 192  # PAN pixels: a smaller image does not determine the shift well enough
_LEAST_SHIFT = 0.1  # PAN pixels: the estimate's own uncertainty
_MOST_DISAGREEMENT = 0.3  # PAN pixels, median distance of the windows' estimates from their median
MARGIN = 24  # PAN pixels: the longest shift and half the taps of the filter that applies it


def measure_shift(
    windows: Sequence[tuple[Tensor, Tensor]],
    gains: tuple[float, ...],
    phase: tuple[float, float],
) -> tuple[float, float]:
    """(dy, dx) by which PAN's content lies further down and right than the MS's, in PAN pixels.

    The median over windows of a scene; (0, 0) where they are too small, do not agree, or the shift
    is below what can be told from none.

    Args:
        windows: PAN [1, 1, H, W] and MS [1, C, H / ratio, W / ratio], without holes.
        gains: [C] MTF gains at Nyquist.
        phase: PAN coordinate (y, x) of the centre of MS pixel (0, 0).
    """
    if min(windows[0][0].shape[-2:]) < _LEAST_SIDE:
        return 0.0, 0.0
    with alone_if_small(windows[0][0]):
        estimates = [estimate_shift(pan, ms, gains, phase) for pan, ms in windows]
    dy, dx = (statistics.median(axis) for axis in zip(*estimates, strict=True))
    spread = statistics.median(max(abs(y - dy), abs(x - dx)) for y, x in estimates)
    if spread > _MOST_DISAGREEMENT or max(abs(dy), abs(dx)) < _LEAST_SHIFT:
        return 0.0, 0.0
    return dy, dx


class Placed(NamedTuple):
    """Registered windows of a scene, as far as possible without reading them again."""

    windows: list[tuple[Tensor, Tensor]]  # PAN as it lies; MS, its bands together
    alignment: Alignment | None
    shift: tuple[float, float]  # of PAN, see `measure_shift`
    gains: tuple[float, ...]  # [C] MTF gains at Nyquist that the windows show


def put_in_place(
    windows: list[tuple[Tensor, Tensor]],
    sensor: Sensor,
    phase: tuple[float, float],
    register: bool = True,
) -> Placed:
    """Register bands, and measure PAN's shift and the MTF; without ``register`` only the MTF.

    Arguments as for `measure_shift`.
    """
    alignment, moved = None, (0.0, 0.0)
    if register:
        pan, ms = windows[0]
        ratio = pan.shape[-1] // ms.shape[-1]
        alignment = Alignment.measured([ms for _, ms in windows], sensor, ratio)
        if alignment is not None:
            windows = [(pan, alignment.together(ms)) for pan, ms in windows]
        moved = measure_shift(windows, sensor.ms_gains, phase)
    return Placed(windows, alignment, moved, measured_gains(windows, sensor.ms_gains, phase, moved))


class Window(NamedTuple):
    """What was read of a window and, for filters, around it."""

    wide: Patch
    rows: slice  # of the window, in PAN pixels of ``wide``
    columns: slice

    @classmethod
    def read(cls, pair: Pair, top: int, left: int, height: int, width: int) -> Window:
        """The window at (top, left) with what lies around it, as far as the scene reaches."""
        margin = math.ceil(MARGIN / pair.ratio) * pair.ratio
        spans, inner = [], []
        for start, size, length in ((top, height, pair.shape[0]), (left, width, pair.shape[1])):
            first, stop = max(start - margin, 0), min(start + size + margin, length)
            spans.append((first, stop - first))
            inner.append(slice(start - first, start - first + size))
        (row, rows), (column, columns) = spans
        return cls(pair.read(row, column, rows, columns), *inner)

    def delivered(self) -> Patch:
        """The window as it was read."""
        return self.wide.cropped(self.rows, self.columns)

    def moved(self, dy: float, dx: float) -> Patch:
        """The window with PAN moved by ``(dy, dx)``, its pixels without data along with it."""
        pan, valid = self.wide.pan, self.wide.pan_valid
        if not valid.all():
            mean = pan.sum() / valid.sum().clamp_min(1)
            pan = fill_invalid(pan, valid, mean, MARGIN)
        pan = shift(pan, dy, dx)
        if not valid.all():
            # The nearest pixel decides whether a moved one has data.
            valid = shift(valid.float(), round(dy), round(dx)) > 0.5
            pan = torch.where(valid, pan, 0.0)
        return self.wide._replace(pan=pan, pan_valid=valid).cropped(self.rows, self.columns)


class RegisteredPair:
    """A pair whose PAN is moved back by ``(dy, dx)``, onto its MS."""

    def __init__(self, pair: Pair, dy: float, dx: float) -> None:
        self._pair, self._step = pair, (-dy, -dx)
        self.shape, self.bands, self.ratio = pair.shape, pair.bands, pair.ratio
        self.phase = pair.phase

    def read(
        self, top: int = 0, left: int = 0, height: int | None = None, width: int | None = None
    ) -> Patch:
        """See `Pair.read`."""
        height = self.shape[0] - top if height is None else height
        width = self.shape[1] - left if width is None else width
        return Window.read(self._pair, top, left, height, width).moved(*self._step)

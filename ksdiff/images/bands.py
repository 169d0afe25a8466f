"""Registration of bands to each other, and of fused bands back to their delivered positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ksdiff.images.polyphase import decimate_axis
from ksdiff.images.shifts import estimate_band_shifts
from ksdiff.images.translation import SHIFT_HALF_WIDTH, shift_taps
from ksdiff.runtime import alone_if_small
from ksdiff.sensors import Sensor

_LEAST_APART = 0.3  # PAN pixels between two bands: registered small scenes show up to that
_MOST_APART = 3.0  # PAN pixels: more is no misregistration of bands
_REACH = 4  # pixels: the longest shift
_START = -_REACH - SHIFT_HALF_WIDTH


class Moves(NamedTuple):
    """A shift for every band, as filters: tensors alone, so that a GPU runs them from graphs."""

    down: Tensor  # [C, K]
    right: Tensor  # [C, K]

    @classmethod
    def by(
        cls, shifts: Sequence[tuple[float, float]], scale: float, device: torch.device | str
    ) -> Moves:
        """Shifts by ``scale`` times (dy, dx) of each band, each under 4 pixels."""
        return cls(
            *(
                torch.stack([_taps(scale * distance) for distance in axis]).to(device)
                for axis in zip(*shifts, strict=True)
            )
        )

    def reversed(self) -> Moves:
        return Moves(*(taps.flip(-1) for taps in self))

    def __call__(self, x: Tensor) -> Tensor:
        """Move the content of x [B, C, H, W], float32, which is mirrored beyond its borders."""
        for dim, taps in ((-2, self.down), (-1, self.right)):
            x = decimate_axis(x, dim, taps, _START, 1, "reflect")
        return x


class Alignment(NamedTuple):
    """The shifts that register the bands of a scene, and those that undo it."""

    together: Moves  # of the MS image, on its grid
    apart: Moves  # of a fused image, on PAN's grid
    furthest: float  # PAN pixels between two bands

    @classmethod
    def measured(cls, windows: Sequence[Tensor], sensor: Sensor, ratio: int) -> Alignment | None:
        """Measure a scene on windows of it, MS [1, C, h, w] without holes.

        None where the sensor's bands lie together, or nearly so.
        """
        if not sensor.opposite_bands:
            return None
        with alone_if_small(windows[0]):
            off = estimate_band_shifts(windows, sensor.opposite_bands)
        furthest = 2 * ratio * max(abs(step) for shift in off for step in shift)
        if not _LEAST_APART <= furthest <= _MOST_APART:
            return None
        device = windows[0].device
        return cls(Moves.by(off, -1, device), Moves.by(off, ratio, device), furthest)


def _taps(distance: float) -> Tensor:
    """`shift`'s filter, in a frame that is the same for every distance."""
    if not abs(distance) < _REACH:
        raise ValueError(f"shift: expected less than {_REACH} pixels, got {distance}")
    taps, first = shift_taps(distance)
    frame = np.zeros(2 * (_REACH + SHIFT_HALF_WIDTH) + 1)
    frame[first - _START : first - _START + len(taps)] = taps
    return torch.from_numpy(frame).float()

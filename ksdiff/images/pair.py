"""A PAN and an MS image of one place as tensors, read window by window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ksdiff.errors import KSDiffError

RATIOS = range(2, 9)
MIN_SIDE = 64  # PAN pixels: shorter than this, the 41-tap filters see mostly their own mirror image


class Patch(NamedTuple):
    """One window of a pair. Invalid samples (nodata, NaN, infinite) hold 0 and are False below."""

    pan: Tensor  # [1, 1, H, W] float32, DN
    ms: Tensor  # [1, C, H / ratio, W / ratio] float32, DN
    pan_valid: Tensor  # [1, 1, H, W] bool
    ms_valid: Tensor  # [1, C, H / ratio, W / ratio] bool

    @classmethod
    def of(cls, pan: tuple[Tensor, Tensor], ms: tuple[Tensor, Tensor]) -> Patch:
        """From each image's values and their validity."""
        known_pan, known_ms = (
            torch.where(valid, values, torch.zeros((), dtype=values.dtype))
            for values, valid in (pan, ms)
        )
        return cls(known_pan, known_ms, pan[1], ms[1])

    def cropped(self, rows: slice, columns: slice) -> Patch:
        """The part at these PAN pixels, which begins and ends with whole MS pixels."""
        ratio = self.pan.shape[-1] // self.ms.shape[-1]
        coarse_rows, coarse_columns = (
            slice(s.start // ratio, s.stop // ratio) for s in (rows, columns)
        )
        return Patch(
            self.pan[..., rows, columns],
            self.ms[..., coarse_rows, coarse_columns],
            self.pan_valid[..., rows, columns],
            self.ms_valid[..., coarse_rows, coarse_columns],
        )


class Pair(Protocol):
    """The interface through which inference reads a scene, on disk or in memory."""

    shape: tuple[int, int]  # PAN pixels of the common extent, multiples of the ratio
    bands: int
    ratio: int
    phase: tuple[float, float]  # PAN pixel coordinate (y, x) of the centre of MS pixel (0, 0)

    def read(
        self, top: int = 0, left: int = 0, height: int | None = None, width: int | None = None
    ) -> Patch:
        """The window at (top, left), in PAN pixels of the common extent.

        All four are multiples of the ratio; without a size it reaches to the far corner.
        """
        ...


class ArrayPair:
    """A pair in memory.

    Args:
        pan: [H, W] or [1, H, W] array or tensor, DN; NaN marks pixels without data, and so does
            the mask of a masked array.
        ms: [C, H / ratio, W / ratio], likewise.
        phase: PAN pixel coordinate (y, x) of the centre of MS pixel (0, 0); by default the corners
            of the two images coincide, ``(ratio - 1) / 2``.
        descriptions: what the MS bands are called, where it is known.
        pan_decimated: whether the DLPan-Toolbox's protocol reduced PAN.

    Raises:
        KSDiffError: shapes that do not fit each other, a ratio that is not a whole number from 2
            to 8.
    """

    def __init__(
        self,
        pan: ArrayLike,
        ms: ArrayLike,
        phase: tuple[float, float] | None = None,
        descriptions: Sequence[str | None] = (),
        pan_decimated: bool = False,
    ) -> None:
        self.descriptions, self.pan_decimated = tuple(descriptions), pan_decimated
        pan, ms = _tensor("pan", pan), _tensor("ms", ms)
        pan = pan[None] if pan.ndim == 2 else pan
        if pan.ndim == 3 and pan.shape[2] == 1 < pan.shape[0]:
            raise _bands_last("pan", pan)
        if pan.ndim != 3 or pan.shape[0] != 1:
            raise KSDiffError(f"pan: expected an array [H, W] or [1, H, W], got {_shape(pan)}")
        if ms.ndim == 3 and _fits(pan.shape[1:], ms.shape[:2]) > _fits(pan.shape[1:], ms.shape[1:]):
            raise _bands_last("ms", ms)
        if ms.ndim != 3 or ms.shape[0] < 1:
            raise KSDiffError(f"ms: expected an array [C, h, w], got {_shape(ms)}")
        self.bands = ms.shape[0]
        self.shape = (pan.shape[1], pan.shape[2])
        self.ratio = ratio_of_shapes(self.shape, (ms.shape[1], ms.shape[2]))
        check_side(self.shape, "pan")
        self.phase = phase if phase is not None else ((self.ratio - 1) / 2,) * 2
        self._patch = Patch.of(
            (pan[None].float(), torch.isfinite(pan[None])),
            (ms[None].float(), torch.isfinite(ms[None])),
        )

    @classmethod
    def of(cls, pair: Pair) -> ArrayPair:
        """All of another pair, read at once."""
        patch = pair.read()
        pan, ms = (
            torch.where(valid, values, torch.nan)[0]
            for values, valid in ((patch.pan, patch.pan_valid), (patch.ms, patch.ms_valid))
        )
        return cls(pan, ms, pair.phase)

    def read(
        self, top: int = 0, left: int = 0, height: int | None = None, width: int | None = None
    ) -> Patch:
        """See `Pair.read`."""
        pan, _ = window_slices(self.shape, self.ratio, top, left, height, width)
        return self._patch.cropped(*pan)


def ratio_of_shapes(pan: tuple[int, int], ms: tuple[int, int]) -> int:
    for ratio in RATIOS:
        if (pan[0], pan[1]) == (ms[0] * ratio, ms[1] * ratio):
            return ratio
    if ms[0] > pan[0] and ms[1] > pan[1]:
        raise KSDiffError(
            f"pan and ms look exchanged: PAN is {pan[0]}x{pan[1]}, MS {ms[0]}x{ms[1]}"
        )
    raise KSDiffError(
        f"without georeference PAN must have exactly 2, 3, ... or 8 times the rows and columns of "
        f"MS; PAN is {pan[0]}x{pan[1]}, MS {ms[0]}x{ms[1]}"
    )


def check_side(shape: tuple[int, int], what: str) -> None:
    if min(shape) < MIN_SIDE:
        raise KSDiffError(
            f"{what}: expected at least {MIN_SIDE} x {MIN_SIDE} PAN pixels, "
            f"got {shape[0]} x {shape[1]}"
        )


def window_slices(
    shape: tuple[int, int],
    ratio: int,
    top: int,
    left: int,
    height: int | None,
    width: int | None,
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Rows and columns of PAN and of MS; arguments as for `Pair.read`."""
    height = shape[0] - top if height is None else height
    width = shape[1] - left if width is None else width
    inside = 0 <= top < top + height <= shape[0] and 0 <= left < left + width <= shape[1]
    if not inside or any(value % ratio for value in (top, left, height, width)):
        raise ValueError(
            f"window at ({top}, {left}) of {height} x {width}: expected multiples of {ratio} "
            f"within {shape[0]} x {shape[1]} PAN pixels"
        )
    pan = slice(top, top + height), slice(left, left + width)
    rows, columns = (slice(part.start // ratio, part.stop // ratio) for part in pan)
    return pan, (rows, columns)


def _tensor(name: str, values: ArrayLike) -> Tensor:
    """Real numbers on the CPU, from a tensor or an array."""
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "iuf":
        values = np.ma.filled(values.astype(np.float32), np.nan)
    if not isinstance(values, Tensor):
        try:
            values = torch.from_numpy(np.ascontiguousarray(values))
        except (TypeError, ValueError) as error:
            raise KSDiffError(
                f"{name}: expected a tensor or an array of real numbers, "
                f"got {type(values).__name__}: {error}"
            ) from None
    if values.is_complex() or values.dtype == torch.bool:
        raise KSDiffError(f"{name}: expected real values, got {values.dtype}")
    return values.detach().cpu()


def _fits(pan: Sequence[int], ms: Sequence[int]) -> bool:
    """Whether one ratio of sizes serves rows and columns."""
    return any(tuple(pan) == tuple(ratio * side for side in ms) for ratio in RATIOS)


def _bands_last(name: str, values: Tensor) -> KSDiffError:
    """The error for the order of Pillow, OpenCV and scikit-image."""
    return KSDiffError(
        f"{name}: {_shape(values)} is [H, W, C], expected bands first, [C, H, W]; "
        f"pass {name}.transpose(2, 0, 1) of an array, {name}.permute(2, 0, 1) of a tensor"
    )


def _shape(values: Tensor) -> str:
    return f"shape {tuple(values.shape)}"

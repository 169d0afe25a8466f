"""PanCollection's known defect: ``ms`` shifted by one pixel against the ``lms`` made from it.

``interp23tap`` keeps the MS pixels where they were, at ``[ratio//2::ratio]`` of ``lms``. So ``lms``
shows where an ``ms`` should be, and holds what it should be.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ksdiff.errors import KSDiffError
from ksdiff.io.outputs import atomic

if TYPE_CHECKING:
    import h5py

_STEPS = [(0, 0), *((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0))]
_CLEARLY = 0.25  # of the error without shift: below it, another place is meant
_CHUNK = 256  # patches in memory at a time


class Repaired(NamedTuple):
    patches: int
    shifted: int


def kept_pixels(lms: np.ndarray, ratio: int) -> np.ndarray:
    """The MS pixels [N, C, h, w] that ``lms`` [N, C, H, W] was made from."""
    return lms[..., ratio // 2 :: ratio, ratio // 2 :: ratio]


def shifts_of(ms: np.ndarray, lms: np.ndarray) -> np.ndarray:
    """How far each patch of ``ms`` [N, C, h, w] is off ``lms`` [N, C, H, W], [N, 2] in pixels.

    Only where another of the nine places fits clearly better; (0, 0) everywhere else, also where
    ``lms`` was made in another way.
    """
    kept = kept_pixels(lms, lms.shape[-1] // ms.shape[-1])
    height, width = ms.shape[-2:]
    inner = ms[..., 1:-1, 1:-1]
    errors = np.stack(
        [
            np.abs(inner - kept[..., 1 + y : height - 1 + y, 1 + x : width - 1 + x]).mean((1, 2, 3))
            for y, x in _STEPS
        ]
    )
    best = errors.argmin(0)
    clear = errors[best, np.arange(len(ms))] < _CLEARLY * errors[0]
    return np.where(clear[:, None], np.array(_STEPS)[best], 0)


def repair(path: str | Path, out: str | Path) -> Repaired:
    """Copy a PanCollection file, with ``ms`` taken from ``lms`` where it is shifted.

    Raises:
        KSDiffError: not HDF5, no ``ms`` and ``lms`` of fitting shapes, or writing fails.
    """
    path = Path(path)
    if not path.exists():
        raise KSDiffError(f"{path}: there is no such file")
    import h5py

    with atomic(out) as temporary:
        try:
            shutil.copyfile(path, temporary)
            with h5py.File(temporary, "r+") as file:
                return _repair(file, path)
        except OSError as error:
            if error.errno:
                raise
            raise KSDiffError(f"{path}: not readable as HDF5: {error}") from None


def _repair(file: "h5py.File", path: Path) -> Repaired:
    for key in ("ms", "lms"):
        if key not in file:
            raise KSDiffError(
                f"{path}: repairing needs the datasets ms and lms, {key!r} is missing "
                f"(found {', '.join(file) or 'none'})"
            )
    ms, lms = file["ms"], file["lms"]
    ratio = lms.shape[-1] // max(ms.shape[-1], 1)
    fitting = (*ms.shape[:2], *(side * ratio for side in ms.shape[2:]))
    if ms.ndim != 4 or ratio < 2 or lms.shape != fitting:
        raise KSDiffError(
            f"{path}: expected ms [N, C, h, w] and lms [N, C, H, W] of a whole ratio, got "
            f"{list(ms.shape)} and {list(lms.shape)}"
        )
    shifted = 0
    for start in range(0, len(ms), _CHUNK):
        chunk = slice(start, min(start + _CHUNK, len(ms)))
        low, high = ms[chunk], lms[chunk]
        off = shifts_of(low, high).any(1)
        if off.any():
            low[off] = kept_pixels(high[off], ratio)
            ms[chunk] = low
            shifted += int(off.sum())
    return Repaired(len(ms), shifted)

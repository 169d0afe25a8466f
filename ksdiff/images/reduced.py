"""An area of a scene on a smaller grid, gathered part by part."""

from __future__ import annotations

import numpy as np


class Reduced:
    """Means over the pixels that fall into each cell of a grid, whatever order parts come in.

    Args:
        area: rows and columns of the scene.
        size: rows and columns of the grid, at most as many.
        bands: of the images that come.
    """

    def __init__(self, area: tuple[slice, slice], size: tuple[int, int], bands: int) -> None:
        self.area, self.size = area, size
        self._sums = np.zeros((bands, *size), dtype=np.float32)
        self._counts = np.zeros(size, dtype=np.float32)

    def add(self, image: np.ndarray, top: int, left: int) -> None:
        """Add what of an image [bands, h, w], its corner at (top, left), lies in the area.

        NaN marks pixels without data; one that lacks a band lacks all.
        """
        inside, cells = [], []
        for area, start, length, size in zip(
            self.area, (top, left), image.shape[1:], self.size, strict=True
        ):
            first, stop = max(area.start, start), min(area.stop, start + length)
            if first >= stop:
                return
            inside.append(slice(first - start, stop - start))
            at = np.arange(first, stop) - area.start
            cells.append(np.unique(at * size // (area.stop - area.start), return_index=True))
        image = image[:, inside[0], inside[1]]
        known = np.isfinite(image).all(0)
        rows, columns = np.ix_(cells[0][0], cells[1][0])
        self._sums[:, rows, columns] += _summed(np.where(known, image, 0), cells)
        self._counts[rows, columns] += _summed(known.astype(np.float32), cells)

    def mean(self) -> np.ndarray:
        """[bands, *size], NaN where no pixel had data."""
        with np.errstate(invalid="ignore"):
            return np.where(self._counts > 0, self._sums / self._counts, np.nan)


def _summed(values: np.ndarray, cells: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    rows = np.add.reduceat(values, cells[0][1], -2)
    return np.add.reduceat(rows, cells[1][1], -1)

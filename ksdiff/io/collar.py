"""Collars: pixels of one value around the footprint of an image that no nodata tag declares."""

from __future__ import annotations

import math

import numpy as np
from rasterio.windows import Window

from ksdiff.io.image import Collar, Image

_CELLS = 1024  # along the longer side of the map
_STRIP = 2**24  # samples read at once
_ROWS = 32  # of an image in strips, looked at for what lies at its sides
LEAST_BORDER = 0.05  # of the pixels along the four sides that hold the value
LEAST_AREA = 0.01  # of all pixels


def border_value(image: Image) -> tuple[float, float] | None:
    """The value that all bands hold along much of the border, and its share of the border.

    None where no value holds `LEAST_BORDER` of it, or where the image has others below and above.
    """
    border = np.concatenate(_sides(image), axis=1)
    alike = border[:, (border == border[:1]).all(0)][0]
    if not alike.size:
        return None
    values, counts = np.unique(alike, return_counts=True)
    value, share = values[counts.argmax()].item(), counts.max() / border.shape[1]
    least, most = (extreme(image.thumbnail(image.indexes)) for extreme in (np.min, np.max))
    extreme = least < most and (value <= least or value >= most)
    return (value, float(share)) if share >= LEAST_BORDER and extreme else None


def _sides(image: Image) -> list[np.ndarray]:
    """The four sides [C, n] of an image; of left and right a few rows where columns cost it all."""
    height, width = image.shape
    read = lambda *at: image.stored(Window(*at))  # noqa: E731
    sides = [read(0, row, width, 1)[:, 0] for row in (0, height - 1)]
    if image.dataset.block_shapes[0][1] < width:
        return sides + [read(column, 0, 1, height)[:, :, 0] for column in (0, width - 1)]
    rows = np.unique(np.linspace(0, height - 1, _ROWS).astype(int)).tolist()
    ends = np.concatenate([read(0, row, width, 1)[:, 0, [0, -1]] for row in rows], axis=1)
    return [*sides, np.repeat(ends, max(1, height // len(rows)), axis=1)]


def find_collar(image: Image, value: float) -> Collar | None:
    """The collar of that value; None where there is none. Reads the whole image, in strips."""
    height, width = image.shape
    side = max(1, math.ceil(max(height, width) / _CELLS))
    amount = np.zeros((math.ceil(height / side), math.ceil(width / side)), dtype=np.int64)
    strip = max(1, _STRIP // (width * image.count) // side) * side
    for top in range(0, height, strip):
        window = Window(0, top, width, min(strip, height - top))
        same = (image.stored(window) == value).all(0)
        pad = [(0, -length % side) for length in same.shape]
        padded = np.pad(same, pad)
        rows, columns = (length // side for length in padded.shape)
        blocks = padded.reshape(rows, side, columns, side)
        first = top // side
        amount[first : first + rows] = blocks.sum((1, 3))
    cells = _from_border(amount > 0)
    share = amount[cells].sum() / (height * width)
    return Collar(value, cells, side, float(share)) if cells.any() else None


def _from_border(cells: np.ndarray) -> np.ndarray:
    """The cells of the set that are connected to the border."""
    reached = np.zeros_like(cells)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        reached[edge] = cells[edge]
    while True:
        grown = reached.copy()
        # Along whole rows and columns at once: a run of cells is reached from any one of them.
        for axis in (0, 1):
            grown = _spread(grown, cells, axis) | grown
            grown = np.flip(_spread(np.flip(grown, axis), np.flip(cells, axis), axis), axis) | grown
        if (grown == reached).all():
            return reached
        reached = grown


def _spread(reached: np.ndarray, cells: np.ndarray, axis: int) -> np.ndarray:
    """Extend ``reached`` along an axis, up to the first cell outside the set."""
    at = np.arange(cells.shape[axis])
    at = at[:, None] if axis == 0 else at[None]
    last_stop = np.maximum.accumulate(np.where(cells, -1, at), axis)
    last_reached = np.maximum.accumulate(np.where(reached, at, -1), axis)
    return cells & (last_reached > last_stop)


def mask_collars(pan: Image, ms: Image) -> list[str]:
    """Mask the collars of images that declare no nodata value, where both show one.

    Returns:
        What was found, in sentences for the user.
    """
    bare = [image for image in (pan, ms) if not image.declares_data]
    found = {image: value for image in bare if (value := border_value(image)) is not None}
    if not found:
        return []
    collars = {}
    if len(found) == len(bare):
        for image, (most, _) in found.items():
            collar = find_collar(image, most)
            if collar is not None and collar.share >= LEAST_AREA:
                collars[image] = collar
    if len(collars) == len(bare):
        for image, collar in collars.items():
            image.collar = collar
        return [
            f"{image.role} {image.name}: {collar.value:g} around the footprint, "
            f"{collar.share:.0%} of the image, is taken as no data; --nodata none keeps it"
            for image, collar in collars.items()
        ]
    return [
        f"{image.role} {image.name}: {share:.0%} of its border is {value:g} and no nodata value is "
        f"declared; if these pixels have no data, pass --nodata {value:g}"
        for image, (value, share) in found.items()
    ]

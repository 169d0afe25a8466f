"""Whether two coordinate reference systems put things in the same place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform


def same_crs(
    one: CRS | None, other: CRS | None, xs: Sequence[float], ys: Sequence[float], tolerance: float
) -> bool:
    """Whether points (xs, ys) keep their coordinates from ``other`` to ``one``.

    A system can be written as an EPSG code, as WKT of several kinds, without its datum's name or
    together with a vertical one. What counts is where it puts the image.

    Args:
        tolerance: units of the systems.
    """
    if one is None or other is None or one == other:
        return (one is None and other is None) or one == other
    if one.is_geographic != other.is_geographic:
        return False
    try:
        there = transform(other, one, list(xs), list(ys))[:2]
    except (RasterioError, CPLE_BaseError):
        return False
    moved = np.abs(np.array(there) - np.array([xs, ys]))
    return bool(np.isfinite(moved).all() and moved.max() <= tolerance)

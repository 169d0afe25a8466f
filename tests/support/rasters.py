"""Grids and values of rasters."""

import numpy as np
from rasterio.transform import Affine

from tests.support import PAN_GRID


def ms_grid(ratio: float = 4, dy: float = 0.0, dx: float = 0.0) -> Affine:
    """The MS transform whose corner lies (dy, dx) PAN pixels from PAN's."""
    return PAN_GRID @ Affine.translation(dx, dy) @ Affine.scale(ratio)


def ramp(bands: int, height: int, width: int, dtype="uint16") -> np.ndarray:
    return (np.arange(bands * height * width).reshape(bands, height, width) % 60_000).astype(dtype)

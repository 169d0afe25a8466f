"""Grids and values of rasters."""

import numpy as np
from rasterio.rpc import RPC
from rasterio.transform import Affine

from tests.support import PAN_GRID

UNIT = 2e-6  # degrees of a PAN pixel that RPC place


def ms_grid(ratio: float = 4, dy: float = 0.0, dx: float = 0.0) -> Affine:
    """The MS transform whose corner lies (dy, dx) PAN pixels from PAN's."""
    return PAN_GRID @ Affine.translation(dx, dy) @ Affine.scale(ratio)


def ramp(bands: int, height: int, width: int, dtype="uint16") -> np.ndarray:
    return (np.arange(bands * height * width).reshape(bands, height, width) % 60_000).astype(dtype)


def rpcs(step: float, down: float = 0.0, right: float = 0.0, tilt: float = 0.0) -> RPC:
    """Of an image whose pixels measure ``step`` PAN pixels and begin (down, right) PAN pixels off
    PAN's; ``tilt`` moves a place by PAN pixels along the columns per 100 m of height."""
    half = 2000 * step  # pixels
    line, sample = (-(offset + step / 2) / step + 1000 / step for offset in (down, right))
    one = [1.0] + [0.0] * 19
    across = [0.0, 1.0, 0.0, tilt * 5 / 2000 / step, *[0.0] * 16]
    degrees = UNIT * 2000 * step
    return RPC(
        *(300.0, 500.0, 48.0, degrees, one, [0.0, 0.0, -1.0, *[0.0] * 17], line, half / step),
        *(3.0, degrees, one, across, sample, half / step),
    )

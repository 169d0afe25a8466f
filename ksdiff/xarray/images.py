"""Georeferenced DataArrays as the images of a scene."""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
import rioxarray  # noqa: F401  registers the accessor ``rio``
import xarray
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.transform import Affine, array_bounds
from rasterio.windows import Window
from rioxarray.exceptions import RioXarrayError

from ksdiff.errors import KSDiffError
from ksdiff.io.image import Image
from ksdiff.io.input_options import InputOptions
from ksdiff.io.products import ProductImage
from ksdiff.io.rasters import ScenePair

_UNEVEN = 0.02  # of a pixel that a coordinate may be off an even grid


@dataclass(frozen=True)
class _Grid:
    """What `Image` and `ScenePair` ask of an open raster beside its values."""

    transform: Affine
    crs: CRS
    bounds: tuple[float, float, float, float]
    res: tuple[float, float]
    gcps: tuple = ((), None)
    rpcs: RPC | None = None

    def close(self) -> None:
        """Nothing is open."""


class ArrayImage(Image):
    """An image whose values are an array, of numpy or dask, or a block of one.

    Args:
        array: [C, H, W] with the accessor ``rio``.
        role: ``pan`` or ``ms``.
    """

    def __init__(self, array: xarray.DataArray, role: str):
        transform, (height, width) = array.rio.transform(recalc=True), array.shape[1:]
        self.dataset = _Grid(
            transform,
            array.rio.crs,
            array_bounds(height, width, transform),
            (abs(transform.a), abs(transform.e)),
        )
        self.role, self.name = role, str(array.name or "DataArray")
        self.notes = []
        self.known = ProductImage((self.name,))
        self.source, self.on_pan = None, False
        self.indexes = list(range(1, array.shape[0] + 1))
        self.alpha = self.collar = None
        self.nodata = array.rio.nodata
        self._nodatavals = [self.nodata] * len(self.indexes)
        self._masked = False
        self._shape, self._dtype = (height, width), str(array.dtype)
        self._values, self._origin = array.data, (0, 0)

    @property
    def shape(self) -> tuple[int, int]:
        return self._shape

    @property
    def dtype(self) -> str:
        return self._dtype

    @property
    def descriptions(self) -> tuple[str | None, ...]:
        return (None,) * self.count

    def holding(self, values: np.ndarray | None, top: int = 0, left: int = 0) -> ArrayImage:
        """The same image, of which only a block with its corner at (top, left) is there."""
        other = copy.copy(self)
        other._values, other._origin = values, (top, left)
        return other

    def stored(self, window: Window) -> np.ndarray:
        rows, columns = (
            slice(start - first, start - first + size)
            for start, size, first in zip(
                (window.row_off, window.col_off),
                (window.height, window.width),
                self._origin,
                strict=True,
            )
        )
        return np.asarray(self._values[:, rows, columns])


class ArrayPair(ScenePair):
    """A PAN and an MS DataArray as one scene. Pixels lack data where nodata or NaN says so."""

    _pan: ArrayImage
    _ms: ArrayImage

    def __init__(self, pan: xarray.DataArray, ms: xarray.DataArray):
        super().__init__(ArrayImage(pan, "pan"), ArrayImage(ms, "ms"), InputOptions(nodata="none"))

    @property
    def identity(self) -> tuple[object, ...]:
        """All but the two arrays that decides the fused values."""
        return self.areas, self.phase, self._pan.nodata, self._ms.nodata, self.dtype

    @property
    def areas(self) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Rows and columns of the shared extent in PAN and in MS."""
        (top, left), (height, width) = self._pan_origin, self.shape
        pan = slice(top, top + height), slice(left, left + width)
        (top, left), ratio = self._ms_origin, self.ratio
        return pan, (slice(top, top + height // ratio), slice(left, left + width // ratio))

    def holding(
        self, pan: np.ndarray | None, ms: np.ndarray | None, top: int = 0, left: int = 0
    ) -> ArrayPair:
        """The same scene, of which only blocks with their corner at (top, left) are there.

        Args:
            pan, ms: [1, H, W] and [C, H / ratio, W / ratio], or None for no values at all.
            top, left: in PAN pixels of the shared extent, multiples of the ratio.
        """
        other = copy.copy(self)
        row, column = self._pan_origin
        other._pan = self._pan.holding(pan, row + top, column + left)
        row, column = self._ms_origin
        other._ms = self._ms.holding(ms, row + top // self.ratio, column + left // self.ratio)
        return other


def bands_first(array: xarray.DataArray, role: str) -> xarray.DataArray:
    """Check an argument, and give PAN its one band.

    Returns:
        The array [C, H, W], north up or south up.

    Raises:
        KSDiffError: no DataArray, other dimensions or another order, no CRS, a grid that is
            rotated or uneven, values that are not real numbers.
    """
    if not isinstance(array, xarray.DataArray):
        hint = "; choose one of its variables" if isinstance(array, xarray.Dataset) else ""
        raise KSDiffError(f"{role}: expected an xarray.DataArray, got {type(array).__name__}{hint}")
    try:
        y, x = array.rio.y_dim, array.rio.x_dim
    except RioXarrayError:
        raise KSDiffError(
            f"{role}: no dimensions y and x among {array.dims}; name them with "
            f'{role}.rio.set_spatial_dims(x_dim="...", y_dim="...")'
        ) from None
    others = [dim for dim in array.dims if dim not in (y, x)]
    if role == "pan" and not others:
        array, others = array.expand_dims("band"), ["band"]
    wanted = (*others, y, x)
    if len(others) != 1:
        raise KSDiffError(
            f"{role}: expected dimensions (band, {y}, {x}), got {_listed(array.dims)}; "
            "select one of each further dimension"
        )
    if array.dims != wanted:
        raise KSDiffError(
            f"{role}: expected dimensions {_listed(wanted)}, got {_listed(array.dims)}; "
            f"pass {role}.transpose{wanted}"
        )
    if array.dtype.kind not in "iuf":
        raise KSDiffError(f"{role}: expected real numbers, got {array.dtype}")
    if array.rio.crs is None:
        raise KSDiffError(
            f"{role}: has no coordinate reference system; give it one with "
            f'{role}.rio.write_crs("EPSG:...")'
        )
    _check_grid(array, role, (y, x))
    return array


def _check_grid(array: xarray.DataArray, role: str, dims: tuple[str, str]) -> None:
    stored = array.rio.transform()
    if stored.b or stored.d:
        raise KSDiffError(
            f"{role}: its grid is rotated, {tuple(stored)[:6]}, and x and y cannot be coordinates; "
            f"warp it with {role}.rio.reproject({role}.rio.crs), or use ksdiff sharpen on files"
        )
    for dim in dims:
        if dim not in array.coords or array[dim].ndim != 1 or array.sizes[dim] < 2:
            raise KSDiffError(
                f"{role}: expected coordinates of two pixels or more along {dim}, "
                f"got {array[dim].shape if dim in array.coords else 'none'}; "
                f"{role}.rio.write_transform(...) and rioxarray.open_rasterio make them"
            )
        at = array[dim].values.astype(float)
        step = (at[-1] - at[0]) / (len(at) - 1)
        off = np.abs(at - np.linspace(at[0], at[-1], len(at))).max()
        if not (math.isfinite(step) and step and off <= _UNEVEN * abs(step)):
            raise KSDiffError(
                f"{role}: coordinates along {dim} are not evenly spaced; resample to a regular grid"
            )


def _listed(dims: Iterable[Hashable]) -> str:
    return "(" + ", ".join(map(str, dims)) + ")"

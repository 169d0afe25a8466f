"""`ksdiff.xarray.sharpen`: two DataArrays in, one out."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray

from ksdiff.errors import KSDiffError
from ksdiff.inference.options import SharpenOptions
from ksdiff.inference.processes import Recipe
from ksdiff.inference.sharpen import Sharpener
from ksdiff.io.geotiff import quantise
from ksdiff.xarray.graph import fused_array
from ksdiff.xarray.images import ArrayPair, bands_first

_KEPT = ("_FillValue", "scale_factor", "add_offset", "dtype", "rasterio_dtype")  # of the encoding


def sharpen(
    pan: xarray.DataArray,
    ms: xarray.DataArray,
    *,
    weights: str | Path | None = None,
    **options: Any,
) -> xarray.DataArray:
    """Fuse a PAN and an MS image as ``ksdiff sharpen --nodata none`` does, to the same values.

    With numpy arrays the result is computed at once. Where either image is a dask array the result
    is one, too: nothing is read before it is computed, and a chunk is what a window adds.

    Args:
        pan: [y, x] or [1, y, x] DN, with a CRS and coordinates.
        ms: [band, y, x] DN, likewise. NaN, and the nodata value of either, mark pixels without
            data.
        weights: a bundled name or a .safetensors file; by default the bundled ones for the count
            of bands and the ratio.
        options: of `ksdiff.inference.options.SharpenOptions`, such as ``sensor="wv3"``.

    Returns:
        [band, y, x] on PAN's grid, cut to the shared extent, with the data type, nodata value,
        name, attributes and band coordinates of ``ms``.

    Raises:
        KSDiffError: an unknown option, images without CRS, in another order of
            dimensions, on rotated grids or without overlap, a band count without weights.
    """
    known = [field.name for field in fields(SharpenOptions)]
    if unknown := [name for name in options if name not in known]:
        raise KSDiffError(
            f"{unknown[0]}: unknown option; expected some of {', '.join(known)}, weights"
        )
    chosen = SharpenOptions(**options)
    pan, ms = bands_first(pan, "pan"), bands_first(ms, "ms")
    lazy = any(isinstance(image.data, da.Array) for image in (pan, ms))
    pair = ArrayPair(pan, ms)
    if lazy:
        fused = fused_array(pair, pan.data, ms.data, Recipe.of(weights, chosen))
        return _described(fused, pair, pan, ms)
    return _described(_fused(Sharpener(weights, chosen), pair), pair, pan, ms)


def _fused(sharpener: Sharpener, pair: ArrayPair) -> np.ndarray:
    out = np.empty((pair.bands, *pair.shape), dtype=pair.dtype)
    for part in sharpener.windows(sharpener.prepare(pair)):
        values = quantise(part.fused.numpy(), part.valid.numpy(), pair.dtype, pair.nodata)
        out[
            :,
            part.top : part.top + values.shape[1],
            part.left : part.left + values.shape[2],
        ] = values
    return out


def _described(
    values: np.ndarray | da.Array, pair: ArrayPair, pan: xarray.DataArray, ms: xarray.DataArray
) -> xarray.DataArray:
    """The fused image with PAN's place and what ``ms`` says of its bands."""
    y, x = pan.dims[1:]
    (rows, columns), _ = pair.areas
    band = ms.dims[0]
    coords = {name: c for name, c in ms.coords.items() if set(c.dims) <= {band}}
    coords.pop(ms.rio.grid_mapping, None)
    coords |= {y: pan[y][rows], x: pan[x][columns]}
    out = xarray.DataArray(values, coords, (band, y, x), ms.name, ms.attrs)
    out.encoding = {key: ms.encoding[key] for key in _KEPT if key in ms.encoding}
    out = out.rio.set_spatial_dims(x_dim=x, y_dim=y)
    out = out.rio.write_crs(pan.rio.crs).rio.write_transform(pair.transform)
    if pair.nodata is not None and ms.rio.nodata is None and not np.isnan(pair.nodata):
        out = out.rio.write_nodata(pair.nodata)
    return out

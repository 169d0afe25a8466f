"""A fused raster as an 8-bit picture in true colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, Resampling
from rasterio.windows import Window

from ksdiff.errors import KSDiffError
from ksdiff.images.colours import Stretch, colour_bands
from ksdiff.io.delivery import delivered
from ksdiff.io.description import Description
from ksdiff.io.formats import BLOCK, Format
from ksdiff.io.geotiff import quiet
from ksdiff.io.output_options import OutputOptions

_SAMPLE = 1024  # pixels: side of the reduced image whose percentiles make the stretch
_COLOURS = ("red", "green", "blue")
_FORMATS = ("COG", "PNG")


def check_rgb(path: str | Path) -> None:
    """Raise KSDiffError unless ``path`` ends as a GeoTIFF or PNG does."""
    form = Format.of(path, OutputOptions(), "uint8")
    if form.driver not in _FORMATS:
        raise KSDiffError(f"rgb {path}: expected a name that ends in .tif or .png")


def write_rgb(fused: str | Path, path: str | Path, *names: tuple[str | None, ...]) -> None:
    """Write red, green and blue of a raster in 8 bits, and alpha where pixels lack data.

    One stretch for the whole scene, from its percentiles, reaches from 1 to 255.

    Args:
        fused: raster on disk.
        path: GeoTIFF (cloud-optimised) or PNG.
        names: of the bands, by which colours are found; see `colour_bands`.
    """
    with quiet(), rasterio.open(fused) as image:
        count = sum(colour != ColorInterp.alpha for colour in image.colorinterp)
        bands = [index + 1 for index in colour_bands(count, *names)]
        stretch = Stretch.of(_reduced(image, bands))
        masked = image.nodata is not None or ColorInterp.alpha in image.colorinterp
        about = Description(names=_COLOURS, colours=tuple(ColorInterp[name] for name in _COLOURS))
        form = Format.of(path, OutputOptions(), "uint8")
        with delivered(
            path,
            form,
            3 + masked,
            image.height,
            image.width,
            "uint8",
            about=about.with_alpha() if masked else about,
            alpha=masked,
            transform=None if image.transform.is_identity else image.transform,
            crs=image.crs,
        ) as file:
            for top in range(0, image.height, BLOCK):
                for left in range(0, image.width, BLOCK):
                    window = Window(
                        left, top, min(BLOCK, image.width - left), min(BLOCK, image.height - top)
                    )
                    values = _values(image, bands, window)
                    known = np.isfinite(values).all(0)
                    picture = np.where(known, 1 + np.rint(254 * stretch.apply(values)), 0)
                    parts = [picture, 255 * known[None]] if masked else [picture]
                    file.write(np.concatenate(parts).astype(np.uint8), top, left)


def _reduced(image: rasterio.DatasetReader, bands: list[int]) -> np.ndarray:
    step = max(1.0, max(image.shape) / _SAMPLE)
    size = tuple(max(1, round(length / step)) for length in image.shape)
    whole = Window(0, 0, image.width, image.height)
    return _values(
        image, bands, whole, out_shape=(len(bands), *size), resampling=Resampling.average
    )


def _values(
    image: rasterio.DatasetReader, bands: list[int], window: Window, **options: Any
) -> np.ndarray:
    """[C, h, w] float32, NaN where there is no data."""
    values = image.read(bands, window=window, masked=True, **options)
    return np.ma.filled(values.astype(np.float32), np.nan)

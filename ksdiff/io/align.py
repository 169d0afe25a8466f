"""An MS raster that does not fit PAN's grid, resampled once onto one that does."""

from __future__ import annotations

import shlex

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine, array_bounds
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform

from ksdiff.errors import KSDiffError
from ksdiff.images.pair import RATIOS
from ksdiff.io.collar import border_value
from ksdiff.io.grids import GridMismatch
from ksdiff.io.image import Image
from ksdiff.io.sensor_models import modelled, orthorectify, pan_pixels, parallax

_EDGE = 21  # points along a side of the MS raster that tell where it lies on PAN
_TOLERANCE = 1e-3  # MS pixels by which GDAL may be off the exact place
_MOST_BENT = 2.0  # PAN pixels, of what RPC say beyond an affine map: registration finds the rest
_PIXELS = CRS.from_wkt('LOCAL_CS["PAN pixels",UNIT["metre",1]]')
_ROUNDS_TO = 0.5  # how far the ratio of the pixel sizes may be off the whole ratio


class _Target:
    """The grid of whole ratio beside PAN that covers what both rasters show."""

    def __init__(self, pan: Image, ms: Image, mismatch: GridMismatch):
        # Images that RPC or control points place are warped within PAN's own pixels.
        self.by_model = modelled(pan) and modelled(ms)
        self.crs = _PIXELS if self.by_model else pan.dataset.crs
        height, width = ms.shape
        along = np.linspace(0, 1, _EDGE)
        xs, ys = (
            side.ravel() * length
            for side, length in zip(np.meshgrid(along, along), (width, height), strict=True)
        )
        columns, rows = _pan_pixels(pan, ms, xs, ys)
        if not np.isfinite([columns, rows]).all():
            raise mismatch
        design = np.stack((xs, ys, np.ones_like(xs)), axis=1)
        places = np.stack((columns, rows), axis=1)
        fitted = np.linalg.lstsq(design, places, rcond=None)[0]
        steps = fitted[:2]
        (a, d), (b, e), (c, f) = fitted
        self.source = Affine(a, b, c, d, e, f)  # from MS pixels to PAN's
        self.bent = float(np.abs(design @ fitted - places).max())
        self.scale = float(np.sqrt(abs(np.linalg.det(steps))))
        self.ratio = round(round(self.scale, 6))  # 2.5 is a tie on every machine, and gives 2
        if self.ratio not in RATIOS or round(abs(self.scale - self.ratio), 6) > _ROUNDS_TO:
            raise mismatch
        spans = []
        for at, length in ((rows, pan.shape[0]), (columns, pan.shape[1])):
            first = max(0, int(np.floor(at.min() / self.ratio)))
            stop = min(length // self.ratio, int(np.ceil(at.max() / self.ratio)))
            if stop <= first:
                raise KSDiffError(
                    f"pan {pan.name} and ms {ms.name} do not overlap: the MS image lies at PAN's "
                    f"rows {rows.min():.0f} to {rows.max():.0f}, columns {columns.min():.0f} to "
                    f"{columns.max():.0f}"
                )
            spans.append((first, stop - first))
        (top, self.height), (left, self.width) = spans
        corner = Affine.translation(left * self.ratio, top * self.ratio)
        self.transform = pan.dataset.transform @ corner @ Affine.scale(self.ratio)


def aligned(pan: Image, ms: Image, mismatch: GridMismatch) -> Image:
    """The MS raster on a grid of whole ratio beside PAN, by one cubic resampling as it is read.

    Args:
        mismatch: what is wrong with the grids as they are.

    Raises:
        KSDiffError: no overlap; ``mismatch`` where no whole ratio from 2 to 8 is near.
    """
    target = _Target(pan, ms, mismatch)
    by_model: dict[str, object] = {}
    if target.by_model:
        _check_model(pan, ms, target, mismatch)
        by_model = {"src_crs": _PIXELS, "src_transform": target.source}
    nodata = ms.nodata
    if not ms.declares_data and (found := border_value(ms)) is not None:
        nodata = found[0]  # else it would bleed into its neighbours
    warped = WarpedVRT(
        ms.dataset,
        crs=target.crs,
        transform=target.transform,
        height=target.height,
        width=target.width,
        resampling=Resampling.cubic,
        tolerance=_TOLERANCE,
        src_nodata=nodata,
        nodata=nodata,
        add_alpha=nodata is None and ms.alpha is None,
        **by_model,
    )
    image = Image(warped, ms.role, ms.name, bands=ms.indexes, known=ms.known)
    image.source = ms
    image.on_pan = target.by_model
    image.notes = [
        *ms.notes,
        f"{mismatch}: resampled onto a grid of ratio {target.ratio} beside PAN"
        + (f", placed by {_by(ms)}" if target.by_model else "")
        + ", which --align off refuses",
    ]
    return image


def gdalwarp(pan: Image, ms: Image, mismatch: GridMismatch) -> str:
    """The command that makes a raster which fits."""
    target = _Target(pan, ms, mismatch)
    if target.by_model:
        return orthorectify(pan, ms, target.ratio)
    if target.transform.b or target.transform.d:
        return "--align auto resamples it; gdalwarp writes no rotated grid"
    west, south, east, north = array_bounds(target.height, target.width, target.transform)
    words = ["gdalwarp", "-t_srs", target.crs.to_string(), "-r", "cubic", "-te"]
    words += [repr(float(at)) for at in (west, south, east, north)]
    words += ["-ts", str(target.width), str(target.height), ms.name, "aligned.tif"]
    return shlex.join(words)


def _check_model(pan: Image, ms: Image, target: _Target, mismatch: GridMismatch) -> None:
    """Raise where one warp of the whole image cannot put it right."""
    moved = parallax(pan, ms)
    if max(moved, target.bent) > _MOST_BENT:
        raise GridMismatch(
            f"{mismatch}; by {_by(ms)} no affine map joins them: the best is off by up to "
            f"{target.bent:.1f} PAN pixels, and relief adds {moved:.1f}; orthorectify both, "
            + orthorectify(pan, ms, target.ratio)
        )


def _by(image: Image) -> str:
    return "their RPC" if image.dataset.rpcs is not None else "their ground control points"


def _pan_pixels(
    pan: Image, ms: Image, xs: np.ndarray, ys: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of PAN at columns xs and rows ys of the MS raster; infinite where there is
    no way from one to the other."""
    if modelled(pan) and modelled(ms):
        return pan_pixels(pan, ms, xs, ys)
    xs, ys = ms.dataset.transform @ (xs, ys)
    if pan.dataset.crs and pan.dataset.crs != ms.dataset.crs:
        try:
            xs, ys = map(np.array, transform(ms.dataset.crs, pan.dataset.crs, xs, ys)[:2])
        except (RasterioError, CPLE_BaseError):
            return np.full_like(xs, np.inf), np.full_like(ys, np.inf)
    return ~pan.dataset.transform @ (xs, ys)

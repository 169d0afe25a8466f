"""Images without a grid on the ground: where their RPC or ground control points put them."""

from __future__ import annotations

import contextlib
import math
import shlex
from collections.abc import Iterator

import numpy as np
from rasterio.crs import CRS
from rasterio.transform import GCPTransformer, RPCTransformer, TransformerBase
from rasterio.warp import transform

from ksdiff.io.image import Image

_EXACT = 1e-4  # pixels: GDAL inverts RPC by iteration, to a tenth of one by itself
_RELIEF = 500.0  # metres about the mean height that count as possible
_WGS84 = CRS.from_epsg(4326)


def modelled(image: Image) -> bool:
    """Whether something else than a grid says where it lies."""
    return not image.georeferenced and (
        image.dataset.rpcs is not None or bool(image.dataset.gcps[0])
    )


def pan_pixels(
    pan: Image, ms: Image, xs: np.ndarray, ys: np.ndarray, above: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of PAN at columns xs and rows ys of the MS raster, both `modelled`.

    Args:
        above: metres above the mean height of the MS image at which the ground is taken to lie.
    """
    height = 0.0 if ms.dataset.rpcs is None else ms.dataset.rpcs.height_off + above
    heights = np.full_like(xs, height)
    with _model(ms) as model:
        x, y = map(np.array, model.xy(ys, xs, zs=heights, offset="ul"))
    here, there = _crs(ms), _crs(pan)
    if here != there:
        x, y = map(np.array, transform(here, there, x, y)[:2])
    with _model(pan) as model:
        rows, columns = model.rowcol(x, y, zs=heights, op=_unrounded)
    return np.array(columns, dtype=float), np.array(rows, dtype=float)


def parallax(pan: Image, ms: Image) -> float:
    """PAN pixels by which relief moves the two images against each other, at most."""
    rpcs = ms.dataset.rpcs
    if rpcs is None:
        return 0.0
    above = min(_RELIEF, rpcs.height_scale)
    height, width = ms.shape
    xs, ys = np.array([0.0, width, 0.0, width]), np.array([0.0, 0.0, height, height])
    low, high = (np.array(pan_pixels(pan, ms, xs, ys, side)) for side in (-above, above))
    return float(np.abs(high - low).max()) / 2


def orthorectify(pan: Image, ms: Image, ratio: int) -> str:
    """The commands that put both onto grids of whole ratio on the ground."""
    with _model(pan) as model:
        row, column = pan.shape[0] / 2, pan.shape[1] / 2
        middle = np.array([row, row]), np.array([column, column + 1])
        zs = np.full(2, 0.0 if pan.dataset.rpcs is None else pan.dataset.rpcs.height_off)
        x, y = map(np.array, model.xy(*middle, zs=zs, offset="ul"))
    crs = _crs(pan)
    if crs.is_geographic:
        crs = CRS.from_epsg((32600 if y[0] >= 0 else 32700) + int((x[0] + 180) // 6) % 60 + 1)
        x, y = map(np.array, transform(_crs(pan), crs, x, y)[:2])
    pixel = float(f"{math.hypot(x[1] - x[0], y[1] - y[0]):.2g}")
    commands = []
    for image, size in ((pan, pixel), (ms, ratio * pixel)):
        rpc = ["-rpc", "-to", "RPC_DEM=DEM.tif"] if image.dataset.rpcs is not None else []
        words = ["gdalwarp", *rpc, "-t_srs", crs.to_string(), "-tr", f"{size:g}", f"{size:g}"]
        commands.append(
            shlex.join([*words, "-tap", "-r", "cubic", image.name, f"{image.role}_ortho.tif"])
        )
    return " && ".join(commands)


@contextlib.contextmanager
def _model(image: Image) -> Iterator[TransformerBase]:
    rpcs = image.dataset.rpcs
    if rpcs is not None:
        model = RPCTransformer(rpcs, RPC_PIXEL_ERROR_THRESHOLD=_EXACT)
    else:
        model = GCPTransformer(image.dataset.gcps[0])
    with model:
        yield model


def _crs(image: Image) -> CRS:
    return _WGS84 if image.dataset.rpcs is not None else image.dataset.gcps[1] or _WGS84


def _unrounded(values: np.ndarray) -> np.ndarray:
    return values

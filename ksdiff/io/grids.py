"""How the grids of a PAN and an MS raster lie relative to each other."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass

from ksdiff.errors import KSDiffError
from ksdiff.images.pair import RATIOS, ratio_of_shapes
from ksdiff.io.crs import same_crs
from ksdiff.io.image import Image
from ksdiff.io.sensor_models import modelled

_SAME_PLACE = 0.05  # PAN pixels that two reference systems may put the image apart


def _check_crs(pan: Image, ms: Image) -> None:
    left, bottom, right, top = ms.dataset.bounds
    corners = (left, right, left, right), (bottom, bottom, top, top)
    tolerance = _SAME_PLACE * min(pan.dataset.res)
    if not same_crs(pan.dataset.crs, ms.dataset.crs, *corners, tolerance):
        known = pan.dataset.crs and ms.dataset.crs and pan.georeferenced and ms.georeferenced
        raise (GridMismatch if known else KSDiffError)(
            f"pan {pan.name} is in {_crs(pan)}, ms {ms.name} in {_crs(ms)}; "
            "reproject one to the other's (gdalwarp) or assign what is missing (gdal_edit -a_srs)"
        )


def _crs(image: Image) -> str:
    return image.dataset.crs.to_string() if image.dataset.crs else "no coordinate reference system"


def relate(pan: Image, ms: Image) -> tuple[tuple[float, float], int]:
    """Where the MS grid begins in PAN pixels (y, x), and the ratio of the two pixel sizes."""
    if ms.on_pan:
        grid = ms.dataset.transform
        return (grid.f, grid.c), round(grid.a)
    _check_crs(pan, ms)
    located = [image.georeferenced for image in (pan, ms)]
    if not any(located):
        return (0.0, 0.0), _ratio_of_sizes(pan, ms)
    if not all(located):
        bare = (pan, ms)[located.index(False)]
        raise KSDiffError(f"{bare.name}: has no georeference, while its partner has one")
    to_pan = ~pan.dataset.transform @ ms.dataset.transform
    skew = max(abs(to_pan.b) * ms.shape[0], abs(to_pan.d) * ms.shape[1])
    if skew > 0.5 or to_pan.a <= 0 or to_pan.e <= 0:
        raise GridMismatch(
            f"pan {pan.name} and ms {ms.name} are rotated or mirrored against each other; "
            "warp one to the other's orientation"
        )
    ratio = round((to_pan.a + to_pan.e) / 2)
    drift = max(abs(to_pan.a - ratio) * ms.shape[1], abs(to_pan.e - ratio) * ms.shape[0])
    sizes = f"PAN pixels measure {_pixel(pan)}, MS pixels {_pixel(ms)}"
    if to_pan.a < 0.75 and to_pan.e < 0.75:
        raise KSDiffError(f"pan {pan.name} and ms {ms.name} look exchanged: {sizes}")
    wrong = max(abs(to_pan.a - ratio), abs(to_pan.e - ratio)) > 0.02 * ratio
    if ratio not in RATIOS or wrong:
        raise GridMismatch(
            f"{sizes}: a ratio of {to_pan.e:.4g} by {to_pan.a:.4g} ({pan.name}, {ms.name}); "
            "expected a whole number from 2 to 8"
        )
    if drift > 0.5:
        raise GridMismatch(
            f"{sizes}: the ratio is nearly {ratio}, but across {ms.name} the grids drift apart by "
            f"{drift:.1f} PAN pixels; resample one of the two"
        )
    return (to_pan.f, to_pan.c), ratio


def _ratio_of_sizes(pan: Image, ms: Image) -> int:
    """The ratio of two images without georeference, which are taken to cover the same ground."""
    try:
        return ratio_of_shapes(pan.shape, ms.shape)
    except KSDiffError as error:
        ratio = round(pan.shape[0] / ms.shape[0])
        if ratio not in RATIOS or ratio != round(pan.shape[1] / ms.shape[1]):
            raise
        if modelled(pan) and modelled(ms):
            raise GridMismatch(f"{pan.name} and {ms.name}: {error}") from None
        rows, columns = (
            min(whole // ratio, part) for whole, part in zip(pan.shape, ms.shape, strict=True)
        )
        cuts = [
            f"gdal_translate -srcwin 0 0 {width} {height} {shlex.quote(image.name)} "
            f"{image.role}_cut.tif"
            for image, height, width in (
                (pan, rows * ratio, columns * ratio),
                (ms, rows, columns),
            )
            if image.shape != (height, width)
        ]
        raise KSDiffError(
            f"{pan.name} and {ms.name}: {error}; if their upper left corners coincide: "
            + " && ".join(cuts)
        ) from None


def _pixel(image: Image) -> str:
    return f"{image.dataset.res[1]:g} x {image.dataset.res[0]:g}"


class GridMismatch(KSDiffError):
    """Grids that do not fit each other, though both are known."""


@dataclass(frozen=True)
class Axis:
    pan_start: int
    ms_start: int
    count: int  # MS pixels
    phase: float


def overlap(
    name: str,
    offset: float,
    ratio: int,
    pan_size: int,
    ms_size: int,
    pan: Image,
    ms: Image,
    union: bool = False,
) -> Axis:
    """Assign a block of PAN pixels to each MS pixel, such that most MS pixels find theirs.

    With ``union`` blocks go on as far as either image does.

    A block holds the centre of its MS pixel, which leaves ``ratio`` choices. They differ where the
    grids are offset by a fraction of an MS pixel, as after Wald's protocol, whose MS samples lie
    beside the middle of their blocks.
    """
    centre = round(offset + ratio / 2 - 0.5, 4)
    candidates = []
    for step in range(ratio):
        origin = math.floor(centre + 0.5) - step
        first = max(0, math.ceil(-origin / ratio))
        stop = min(ms_size, (pan_size - origin) // ratio)
        phase = round(centre - origin, 4)
        candidates.append(Axis(origin + first * ratio, first, stop - first, phase))
    axis = max(candidates, key=lambda one: (one.count, -abs(one.phase - (ratio - 1) / 2)))
    if axis.count <= 0:
        raise KSDiffError(
            f"pan {pan.name} and ms {ms.name} do not overlap ({name}): "
            f"bounds {_bounds(pan)} and {_bounds(ms)}"
        )
    if union:
        origin = axis.pan_start - axis.ms_start * ratio
        first = min(0, math.floor(-origin / ratio))
        stop = max(ms_size, math.ceil((pan_size - origin) / ratio))
        axis = Axis(origin + first * ratio, first, stop - first, axis.phase)
    return axis


def _bounds(image: Image) -> str:
    return "(" + ", ".join(f"{value:.10g}" for value in image.dataset.bounds) + ")"

"""Names by which the command opens what layers show, and parts of them. Needs no QGIS."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence

_PATHS = re.compile(r"(?:[A-Za-z]:)?[\\/][^\":*?<>|]+")  # of files in GDAL's names of subdatasets


class NotAFile(Exception):
    """A layer that another program cannot open; the message says what to do."""


class OutsideExtent(Exception):
    """An extent that has nothing of a raster, or a raster that has no place."""


def source_name(role: str, layer: str, provider: str, source: str) -> str:
    """The name by which GDAL opens a layer's data in another process.

    Args:
        role: of the layer, for the message.
        layer: its name.
        provider, source: of its data, as QGIS names them.

    Raises:
        NotAFile: the data are a service's, a database's, or in the memory of QGIS.
    """
    name = source.partition("|")[0]
    if provider == "gdal":
        archive = name.startswith(("/vsi", "http://", "https://", "s3://"))
        if archive and not name.startswith("/vsimem/"):
            return name
        if os.path.exists(name) or any(map(os.path.exists, _PATHS.findall(name))):
            return name
    kind = "memory" if name.startswith(("/vsimem/", "MEM:")) else provider
    raise NotAFile(
        f"{role}: layer '{layer}' is not a file ({kind}), so the command ksdiff cannot open it; "
        "save it with Export ‣ Save As… as a GeoTIFF (raw data) and choose that file"
    )


def part_of(
    name: str,
    transform: Sequence[float] | None,
    size: tuple[int, int],
    bounds: tuple[float, float, float, float],
    margin: int,
) -> str:
    """The name of a raster's part, as GDAL opens it (``vrt://``, GDAL 3.8 or newer).

    Args:
        transform: of the raster, in GDAL's order; None where it has none.
        size: width and height of the raster.
        bounds: least x, least y, most x and most y on the ground, in the raster's reference system.
        margin: pixels more on each side, as far as there are any.

    Raises:
        OutsideExtent: the bounds have nothing of the raster, or it has no transform.
    """
    if transform is None:
        raise OutsideExtent(f"{name} has no place on the ground, so no extent can be cut from it")
    if "?" in name:
        raise OutsideExtent(f"{name}: a name with '?' cannot be cut to an extent; rename the file")
    columns, rows = _pixels(transform, bounds)
    left, right = _inside(columns, size[0], margin)
    top, bottom = _inside(rows, size[1], margin)
    if left >= right or top >= bottom:
        raise OutsideExtent(f"the extent {', '.join(f'{b:g}' for b in bounds)} is beside {name}")
    return f"vrt://{name}?srcwin={left},{top},{right - left},{bottom - top}"


def _pixels(
    transform: Sequence[float], bounds: tuple[float, float, float, float]
) -> tuple[list[float], list[float]]:
    """Columns and rows of the corners."""
    x0, dx, rx, y0, ry, dy = transform
    determinant = dx * dy - rx * ry
    corners = [(x - x0, y - y0) for x in bounds[::2] for y in bounds[1::2]]
    columns = [(x * dy - y * rx) / determinant for x, y in corners]
    rows = [(y * dx - x * ry) / determinant for x, y in corners]
    return columns, rows


def _inside(values: Sequence[float], size: int, margin: int) -> tuple[int, int]:
    first, last = math.floor(min(values) + 1e-6), math.ceil(max(values) - 1e-6)
    if last <= 0 or first >= size:
        return 0, 0
    return max(first - margin, 0), min(last + margin, size)

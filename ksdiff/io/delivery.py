"""A fused image on its way into a file: window by window, whatever the format."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.enums import Resampling

from ksdiff.io.description import Description
from ksdiff.io.formats import BLOCK, Format
from ksdiff.io.geotiff import RasterWriter, quiet, writing_errors
from ksdiff.io.outputs import atomic

# What is copied from: quick to write and to read by band, which is how GDAL reduces and copies.
_PLAIN = {
    "driver": "GTiff",
    "tiled": True,
    "blockxsize": BLOCK,
    "blockysize": BLOCK,
    "interleave": "band",
    "BIGTIFF": "IF_SAFER",
}


_ROWS = 64  # whose moments' float64 stay in the cache


class Delivery:
    """Writes windows, gathers statistics. Made by `delivered`."""

    def __init__(self, writer: RasterWriter, nodata: float | None, alpha: bool) -> None:
        self._writer = writer
        self._nodata, self._alpha = nodata, alpha
        self._moments: list[_Moments] = []

    def write(self, values: np.ndarray, top: int, left: int) -> None:
        """Values [C, h, w] with their corner at (top, left), each pixel once."""
        self._writer.write(values, top, left)
        if not self._moments:
            self._moments = [_Moments() for _ in values]
        opaque = values[-1] > 0 if self._alpha else None
        for moments, band in zip(self._moments, values, strict=True):
            for top in range(0, len(band), _ROWS):
                rows = slice(top, top + _ROWS)
                some = band[rows] if opaque is None else band[rows][opaque[rows]]
                moments.add(some, self._nodata, band[rows].size)

    def statistics(self) -> list[dict[str, str]]:
        """Statistics of each band, under GDAL's names of tags."""
        return [moments.tags() for moments in self._moments]


@contextlib.contextmanager
def delivered(
    path: str | Path,
    form: Format,
    *size: Any,
    exact: bool = True,
    nodata: float | None = None,
    about: Description | None = None,
    alpha: bool = False,
    **georeference: Any,
) -> Iterator[Delivery]:
    """Write an image that gets its name when the block ends and it has been read back.

    A format that is written in one go is copied from a plain GeoTIFF beside it, with overviews for
    cloud-optimised ones; it goes in the end.

    Args:
        size: count, height, width and dtype.
        exact: whether the values must read back as they were written.
        alpha: whether the last band is alpha.
        nodata, about, georeference: see `RasterWriter`.

    Raises:
        KSDiffError: the file cannot be written or read back.
    """
    common = {"nodata": nodata, "about": about, **georeference}
    with atomic(path) as temporary:
        if form.streamed:
            creation = {"driver": form.driver, **form.options}
            with _writer(temporary, *size, creation=creation, **common) as writer:
                yield Delivery(writer, nodata, alpha)
                writer.close()
                with quiet():
                    writer.check(temporary, exact)
            return
        plain = temporary.with_name(f"{temporary.stem}.plain.tif")
        try:
            with _writer(plain, *size, creation=_PLAIN, **common) as writer:
                delivery = Delivery(writer, nodata, alpha)
                yield delivery
                writer.close()
                with writing_errors(path), quiet():
                    _finish(plain, temporary, form, delivery.statistics())
                writer.check(temporary, exact)
        finally:
            plain.unlink(missing_ok=True)


@contextlib.contextmanager
def _writer(path: Path, *size: Any, **keywords: Any) -> Iterator[RasterWriter]:
    writer = RasterWriter(path, *size, **keywords)
    try:
        yield writer
    finally:
        with quiet():
            writer.close()


def _finish(plain: Path, path: Path, form: Format, statistics: list[dict[str, str]]) -> None:
    """Complete the plain file and copy it into its format."""
    with rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE=BLOCK, GDAL_NUM_THREADS="ALL_CPUS"):
        with rasterio.open(plain, "r+") as file:
            for band, tags in enumerate(statistics, start=1):
                file.update_tags(band, **tags)
            if form.driver == "COG":
                levels = _levels(max(file.shape))
                if levels:
                    file.build_overviews(levels, Resampling.average)
        rasterio.shutil.copy(plain, path, driver=form.driver, **form.options)


def _levels(side: int) -> list[int]:
    """Reductions until the image fits into one tile."""
    return [2**i for i in range(1, 32) if side > BLOCK * 2 ** (i - 1)]


class _Moments:
    """Statistics of a band, block by block, in float64."""

    def __init__(self) -> None:
        self._seen = self._count = 0
        self._mean = self._squares = 0.0
        self._least, self._most = np.inf, -np.inf

    def add(self, values: np.ndarray, nodata: float | None, of: int) -> None:
        self._seen += of
        if np.issubdtype(values.dtype, np.floating):
            values = values[np.isfinite(values)]
        if nodata is not None and not np.isnan(nodata) and (values == nodata).any():
            values = values[values != nodata]
        if not values.size:
            return
        self._least = min(self._least, values.min().item())
        self._most = max(self._most, values.max().item())
        mean, squares = values.mean(dtype=np.float64), values.var(dtype=np.float64) * values.size
        # Chan, Golub and LeVeque: two parts' moments make those of the whole.
        count = self._count + values.size
        apart = mean - self._mean
        self._mean += apart * values.size / count
        self._squares += squares + apart**2 * self._count * values.size / count
        self._count = count

    def tags(self) -> dict[str, str]:
        if not self._count:
            return {}
        return {
            "STATISTICS_MINIMUM": f"{self._least:.15g}",
            "STATISTICS_MAXIMUM": f"{self._most:.15g}",
            "STATISTICS_MEAN": f"{self._mean:.15g}",
            "STATISTICS_STDDEV": f"{(self._squares / self._count) ** 0.5:.15g}",
            "STATISTICS_VALID_PERCENT": f"{100 * self._count / self._seen:.4g}",
        }

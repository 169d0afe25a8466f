"""Writing GeoTIFFs: window by window, checked before they get their name."""

from __future__ import annotations

import contextlib
import math
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.transform import Affine
from rasterio.windows import Window

from ksdiff.errors import KSDiffError
from ksdiff.io.description import BICUBIC, PAN_PROTOCOL, Description
from ksdiff.io.outputs import atomic

BLOCK = 256  # pixels: side of the tiles of the GeoTIFFs written here


class RasterWriter:
    """A GeoTIFF written window by window and checked before it gets its name.

    Tiled, deflated, BigTIFF where it must be. A full disk can surface as late as in the last flush,
    where the TIFF library reports nothing: `finish` therefore reads every window back.

    Args:
        path: where to write; normally a name from `atomic`.
        count, height, width, dtype: of the raster.
        transform, crs, nodata, descriptions: its georeference and tags.
        gcps, rpcs: ground control points with their CRS, and rational polynomials, as rasterio has
            them.
        about: tags and the meaning of bands.
        creation: options for GDAL's driver that differ.

    Raises:
        KSDiffError: the file cannot be created, written or read back.
    """

    def __init__(
        self,
        path: Path,
        count: int,
        height: int,
        width: int,
        dtype: str,
        *,
        transform: Affine | None = None,
        crs: CRS | None = None,
        nodata: float | None = None,
        descriptions: Sequence[str | None] = (),
        gcps: tuple | None = None,
        rpcs: RPC | None = None,
        about: Description | None = None,
        creation: Mapping[str, object] | None = None,
    ) -> None:
        self._path = path
        self._written: list[tuple[Window, int]] = []
        profile = {
            "driver": "GTiff",
            "count": count,
            "height": height,
            "width": width,
            "dtype": dtype,
            "crs": crs,
            "nodata": nodata,
            "tiled": True,
            "blockxsize": BLOCK,
            "blockysize": BLOCK,
            "compress": "deflate",
            "predictor": 3 if np.issubdtype(dtype, np.floating) else 2,
            "interleave": "pixel",
            "photometric": "minisblack",
            "alpha": "unspecified",
            "BIGTIFF": "IF_SAFER",
        }
        if transform is not None:
            profile["transform"] = transform
        if creation is not None:
            kept = ("driver", "count", "height", "width", "dtype", "crs", "nodata", "transform")
            profile = {key: profile[key] for key in kept if key in profile} | dict(creation)
        with self._errors(), quiet():
            self._dataset = rasterio.open(path, "w", **profile)
            if gcps is not None:
                self._dataset.gcps = gcps
            if rpcs is not None:
                self._dataset.rpcs = rpcs
            for band, description in enumerate(descriptions, start=1):
                if description:
                    self._dataset.set_band_description(band, description)
            if about is not None:
                about.apply(self._dataset)

    def write(self, values: np.ndarray, top: int, left: int) -> None:
        """Write values [C, h, w] with their corner at (top, left).

        Windows that begin and end at multiples of `BLOCK` are quickest and make no gaps.
        """
        window = Window(left, top, values.shape[2], values.shape[1])
        with self._errors():
            self._dataset.write(values, window=window)
        self._written.append((window, _checksum(values)))

    def close(self) -> None:
        self._dataset.close()

    def finish(self) -> None:
        """Close the file and read it back."""
        with self._errors():
            self._dataset.close()
        self.check(self._path)

    def check(self, path: str | Path, exact: bool = True) -> None:
        """Read a file back: this one, or a copy of it.

        Args:
            exact: whether the values must be those that were written.

        Raises:
            KSDiffError: they are not, or cannot be read.
        """
        threads = rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS")
        with self._errors(), quiet(), threads, rasterio.open(path) as dataset:
            for window, checksum in self._written:
                if _checksum(dataset.read(window=window)) != checksum and exact:
                    raise KSDiffError(
                        f"{path}: what was written does not read back; is the disk full?"
                    )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        with writing_errors(self._path):
            yield


@contextlib.contextmanager
def writing_errors(path: str | Path) -> Iterator[None]:
    """Raise errors of GDAL and of the system as KSDiffError."""
    try:
        yield
    except (rasterio.errors.RasterioError, CPLE_BaseError, OSError) as error:
        raise KSDiffError(f"{path}: writing failed, is the disk full? ({error})") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress rasterio's warning about images without georeference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield


def _checksum(values: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(values).data)


def quantise(
    values: np.ndarray,
    valid: np.ndarray,
    dtype: str,
    nodata: float | None,
    bits: int | None = None,
) -> np.ndarray:
    """DN [C, H, W] in the data type of a file; ``valid`` is bool of that shape.

    Rounded and clipped to the type's range, or to that of ``bits``. A valid pixel that would read
    as nodata is moved to the next value that does not.
    """
    out = np.empty(values.shape, dtype)
    for band, (image, known) in enumerate(zip(values, valid, strict=True)):
        out[band] = _quantised(image, known, out.dtype, nodata, bits)
    return out


def _quantised(
    values: np.ndarray,
    valid: np.ndarray,
    kind: np.dtype,
    nodata: float | None,
    bits: int | None,
) -> np.ndarray:
    if np.issubdtype(kind, np.integer):
        limits = np.iinfo(kind)
        most = limits.max if bits is None else min(limits.max, 2**bits - 1)
        # float32 holds every value of 16 bits, not of 32.
        exact = values.astype(np.float32 if kind.itemsize < 4 else np.float64)
        np.clip(np.rint(exact, out=exact), limits.min, most, out=exact)
        out = exact.astype(kind)
        beside = None if nodata is None else nodata + 1 if nodata < most else nodata - 1
    else:
        out = values.astype(kind)
        beside = None if nodata is None else np.nextafter(kind.type(nodata), kind.type(math.inf))
    if nodata is not None:
        if not math.isnan(nodata):
            out[out == nodata] = beside
        out[~valid] = nodata
    return out


def with_alpha(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Values [C, H, W] and an alpha band: opaque where all bands are valid; elsewhere zeros."""
    opaque = valid.all(0)
    most = {"uint16": 65535, "int16": 32767, "int8": 127}.get(str(values.dtype), 255)
    return np.concatenate((values, np.full_like(values[:1], most))) * opaque.astype(values.dtype)


def write_raster(path: str | Path, values: np.ndarray, **georeference: Any) -> None:
    """Write values [C, H, W] as a GeoTIFF, atomically. Keywords as for `RasterWriter`."""
    with atomic(path) as temporary:
        count, height, width = values.shape
        writer = RasterWriter(temporary, count, height, width, str(values.dtype), **georeference)
        try:
            writer.write(values, 0, 0)
            writer.finish()
        finally:
            writer.close()


def write_scene(
    folder: str | Path,
    name: str,
    pan: np.ndarray,
    ms: np.ndarray,
    gt: np.ndarray | None = None,
    *,
    transform: Affine | None = None,
    crs: CRS | None = None,
    phase: float | None = None,
    pixel: float = 0.5,
    descriptions: tuple[str | None, ...] = (),
    nodata: float | None = None,
    pan_nodata: float | None = None,
    pan_decimated: bool = False,
) -> None:
    """Write NAME_pan.tif, NAME_ms.tif and, unless None, NAME_gt.tif.

    Args:
        pan, ms, gt: [1, H, W], [C, H / ratio, W / ratio], [C, H, W].
        transform, crs: of the PAN grid; a made-up place in UTM zone 31N by default.
        phase: PAN coordinate of the centre of MS pixel (0, 0) along both axes; by default
            ``ratio // 2``, that of Wald's protocol.
        pixel: PAN pixel size in metres of the made-up place.
        descriptions: names of the MS bands.
        nodata, pan_nodata: of MS and truth, and of PAN.
        pan_decimated: tell by a tag of the PAN file that the toolbox's protocol reduced it.
    """
    folder = Path(folder)
    ratio = pan.shape[1] // ms.shape[1]
    if transform is None:
        transform = Affine(pixel, 0, 500_000, 0, -pixel, 5_400_000)
        crs = CRS.from_epsg(32631)
    phase = ratio // 2 if phase is None else phase
    offset = phase - (ratio - 1) / 2
    ms_transform = transform @ Affine.translation(offset, offset) @ Affine.scale(ratio)
    made = Description(tags={"": {PAN_PROTOCOL: BICUBIC}}) if pan_decimated else None
    georeference = {"transform": transform, "crs": crs, "nodata": pan_nodata, "about": made}
    write_raster(folder / f"{name}_pan.tif", pan, **georeference)
    common = {"crs": crs, "nodata": nodata, "descriptions": descriptions}
    write_raster(folder / f"{name}_ms.tif", ms, transform=ms_transform, **common)
    if gt is not None:
        write_raster(folder / f"{name}_gt.tif", gt, transform=transform, **common)

"""One raster as sharpening sees it: spectral bands, and where they have data."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window
from torch import Tensor

from ksdiff.errors import KSDiffError
from ksdiff.io.products import ProductImage
from ksdiff.sensors import Wavelengths

_CACHE = 64 * 2**20  # bytes; by itself GDAL takes a share of all memory
_REMOTE = {
    "GDAL_HTTP_MAX_RETRY": 3,
    "GDAL_HTTP_RETRY_DELAY": 1,
    "GDAL_HTTP_CONNECTTIMEOUT": 20,
    "GDAL_HTTP_LOW_SPEED_TIME": 60,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 1,
}
_LEAST_MASK = 0.5  # of a mask's pixels that are transparent or opaque, the rest in between
_THUMBNAIL = 256  # pixels


@dataclass(frozen=True)
class Collar:
    """Where an image shows one value in all bands, connected to its border.

    Pixels of that value elsewhere, in deep shadow for example, are not part of it.
    """

    value: float
    cells: np.ndarray  # [rows, columns] bool: cells that the collar touches
    side: int  # pixels of a cell
    share: float  # of the image's pixels

    def covers(self, raw: np.ndarray, window: Window) -> np.ndarray:
        """Which pixels [h, w] of a window [C, h, w], as stored, lie in the collar."""
        rows, columns = (
            np.arange(start, start + size) // self.side
            for start, size in (
                (window.row_off, window.height),
                (window.col_off, window.width),
            )
        )
        return (raw == self.value).all(0) & self.cells[np.ix_(rows, columns)]


class Image:
    """An open raster: its spectral bands and its mask.

    A band that is marked as alpha, and can be one, is a mask and no spectral band. Pixels lack data
    where they hold the nodata value, NaN or an infinite value, where a mask beside the bands or the
    alpha band says so, and in a `Collar`.

    Args:
        dataset: of rasterio; closed with the image.
        role: ``pan`` or ``ms``, for messages.
        name: as the caller gave it, for messages.
        nodata: a value for all bands instead of what the file declares; None keeps the file's.
        bands: the spectral bands, counted from 1, in this order; all but alpha by default.
        known: what a product tells of the image.
    """

    def __init__(
        self,
        dataset: DatasetReader,
        role: str,
        name: str,
        *,
        nodata: float | None = None,
        bands: Sequence[int] = (),
        known: ProductImage | None = None,
    ):
        self.dataset, self.role, self.name = dataset, role, name
        self.known = known or ProductImage((name,))
        self.source: Image | None = None  # from which ``dataset`` is resampled
        self.on_pan = False  # whether the transform leads to PAN's pixels, not to the ground
        # What was understood and guessed, in sentences for the user.
        self.notes: list[str] = [self.known.told] if self.known.told else []
        marked = [b for b in dataset.indexes if _is_alpha(dataset, b) and b not in bands]
        masks = [band for band in marked if _can_mask(self.thumbnail(band))]
        self.indexes = list(bands) or [band for band in dataset.indexes if band not in masks]
        self.alpha = masks[0] if masks else None
        for band in marked:
            if band in self.indexes:
                self.notes.append(self._doubt(band))
        self.collar: Collar | None = None
        values = [dataset.nodatavals[band - 1] for band in self.indexes]
        if nodata is not None:
            values = [nodata] * len(values)
        self._nodatavals = values
        self.nodata = values[0] if values else None
        flags = dataset.mask_flag_enums[0]
        self._masked = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags

    def close(self) -> None:
        self.dataset.close()
        if self.source is not None:
            self.source.close()

    @property
    def count(self) -> int:
        """Spectral bands."""
        return len(self.indexes)

    @property
    def shape(self) -> tuple[int, int]:
        return self.dataset.shape

    @property
    def dtype(self) -> str:
        return self.dataset.dtypes[self.indexes[0] - 1]

    @property
    def descriptions(self) -> tuple[str | None, ...]:
        names = {band.number: band.name for band in self.known.bands}
        own = self.dataset.descriptions
        return tuple(names.get(band, own[band - 1]) for band in self.indexes)

    @property
    def wavelengths(self) -> tuple[Wavelengths | None, ...]:
        """Limits of the bands in nm, where a product tells them."""
        known = {band.number: band.wavelengths for band in self.known.bands}
        return tuple(known.get(band) for band in self.indexes)

    @property
    def declares_data(self) -> bool:
        """Whether the file itself says which pixels have data."""
        return self.nodata is not None or self._masked or self.alpha is not None

    @property
    def can_lack_data(self) -> bool:
        floating = np.issubdtype(self.dtype, np.floating)
        return self.declares_data or floating or self.collar is not None

    @property
    def georeferenced(self) -> bool:
        return not self.dataset.transform.is_identity

    def read(self, window: Window) -> tuple[Tensor, Tensor]:
        """Values [1, C, h, w] float32, and whether they are data.

        A window may reach beyond the raster, where there is none.

        Raises:
            KSDiffError: the file cannot be decoded.
        """
        top, left = max(window.row_off, 0), max(window.col_off, 0)
        bottom = min(window.row_off + window.height, self.shape[0])
        right = min(window.col_off + window.width, self.shape[1])
        values = np.zeros((self.count, window.height, window.width), dtype=np.float32)
        valid = np.zeros(values.shape, dtype=bool)
        if bottom > top and right > left:
            inner = (
                ...,
                slice(top - window.row_off, bottom - window.row_off),
                slice(left - window.col_off, right - window.col_off),
            )
            inside = Window(left, top, right - left, bottom - top)
            values[inner], valid[inner] = self._read(inside)
        return torch.from_numpy(values)[None], torch.from_numpy(valid)[None]

    def stored(self, window: Window) -> np.ndarray:
        """Values [C, h, w] as they are stored, of a window within the raster."""
        try:
            return self.dataset.read(self.indexes, window=window)
        except RasterioError as error:
            raise KSDiffError(
                f"{self.name}: cannot be read, it may be damaged: {_reason(error)}"
            ) from None

    def _read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        raw = self.stored(window)
        try:
            valid = np.isfinite(raw)
            for band, nodata in enumerate(self._nodatavals):
                if nodata is not None and not math.isnan(nodata):
                    valid[band] &= raw[band] != nodata
            if self._masked:
                valid &= self.dataset.read_masks(1, window=window) > 0
            if self.alpha is not None:
                valid &= self.dataset.read(self.alpha, window=window) > 0
        except RasterioError as error:
            raise KSDiffError(
                f"{self.name}: cannot be read, it may be damaged: {_reason(error)}"
            ) from None
        if self.collar is not None:
            valid &= ~self.collar.covers(raw, window)
        return raw, valid

    def thumbnail(self, indexes: int | Sequence[int], side: int = _THUMBNAIL) -> np.ndarray:
        """Bands at reduced size, the nearest pixel of each place, as stored."""
        step = max(1, max(self.shape) / side)
        size = tuple(max(1, round(length / step)) for length in self.shape)
        shape = size if isinstance(indexes, int) else (len(indexes), *size)
        try:
            return self.dataset.read(indexes, out_shape=shape, resampling=Resampling.nearest)
        except RasterioError as error:
            raise KSDiffError(
                f"{self.name}: cannot be read, it may be damaged: {_reason(error)}"
            ) from None

    def _doubt(self, band: int) -> str:
        others = ",".join(str(other) for other in self.dataset.indexes if other != band)
        return (
            f"{self.role} {self.name}: band {band} is marked as alpha, yet varies like an image; "
            f"it is taken as a band; --bands {others} leaves it out"
        )


def _can_mask(values: np.ndarray) -> bool:
    """Whether a band that is marked as alpha is a mask: nothing or all of it nearly everywhere.

    Many a writer that was given four 8-bit bands marks them as red, green, blue and alpha.
    """
    return bool(np.isin(values, (0, values.max())).mean() >= _LEAST_MASK)


def gdal_options() -> dict[str, object]:
    """Settings for `rasterio.Env`: a bounded cache, and patience with servers.

    What the environment says about servers stays.
    """
    patience = {key: value for key, value in _REMOTE.items() if key not in os.environ}
    return {"GDAL_CACHEMAX": _CACHE, **patience}


def open_dataset(name: str | Path, role: str) -> DatasetReader:
    """Open whatever GDAL opens by that name.

    Raises:
        KSDiffError: it is missing, is no raster, holds no band or complex values.
    """
    text = str(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(text)
    except RasterioError as error:
        raise KSDiffError(f"{role} {text}: {_why_not_open(text, error)}") from None
    if dataset.count == 0:
        inside = ", ".join(dataset.subdatasets[:8])
        dataset.close()
        raise KSDiffError(
            f"{role} {text}: the file holds no raster band of its own"
            + (f"; name one of its subdatasets: {inside}" if inside else "")
        )
    for band, dtype in enumerate(dataset.dtypes, start=1):
        if dtype.startswith("complex"):
            dataset.close()
            raise KSDiffError(f"{role} {text}: band {band} is {dtype}; expected real values")
    return dataset


def local(name: str | Path) -> bool:
    """Whether a name is a path in the file system, not one that GDAL alone understands."""
    text = str(name)
    return "://" not in text and not text.startswith("/vsi") and not text.startswith("<")


def _why_not_open(name: str, error: Exception) -> str:
    if local(name) and not Path(name).exists() and ":" not in name:
        return "there is no such file"
    if local(name):
        return f"not a readable raster: {_reason(error)}"
    return f"cannot be opened: {_reason(error)}"


def _reason(error: Exception) -> str:
    """GDAL's own words, where rasterio has wrapped them."""
    return str(error.__cause__ or error)


def _is_alpha(dataset: DatasetReader, band: int) -> bool:
    return dataset.colorinterp[band - 1] == ColorInterp.alpha

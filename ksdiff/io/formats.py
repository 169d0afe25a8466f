"""File formats of fused images: chosen by the name's ending, tried before any work is spent."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.drivers import driver_from_extension
from rasterio.errors import RasterioError
from rasterio.transform import Affine

from ksdiff.errors import KSDiffError
from ksdiff.io.output_options import OutputOptions

BLOCK = 512  # pixels: side of the tiles
_PROBE = 128  # pixels: side of the image on which a format is tried

# Deflate at its first level makes files 2 % larger than at the usual sixth, in a quarter of the
# time (eight bands of 11 bits).
_TIFF = {"COMPRESS": "DEFLATE", "NUM_THREADS": "ALL_CPUS", "BIGTIFF": "IF_SAFER"}
_DEFAULTS = {
    "COG": {**_TIFF, "LEVEL": "1", "PREDICTOR": "YES", "BLOCKSIZE": str(BLOCK)},
    "GTiff": {
        **_TIFF,
        "ZLEVEL": "1",
        "TILED": "YES",
        "BLOCKXSIZE": str(BLOCK),
        "BLOCKYSIZE": str(BLOCK),
    },
    "JP2OpenJPEG": {"QUALITY": "100", "REVERSIBLE": "YES"},
    "HFA": {"COMPRESSED": "YES"},
}
_PREDICTED = ("DEFLATE", "LZW", "ZSTD")  # compressions that predictors serve


@dataclass(frozen=True)
class Format:
    """A driver of GDAL and its creation options."""

    driver: str
    options: dict[str, str] = field(default_factory=dict)
    given: str = ""  # what the user has told it; if values are lost by it, that was meant

    @classmethod
    def of(cls, path: str | Path, options: OutputOptions, dtype: str) -> Format:
        """The format for the ending of a file name.

        Raises:
            KSDiffError: an ending that no driver of GDAL can write.
        """
        suffix = Path(path).suffix
        try:
            driver = driver_from_extension(path)
        except ValueError:
            driver = "VRT"
        if driver == "VRT":
            raise KSDiffError(
                f"out {path}: expected a name whose ending tells a format that GDAL can write "
                f"(.tif, .jp2, .img, .png, ...), got {suffix or 'none'}"
            )
        if driver == "GTiff" and options.cog:
            driver = "COG"
        settings = dict(_DEFAULTS.get(driver, {}))
        if options.compress is not None:
            if "COMPRESS" not in settings:
                raise KSDiffError(
                    f"compress: only for GeoTIFFs; pass options of {driver} with --co"
                )
            settings["COMPRESS"] = options.compress.upper()
        given = dict(option.split("=", 1) for option in options.co)
        settings |= {key.upper(): value for key, value in given.items()}
        compress = settings.get("COMPRESS", "").upper()
        if compress != "DEFLATE":
            for key in {"LEVEL", "ZLEVEL", "PREDICTOR"} & settings.keys() - _upper(given):
                if not (compress == "ZSTD" and key == "LEVEL"):
                    del settings[key]
        packed = any(key.upper() == "NBITS" for key in given)  # predictors want whole bytes
        if packed:
            settings.pop("PREDICTOR", None)
        elif compress in _PREDICTED and driver in ("COG", "GTiff"):
            usual = "YES" if driver == "COG" else "3" if dtype.startswith("float") else "2"
            settings.setdefault("PREDICTOR", usual)
        told = (
            options.co
            if options.compress is None
            else (f"COMPRESS={options.compress}", *options.co)
        )
        return cls(driver, settings, " ".join(told))

    @property
    def bits(self) -> int | None:
        """Bits per value, if fewer than the data type has."""
        value = self.options.get("NBITS", "")
        return int(value) if value.isdecimal() else None

    @property
    def streamed(self) -> bool:
        """Whether windows are written into the file itself, not copied from another at the end."""
        return self.driver == "GTiff"

    def tried(self, path: str | Path, count: int, dtype: str) -> bool:
        """Write a small image in memory; True if all its values come back.

        Args:
            path: for messages.
            count, dtype: of the image to come.

        Raises:
            KSDiffError: the driver cannot write such an image, does not know an option, or changes
                values without having been told to.
        """
        folder = f"/vsimem/{uuid.uuid4().hex}"
        plain, made = f"{folder}/plain.tif", f"{folder}/made{Path(path).suffix}"
        values = _noise(count, dtype, self.bits)
        try:
            with _warnings() as told:
                self._write(plain, made, values)
                with rasterio.open(made) as file:
                    back = file.read()
        except (RasterioError, CPLE_BaseError, OSError, ValueError) as error:
            raise self._refusal(path, count, dtype, [*told, str(error)][0]) from None
        finally:
            for name in (plain, made):
                with contextlib.suppress(RasterioError, CPLE_BaseError, OSError):
                    rasterio.shutil.delete(name)
        if told:
            raise self._refusal(path, count, dtype, told[0])
        if np.array_equal(back, values):
            return True
        if not self.given:
            raise self._refusal(path, count, dtype, "it would change values")
        if back.shape != values.shape or not _alike(back, values):
            raise self._refusal(path, count, dtype, "the values do not come back")
        return False

    def _write(self, plain: str, made: str, values: np.ndarray) -> None:
        profile = {
            "count": len(values),
            "height": _PROBE,
            "width": _PROBE,
            "dtype": str(values.dtype),
            "transform": Affine(1, 0, 500_000, 0, -1, 5_000_000),
        }
        if self.streamed:
            with rasterio.open(made, "w", driver=self.driver, **profile, **self.options) as file:
                file.write(values)
        else:
            with rasterio.open(plain, "w", driver="GTiff", **profile) as file:
                file.write(values)
            rasterio.shutil.copy(plain, made, driver=self.driver, **self.options)

    def _refusal(self, path: str | Path, count: int, dtype: str, why: str) -> KSDiffError:
        told = f" with {self.given}" if self.given else ""
        return KSDiffError(
            f"out {path}: {self.driver} cannot take {count} bands of {dtype}{told}: {why.strip()}"
        )


def _upper(names: Iterable[str]) -> set[str]:
    return {name.upper() for name in names}


def _noise(count: int, dtype: str, bits: int | None) -> np.ndarray:
    random = np.random.default_rng(0)
    kind, shape = np.dtype(dtype), (count, _PROBE, _PROBE)
    if kind.kind == "f":
        return random.normal(size=shape).astype(kind)
    limits = np.iinfo(kind)
    most = limits.max if bits is None else min(limits.max, 2**bits - 1)
    return random.integers(limits.min, most, shape, kind, endpoint=True)


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether a compression that loses values has kept the image."""
    return bool(one.std() > 0 and np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.5)


class _Told(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextlib.contextmanager
def _warnings() -> Iterator[list[str]]:
    """GDAL's warnings, which rasterio only logs: an unknown creation option is only a warning."""
    log, told = logging.getLogger("rasterio._env"), _Told()
    propagate = log.propagate
    log.addHandler(told)
    log.propagate = False
    try:
        with rasterio.Env():
            yield told.messages
    finally:
        log.removeHandler(told)
        log.propagate = propagate

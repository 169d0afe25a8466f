"""How rasters are written: every option once, for Python and for the command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ksdiff.errors import KSDiffError

_DTYPES = ("uint8", "uint16", "int16", "uint32", "int32", "float32", "float64")


@dataclass(frozen=True)
class OutputOptions:
    """Keyword argument ``output`` of `Sharpener.sharpen_files`, options of ``ksdiff sharpen``.

    Raises:
        KSDiffError: naming an option with a value that it does not take.
    """

    cog: Annotated[
        bool, "GeoTIFFs are cloud-optimised: overviews, statistics, tiles of 512 pixels."
    ] = True
    co: Annotated[
        tuple[str, ...], "Creation option of GDAL's driver, KEY=VALUE. Can be repeated."
    ] = ()
    compress: Annotated[
        str | None, "Compression by GDAL's name: deflate (default), zstd, lzw, lerc, none, ..."
    ] = None
    dtype: Annotated[
        str | None, "Data type, such as uint8, uint16 or float32; that of the MS by default."
    ] = None
    mask: Annotated[
        str, "How pixels without data are marked: alpha, nodata, or auto, as in the MS."
    ] = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "co", tuple(self.co))
        for option in self.co:
            key, _, value = option.partition("=")
            if not key or not value:
                raise KSDiffError(f"co: expected KEY=VALUE, got {option!r}")
        if self.dtype is not None and self.dtype not in _DTYPES:
            raise KSDiffError(f"dtype: expected one of {', '.join(_DTYPES)}, got {self.dtype!r}")
        if self.mask not in ("auto", "alpha", "nodata"):
            raise KSDiffError(f"mask: expected auto, alpha or nodata, got {self.mask!r}")

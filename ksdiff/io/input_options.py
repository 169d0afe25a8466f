"""How rasters are read: every option once, for Python and for the command."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ksdiff.errors import KSDiffError


@dataclass(frozen=True)
class InputOptions:
    """Keyword argument ``reading`` of `Sharpener.sharpen_files`, options of ``ksdiff sharpen``.

    Raises:
        KSDiffError: naming an option with a value that it does not take.
    """

    nodata: Annotated[
        str,
        "Value of pixels without data, instead of the files' own. auto: the declared value, and a "
        "collar of one value around both images; none: only the declared value.",
    ] = "auto"
    bands: Annotated[
        str | None, "Bands to fuse, in this order, counted from 1: 4,3,2. All by default."
    ] = None
    align: Annotated[
        str, "auto: resample an MS raster whose grid does not fit PAN's; off: refuse it."
    ] = "auto"

    extent: Annotated[
        str,
        "Extent of the output: the intersection of PAN and MS, or their union, where pixels "
        "of only one have no data.",
    ] = "intersection"

    def __post_init__(self) -> None:
        if self.extent not in ("intersection", "union"):
            raise KSDiffError(f"extent: expected intersection or union, got {self.extent!r}")
        if self.align not in ("auto", "off"):
            raise KSDiffError(f"align: expected auto or off, got {self.align!r}")
        if self.nodata not in ("auto", "none"):
            try:
                float(self.nodata)
            except ValueError:
                raise KSDiffError(
                    f"nodata: expected a number, auto or none, got {self.nodata!r}"
                ) from None
        numbers = self.band_numbers
        if any(band < 1 for band in numbers) or len(set(numbers)) < len(numbers):
            raise KSDiffError(f"bands: expected numbers from 1, each once, got {self.bands}")

    @property
    def band_numbers(self) -> tuple[int, ...]:
        """Counted from 1; none where all bands are meant."""
        try:
            return tuple(int(band) for band in self.bands.split(",")) if self.bands else ()
        except ValueError:
            raise KSDiffError(
                f"bands: expected numbers with commas between, got {self.bands!r}"
            ) from None

    def nodata_of(self, dtype: str) -> float | None:
        """The value that stands for no data in an image of this type; None: what it declares."""
        if self.nodata in ("auto", "none"):
            return None
        value = float(self.nodata)
        integer = np.issubdtype(dtype, np.integer)
        if integer and not (math.isnan(value) or value.is_integer()):
            raise KSDiffError(f"nodata: {value:g} is not a value of {dtype}")
        return value

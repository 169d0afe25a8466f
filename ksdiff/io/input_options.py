"""How rasters are read: every option once, for Python and for the command."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from ksdiff.errors import KSDiffError


@dataclass(frozen=True)
class InputOptions:
    """Keyword argument ``reading`` of `Sharpener.sharpen_files`, options of ``ksdiff sharpen``.

    Raises:
        KSDiffError: naming an option with a value that it does not take.
    """

    nodata: Annotated[
        str | float,
        "Value of pixels without data, instead of what the files declare. auto: as declared, and "
        "a collar of one value around both images; none: only as declared.",
    ] = "auto"
    bands: Annotated[
        tuple[int, ...], "Bands to fuse, in this order, counted from 1: 4,3,2. All by default."
    ] = ()

    def __post_init__(self) -> None:
        if self.nodata not in ("auto", "none"):
            try:
                object.__setattr__(self, "nodata", float(self.nodata))
            except ValueError:
                raise KSDiffError(
                    f"nodata: expected a number, auto or none, got {self.nodata!r}"
                ) from None
        if any(band < 1 for band in self.bands) or len(set(self.bands)) < len(self.bands):
            raise KSDiffError(
                f"bands: expected numbers from 1, each once, got {', '.join(map(str, self.bands))}"
            )

    def nodata_of(self, dtype: str) -> float | None:
        """The value that stands for no data in an image of this type; None: what it declares."""
        if isinstance(self.nodata, str):
            return None
        integer = dtype.startswith(("int", "uint"))
        if integer and not (math.isnan(self.nodata) or float(self.nodata).is_integer()):
            raise KSDiffError(f"nodata: {self.nodata:g} is no value of {dtype}")
        return self.nodata

"""How to sharpen: every option once, for Python and for the command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from ksdiff.errors import KSDiffError

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]
Method = Literal[
    "ksdiff",
    "exp",
    "brovey",
    "bt-h",
    "gsa",
    "bdsd-pc",
    "rcs",
    "mtf-glp",
    "mtf-glp-fs",
    "mtf-glp-hpm",
]
Registration = Literal["auto", "off", "shift", "local"]
Contrast = Literal["slope", "deviations"]
TILE_UNIT = 256  # PAN pixels: a multiple of the blocks of the GeoTIFFs written


@dataclass(frozen=True)
class SharpenOptions:
    """Keyword arguments of `Sharpener`, and options of ``ksdiff sharpen``.

    A new option is a new field: the command takes its name, type, default and help from here.

    Raises:
        KSDiffError: naming an option with a value that it does not take.
    """

    method: Annotated[Method, "ksdiff, or a classical method, which takes no weights."] = "ksdiff"
    sensor: Annotated[
        str | None,
        "Sensor, such as wv3, geoeye1, pleiades, landsat8 or gf2; ksdiff info lists all. Without "
        "one, MTF gains are generic.",
    ] = None
    device: Annotated[Device, "Device to compute on."] = "auto"
    seed: Annotated[int, "Random seed; the same seed gives the same bytes."] = 0
    tile: Annotated[int, "Window side in PAN pixels; a multiple of 256."] = 512
    registration: Annotated[
        Registration,
        "How PAN is registered to the MS, and bands to each other. shift: one shift for the "
        "scene; local: a shift that varies over it; auto: a varying one where windows of the "
        "scene clearly show it, else one; off: not at all.",
    ] = "auto"
    together: Annotated[
        bool,
        "Leave bands that were registered to each other so, instead of moving them back to "
        "where the MS has them.",
    ] = False
    contrast: Annotated[
        Contrast,
        "How PAN's detail is scaled to a band. slope: between neighbouring pixels; deviations: "
        "ratio of standard deviations, which full-resolution indexes prefer.",
    ] = "slope"
    pan_gain: Annotated[
        str,
        "Sharpness of PAN: its MTF gain at its Nyquist frequency, 0.02 to 0.98. bicubic: PAN was "
        "decimated by the DLPan-Toolbox's protocol; auto: the sensor's gain, or a typical one.",
    ] = "auto"
    precision: Annotated[
        Precision, "Precision of the network; bfloat16 is faster on hardware that supports it."
    ] = "float32"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("method", Method),
            ("registration", Registration),
            ("device", Device),
            ("contrast", Contrast),
            ("precision", Precision),
        ):
            *first, last = get_args(allowed)
            value = getattr(self, name)
            if value not in (*first, last):
                raise KSDiffError(f"{name}: expected {', '.join(first)} or {last}, got {value!r}")
        if self.pan_gain not in ("auto", "bicubic") and not _is_gain(self.pan_gain):
            raise KSDiffError(
                "pan_gain: expected auto, bicubic or a number between 0.02 and 0.98, "
                f"got {self.pan_gain!r}"
            )
        if self.tile < TILE_UNIT or self.tile % TILE_UNIT:
            raise KSDiffError(f"tile: expected a multiple of {TILE_UNIT}, got {self.tile}")


def _is_gain(text: str) -> bool:
    try:
        return 0.02 <= float(text) <= 0.98
    except ValueError:
        return False

"""What the commands share: options, and their choices."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer


class Device(str, Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Precision(str, Enum):
    float32 = "float32"
    bfloat16 = "bfloat16"


class Contrast(str, Enum):
    slope = "slope"
    deviations = "deviations"


Weights = Annotated[
    str | None,
    typer.Option(help="Bundled name or .safetensors file; by default the scene's bands decide."),
]
Sensor = Annotated[
    str | None,
    typer.Option(
        help="wv2, wv3, wv4, gf2, qb, ikonos, geoeye1, pleiades, spot6 or landsat8; "
        "generic MTF gains without."
    ),
]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute.")]
Seed = Annotated[int, typer.Option(help="Of the noise; the same seed gives the same bytes.")]
Register = Annotated[
    bool, typer.Option(help="Put PAN and bands in place where the scene shows them off.")
]
ContrastOption = Annotated[
    Contrast,
    typer.Option(
        help="What a band's detail is to PAN's: its slope between neighbours, or the ratio of "
        "standard deviations, which full-resolution indexes prefer."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output files.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar, no summary.")]

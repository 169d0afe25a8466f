"""The command's options as parameters, and parameters as its arguments. Needs no QGIS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SENSORS = (
    *("wv2", "wv3", "wv4", "geoeye1", "qb", "ikonos", "gf1", "gf2", "gf6", "superview", "zy3"),
    *("cbers4a", "kompsat3", "pleiades", "pleiades-neo", "spot6", "spot7", "planetscope"),
    *("landsat7", "landsat8", "landsat9", "sentinel2"),
)
METHODS = (
    *("ksdiff", "exp", "brovey", "bt-h", "gsa", "bdsd-pc", "rcs"),
    *("mtf-glp", "mtf-glp-fs", "mtf-glp-hpm"),
)


@dataclass(frozen=True)
class Option:
    """An option of the command, whose name as a parameter is in capitals.

    Attributes:
        name: ``pan_gain`` for ``--pan-gain``.
        label: beside its widget.
        default: as in the command; None where it has none. Its type is the option's.
        choices: the values that it takes, if these are all.
        common: whether it stands among the parameters that are seen at once.
    """

    name: str
    label: str
    default: str | int | bool | None = None
    choices: tuple[str, ...] = ()
    common: bool = False

    @property
    def parameter(self) -> str:
        return self.name.upper()

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


METHOD = Option("method", "Method", "ksdiff", METHODS, True)
SENSOR = Option("sensor", "Sensor", None, SENSORS, True)
REGISTRATION = Option(
    "registration", "Registration of PAN and bands", "auto", ("auto", "off", "shift", "local")
)
CONTRAST = Option("contrast", "Strength of detail by", "slope", ("slope", "deviations"))
PAN_GAIN = Option("pan_gain", "MTF gain of PAN (number, bicubic or auto)", "auto")
DEVICE = Option("device", "Compute on", "auto", ("auto", "cpu", "cuda"))
SEED = Option("seed", "Random seed", 0)
WEIGHTS = Option("weights", "Weights (bundled name or .safetensors file)")
OVERWRITE = Option("overwrite", "Replace existing output", False)

SHARPENING = (
    *(METHOD, SENSOR, WEIGHTS, REGISTRATION),
    Option("together", "Leave bands shifted onto each other", False),
    *(CONTRAST, PAN_GAIN, DEVICE),
    Option("precision", "Precision of the network", "float32", ("float32", "bfloat16")),
    *(SEED, Option("tile", "Window side in PAN pixels (multiple of 256)", 512)),
)
READING = (
    Option("nodata", "Value without data (number, none or auto)", "auto"),
    Option("align", "MS grid that does not fit PAN's", "auto", ("auto", "off")),
    Option("extent", "Ground of the output", "intersection", ("intersection", "union")),
)
WRITING = (
    Option(
        "dtype",
        "Data type of the output (by default that of the MS)",
        None,
        ("uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"),
    ),
    Option("compress", "Compression", None, ("deflate", "zstd", "lzw", "lerc", "none")),
    Option("mask", "Pixels without data are marked by", "auto", ("auto", "alpha", "nodata")),
)
ADAPT = Option("adapt", "Fine-tune the weights on the scene first (5 minutes)", False)
SUFFIX = Option("suffix", "Ending of the results' names", ".tif")
WORKERS = Option("workers", "Scenes at a time (needs ksdiff[dask])", 1)
BORDER = Option("border", "Pixels cut from the sides before indexes with truth", 21)
MEASURED = Option("measured", "Give classical methods what KSDiff measures", False)


def arguments(options: Iterable[Option], values: Mapping[str, object]) -> list[str]:
    """The arguments for what differs from the command's defaults.

    Args:
        values: by parameter; None and empty text: not given.
    """
    found = []
    for option in options:
        value = values.get(option.parameter)
        if value is None or value == "" or value == option.default:
            continue
        found += [option.flag] if value is True else [option.flag, str(value)]
    return found


def creation_options(text: str) -> list[str]:
    """Of what QGIS's widget for creation options gives: KEY=VALUE|KEY=VALUE."""
    return [word for pair in text.split("|") if pair.strip() for word in ("--co", pair.strip())]

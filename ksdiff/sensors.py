"""The one table of sensors: bands and their wavelengths, ratio, bit depth, MTF gains at Nyquist.

Gains are those of the DLPan-Toolbox (wv2, wv3, wv4, qb, ikonos, geoeye1); sensors that are not in
it take its default of 0.30 for every band and 0.15 for PAN, as an unknown sensor does. Wavelengths
are the band limits in nm that the operators publish.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ksdiff.errors import KSDiffError

GENERIC_MS_GAIN = 0.30
GENERIC_PAN_GAIN = 0.15
UNKNOWN = "unknown"  # the name of a sensor that was not told

Wavelengths = tuple[float, float]  # from, to, in nm


@dataclass(frozen=True)
class Sensor:
    """The facts of a sensor that the protocol needs."""

    name: str
    bands: int
    ratio: int  # MS pixel size over PAN pixel size
    bits: int  # radiometric resolution of the digital numbers
    ms_gains: tuple[float, ...]  # [bands] MTF at the Nyquist frequency of the MS grid
    pan_gain: float  # the same for PAN
    band_names: tuple[str, ...]
    wavelengths: tuple[Wavelengths | None, ...]  # [bands]
    pan_wavelengths: Wavelengths | None = None
    # Bands of neighbouring wavelengths whose arrays see the ground before and after PAN's does, so
    # that terrain, satellite motion and whatever moves put them apart.
    opposite_bands: tuple[tuple[int, int], ...] = ()
    pan_decimated: bool = False  # by the DLPan-Toolbox's protocol, which leaves PAN sharper

    def __post_init__(self) -> None:
        for field in ("ms_gains", "band_names", "wavelengths"):
            if len(getattr(self, field)) != self.bands:
                raise ValueError(
                    f"sensor {self.name}: expected {self.bands} {field}, "
                    f"got {len(getattr(self, field))}"
                )

    @property
    def known(self) -> bool:
        """Whether its name was told, and so its gains."""
        return self.name != UNKNOWN

    @property
    def delivers(self) -> bool:
        """Whether the images are as it is known to make them."""
        return self.known and not self.pan_decimated

    def subset(self, names: Sequence[str]) -> "Sensor":
        """The sensor with these of its bands only, in this order.

        Raises:
            KSDiffError: a name that is no band of it, or one twice.
        """
        known = {name.lower(): index for index, name in enumerate(self.band_names)}
        keys = [name.strip().lower() for name in names]
        for key in keys:
            if key not in known or keys.count(key) > 1:
                raise KSDiffError(
                    f"bands: {key!r} is not a band of {self.name} or is named twice; its bands are "
                    f"{', '.join(self.band_names)}"
                )
        chosen = [known[key] for key in keys]
        places = {band: place for place, band in enumerate(chosen)}
        return replace(
            self,
            bands=len(chosen),
            ms_gains=tuple(self.ms_gains[band] for band in chosen),
            band_names=tuple(self.band_names[band] for band in chosen),
            wavelengths=tuple(self.wavelengths[band] for band in chosen),
            opposite_bands=tuple(
                (places[first], places[second])
                for first, second in self.opposite_bands
                if first in places and second in places
            ),
        )


def _sensor(
    name: str,
    ratio: int,
    bits: int,
    bands: dict[str, Wavelengths],
    pan: Wavelengths | None,
    gains: float | tuple[float, ...] = GENERIC_MS_GAIN,
    pan_gain: float = GENERIC_PAN_GAIN,
    opposite_bands: tuple[tuple[int, int], ...] = (),
) -> Sensor:
    if isinstance(gains, float):
        gains = (gains,) * len(bands)
    names, wavelengths = tuple(bands), tuple(bands.values())
    return Sensor(
        name, len(bands), ratio, bits, gains, pan_gain, names, wavelengths, pan, opposite_bands
    )


def _bgrn(*limits: Wavelengths) -> dict[str, Wavelengths]:
    return dict(zip(("blue", "green", "red", "nir"), limits, strict=True))


_BGRN = ("blue", "green", "red", "nir")
_WORLDVIEW = {
    "coastal": (400.0, 450.0),
    "blue": (450.0, 510.0),
    "green": (510.0, 580.0),
    "yellow": (585.0, 625.0),
    "red": (630.0, 690.0),
    "red edge": (705.0, 745.0),
    "nir1": (770.0, 895.0),
    "nir2": (860.0, 1040.0),
}
_WORLDVIEW_ARRAYS = ((1, 0), (2, 3), (4, 5), (6, 7))  # MS1 has B, G, R, N1; MS2 has C, Y, RE, N2
_GEOEYE = _bgrn((450.0, 510.0), (510.0, 580.0), (655.0, 690.0), (780.0, 920.0))
_GAOFEN = _bgrn((450.0, 520.0), (520.0, 590.0), (630.0, 690.0), (770.0, 890.0))
_SPOT = _bgrn((455.0, 525.0), (530.0, 590.0), (625.0, 695.0), (760.0, 890.0))
_LANDSAT8 = {
    "coastal": (435.0, 451.0),
    "blue": (452.0, 512.0),
    "green": (533.0, 590.0),
    "red": (636.0, 673.0),
    "nir": (851.0, 879.0),
    "swir1": (1566.0, 1651.0),
    "swir2": (2107.0, 2294.0),
}
_LANDSAT7 = {
    "blue": (450.0, 520.0),
    "green": (520.0, 600.0),
    "red": (630.0, 690.0),
    "nir": (770.0, 900.0),
    "swir1": (1550.0, 1750.0),
    "swir2": (2090.0, 2350.0),
}
_SENTINEL2 = {  # the bands of 20 m, beside those of 10 m as PAN
    "red edge 1": (697.0, 712.0),
    "red edge 2": (732.0, 747.0),
    "red edge 3": (773.0, 793.0),
    "nir narrow": (855.0, 875.0),
    "swir1": (1565.0, 1655.0),
    "swir2": (2100.0, 2280.0),
}
_PLEIADES_NEO = {
    "deep blue": (400.0, 450.0),
    "blue": (450.0, 520.0),
    "green": (530.0, 590.0),
    "red": (620.0, 690.0),
    "red edge": (700.0, 750.0),
    "nir": (770.0, 880.0),
}

SENSORS: dict[str, Sensor] = {
    sensor.name: sensor
    for sensor in (
        _sensor(
            "wv2",
            4,
            11,
            _WORLDVIEW,
            (450.0, 800.0),
            (0.35,) * 7 + (0.27,),
            0.11,
            _WORLDVIEW_ARRAYS,
        ),
        _sensor(
            "wv3",
            4,
            11,
            _WORLDVIEW,
            (450.0, 800.0),
            (0.325, 0.355, 0.360, 0.350, 0.365, 0.360, 0.335, 0.315),
            0.14,
            _WORLDVIEW_ARRAYS,
        ),
        _sensor("wv4", 4, 11, _GEOEYE, (450.0, 800.0), 0.23, 0.16),
        _sensor("geoeye1", 4, 11, _GEOEYE, (450.0, 800.0), 0.23, 0.16),
        _sensor(
            "qb",
            4,
            11,
            _bgrn((450.0, 520.0), (520.0, 600.0), (630.0, 690.0), (760.0, 900.0)),
            (450.0, 900.0),
            (0.34, 0.32, 0.30, 0.22),
            0.15,
        ),
        _sensor(
            "ikonos",
            4,
            11,
            _bgrn((445.0, 516.0), (506.0, 595.0), (632.0, 698.0), (757.0, 853.0)),
            (526.0, 929.0),
            (0.26, 0.28, 0.29, 0.28),
            0.17,
        ),
        _sensor("gf1", 4, 10, _GAOFEN, (450.0, 900.0)),
        _sensor("gf2", 4, 10, _GAOFEN, (450.0, 900.0)),
        _sensor(
            "gf6",
            4,
            12,
            _bgrn((450.0, 520.0), (520.0, 600.0), (630.0, 690.0), (760.0, 900.0)),
            (450.0, 900.0),
        ),
        _sensor("superview", 4, 11, _GAOFEN, (450.0, 890.0)),
        _sensor("zy3", 3, 10, _GAOFEN, (500.0, 800.0)),  # 2.1 and 5.8 m: 2.76 as delivered
        _sensor("cbers4a", 4, 10, _GAOFEN, (450.0, 900.0)),
        _sensor(
            "kompsat3",
            4,
            14,
            _bgrn((450.0, 520.0), (520.0, 600.0), (630.0, 690.0), (760.0, 900.0)),
            (450.0, 900.0),
        ),
        _sensor(
            "pleiades",
            4,
            12,
            _bgrn((430.0, 550.0), (490.0, 610.0), (600.0, 720.0), (750.0, 950.0)),
            (480.0, 830.0),
        ),
        _sensor("pleiades-neo", 4, 12, _PLEIADES_NEO, (450.0, 800.0)),
        _sensor("spot6", 4, 12, _SPOT, (450.0, 745.0)),
        _sensor("spot7", 4, 12, _SPOT, (450.0, 745.0)),
        _sensor(
            "planetscope",
            4,
            12,
            _bgrn((465.0, 515.0), (547.0, 583.0), (650.0, 680.0), (845.0, 885.0)),
            None,
        ),
        _sensor("landsat7", 2, 8, _LANDSAT7, (520.0, 900.0)),
        _sensor("landsat8", 2, 16, _LANDSAT8, (503.0, 676.0)),
        _sensor("landsat9", 2, 16, _LANDSAT8, (503.0, 676.0)),
        _sensor("sentinel2", 2, 12, _SENTINEL2, None),
    )
}

# Where bands of such a name usually lie, whatever the sensor.
_USUAL: dict[str, Wavelengths] = {
    **{name: _LANDSAT8[name] for name in ("swir1", "swir2")},
    **_GEOEYE,
    **_WORLDVIEW,
    "near infrared": _GEOEYE["nir"],
}
_USUAL_NAMES = {4: _BGRN, 8: tuple(_WORLDVIEW)}  # of images with that many bands

# The bands of a file with that many, where nothing else says so.
_USUAL_SUBSETS = {
    ("landsat8", 6): tuple(_LANDSAT7),
    ("landsat9", 6): tuple(_LANDSAT7),
    **{(name, 4): _BGRN for name in ("landsat7", "landsat8", "landsat9", "pleiades-neo")},
    **{(name, 4): ("blue", "green", "red", "nir1") for name in ("wv2", "wv3")},
}


def get_sensor(name: str) -> Sensor:
    """Return the sensor of that name (any case).

    Raises:
        KSDiffError: no such sensor; the message lists those known.
    """
    sensor = SENSORS.get(name.lower())
    if sensor is None:
        raise KSDiffError(
            f"sensor: {name!r} is not known; choose one of {', '.join(sorted(SENSORS))}, "
            "or leave it out for generic gains"
        )
    return sensor


def sensor_for(
    name: str | None, bands: int, ratio: int, band_names: Sequence[str] | None = None
) -> Sensor:
    """Return the sensor for a scene with these bands and this ratio.

    ``None`` and ``"unknown"`` give generic gains for any band count, and 16 bits, which no digital
    number exceeds. A named sensor keeps its gains and takes the scene's ratio.

    Args:
        band_names: which of the sensor's bands the scene has, in the scene's order. Without them
            the band count decides where it is unambiguous.

    Raises:
        KSDiffError: the sensor is not known, or its bands do not fit the scene's.
    """
    if name is None or name.lower() == UNKNOWN:
        names = _BGRN if bands == 4 else tuple(f"band {i + 1}" for i in range(bands))
        gains = (GENERIC_MS_GAIN,) * bands
        return Sensor(UNKNOWN, bands, ratio, 16, gains, GENERIC_PAN_GAIN, names, (None,) * bands)
    sensor = get_sensor(name)
    if band_names is not None:
        sensor = sensor.subset(band_names)
    elif sensor.bands != bands and (sensor.name, bands) in _USUAL_SUBSETS:
        sensor = sensor.subset(_USUAL_SUBSETS[sensor.name, bands])
    if sensor.bands != bands:
        raise KSDiffError(
            f"sensor: {sensor.name} has {sensor.bands} bands ({', '.join(sensor.band_names)}), the "
            f"MS image has {bands}; describe the file's bands by those names (gdal_edit.py, or "
            "rasterio's descriptions), or leave the sensor out for generic gains"
        )
    return replace(sensor, ratio=ratio)


def usual_wavelengths(names: Sequence[str | None]) -> tuple[Wavelengths | None, ...]:
    """Where the bands of an unknown sensor probably lie: by their names, or else their number.

    Args:
        names: as an image describes its bands, None where it does not.

    Returns:
        Limits in nm; None for each band of which nothing is to be said.
    """
    by_name = tuple(_USUAL.get((name or "").strip().lower()) for name in names)
    if any(by_name):
        return by_name
    usual = _USUAL_NAMES.get(len(names))
    return tuple(_USUAL[name] for name in usual) if usual else by_name

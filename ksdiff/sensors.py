"""The one table of sensors: bands, ratio, bit depth, MTF gains at Nyquist, and opposite arrays.

Gains are those of the DLPan-Toolbox. Landsat-8, SPOT-6 and Pléiades are not in it and take its
default of .30 for every band (.15 for PAN), as an unknown sensor does.
"""

from dataclasses import dataclass, replace

from ksdiff.errors import KSDiffError

GENERIC_MS_GAIN = 0.30
GENERIC_PAN_GAIN = 0.15


@dataclass(frozen=True)
class Sensor:
    """What the protocol needs to know of a sensor."""

    name: str
    bands: int
    ratio: int  # MS pixel size over PAN pixel size
    bits: int  # radiometric resolution of the digital numbers
    ms_gains: tuple[float, ...]  # [bands] MTF at the Nyquist frequency of the MS grid
    pan_gain: float  # the same for PAN
    band_names: tuple[str, ...]
    # Bands of neighbouring wavelengths whose arrays see the ground before and after PAN's does, so
    # that terrain, satellite motion and whatever moves put them apart.
    opposite_bands: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for field in ("ms_gains", "band_names"):
            if len(getattr(self, field)) != self.bands:
                raise ValueError(
                    f"sensor {self.name}: expected {self.bands} {field}, "
                    f"got {len(getattr(self, field))}"
                )


_BGRN = ("blue", "green", "red", "nir")
_WORLDVIEW = ("coastal", "blue", "green", "yellow", "red", "red edge", "nir1", "nir2")
_WORLDVIEW_ARRAYS = ((1, 0), (2, 3), (4, 5), (6, 7))  # MS1 has B, G, R, N1; MS2 has C, Y, RE, N2
_LANDSAT = ("blue", "green", "red", "nir", "swir1", "swir2")


def _generic_gains(bands: int) -> tuple[float, ...]:
    return (GENERIC_MS_GAIN,) * bands


SENSORS: dict[str, Sensor] = {
    sensor.name: sensor
    for sensor in (
        Sensor("wv2", 8, 4, 11, (0.35,) * 7 + (0.27,), 0.11, _WORLDVIEW, _WORLDVIEW_ARRAYS),
        Sensor(
            "wv3",
            8,
            4,
            11,
            (0.325, 0.355, 0.360, 0.350, 0.365, 0.360, 0.335, 0.315),
            0.14,
            _WORLDVIEW,
            _WORLDVIEW_ARRAYS,
        ),
        Sensor("wv4", 4, 4, 11, (0.23,) * 4, 0.16, _BGRN),
        Sensor("gf2", 4, 4, 10, _generic_gains(4), GENERIC_PAN_GAIN, _BGRN),
        Sensor("qb", 4, 4, 11, (0.34, 0.32, 0.30, 0.22), 0.15, _BGRN),
        Sensor("ikonos", 4, 4, 11, (0.26, 0.28, 0.29, 0.28), 0.17, _BGRN),
        Sensor("geoeye1", 4, 4, 11, (0.23,) * 4, 0.16, _BGRN),
        Sensor("pleiades", 4, 4, 12, _generic_gains(4), GENERIC_PAN_GAIN, _BGRN),
        Sensor("spot6", 4, 4, 12, _generic_gains(4), GENERIC_PAN_GAIN, _BGRN),
        Sensor("landsat8", 6, 2, 16, _generic_gains(6), GENERIC_PAN_GAIN, _LANDSAT),
    )
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


def sensor_for(name: str | None, bands: int, ratio: int) -> Sensor:
    """Return the sensor for a scene with these bands and this ratio.

    ``None`` and ``"unknown"`` give generic gains for any band count, and 16 bits, which no digital
    number exceeds. A named sensor keeps its gains and takes the scene's ratio.

    Raises:
        KSDiffError: the sensor is not known, or has another number of bands.
    """
    if name is None or name.lower() == "unknown":
        names = _BGRN if bands == 4 else tuple(f"band {i + 1}" for i in range(bands))
        return Sensor("unknown", bands, ratio, 16, _generic_gains(bands), GENERIC_PAN_GAIN, names)
    sensor = get_sensor(name)
    if sensor.bands != bands:
        raise KSDiffError(
            f"sensor: {sensor.name} has {sensor.bands} bands, the MS image has {bands}; "
            "give the matching sensor, or leave it out for generic gains"
        )
    return replace(sensor, ratio=ratio)

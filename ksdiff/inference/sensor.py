"""The sensor of a scene, and hints on bands that do not look as expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ksdiff.images.order import order_hint
from ksdiff.images.pair import Pair
from ksdiff.images.sharpness import PanGain
from ksdiff.inference.scene import PreparedScene
from ksdiff.models.weights import weights_for
from ksdiff.sensors import SENSORS, Sensor, sensor_for, usual_wavelengths


def sensor_of(name: str | None, pair: Pair) -> Sensor:
    """The sensor of that name, or else the one that the pair's product tells.

    With the bands that the MS file names, where it names bands of the sensor. The bands of an
    unknown sensor lie where the product says, or else where bands of their names usually do.
    Whether PAN was decimated is what its file says.

    Raises:
        KSDiffError: no such sensor, or one whose bands do not fit the pair's.
    """
    decimated = getattr(pair, "pan_decimated", False)
    return replace(_sensor_of(name, pair), pan_decimated=decimated)


def _sensor_of(name: str | None, pair: Pair) -> Sensor:
    name = name or getattr(pair, "sensor", None)
    names = _described(pair)
    named = [text.lower() for text in names if text]
    sensor = SENSORS.get((name or "").lower())
    if sensor is not None and len(named) == pair.bands and set(named) <= set(sensor.band_names):
        return sensor_for(name, pair.bands, pair.ratio, named)
    sensor = sensor_for(name, pair.bands, pair.ratio)
    if sensor.known:
        return sensor
    told = tuple(getattr(pair, "wavelengths", ()))
    return replace(sensor, wavelengths=told if any(told) else usual_wavelengths(names))


def assumption(scene: PreparedScene, pair: Pair) -> str | None:
    """A sentence where nothing but the number of bands says what they are, and a network asks."""
    told = any(getattr(pair, "wavelengths", ())) or any(_described(pair))
    wavelengths = scene.sensor.wavelengths
    if not scene.describes_bands or scene.sensor.known or told or None in wavelengths:
        return None
    places = ", ".join(f"{low:g}-{high:g}" for low, high in filter(None, wavelengths))
    return (
        f"nothing says what the bands are; they were taken to lie at {places} nm, as "
        f"{pair.bands} bands usually do: --sensor, or band descriptions in the MS file, tell it"
    )


def pan_gain_of(option: str, sensor: Sensor) -> PanGain | None:
    """PAN's sharpness as given, or else as its file or the sensor tells it."""
    if option == "bicubic" or (option == "auto" and sensor.pan_decimated):
        return "bicubic"
    if option == "auto":
        return sensor.pan_gain if sensor.known else None
    return float(option)


def bundled_for(sensor: Sensor, pan_gain: str) -> str:
    """The bundled weights for images of a sensor; ``pan_gain`` as the option of that name."""
    return weights_for(sensor.bands, sensor.ratio, sensor.delivers and pan_gain == "auto")


def _described(pair: Pair) -> Sequence[str | None]:
    """What the MS file calls its bands."""
    return getattr(pair, "descriptions", ()) or (None,) * pair.bands


def order_hint_of(scene: PreparedScene, pair: Pair) -> str | None:
    """By the names that the MS file or its product gives its bands, else those of the sensor."""
    told = _described(pair)
    names = [str(name).lower() for name in (told if all(told) else scene.sensor.band_names)]
    return order_hint([ms for _, ms in scene.samples], names)


def unrelated_hint(scene: PreparedScene, descriptions: Sequence[str | None]) -> str | None:
    """A sentence on bands whose detail has nothing in common with PAN's."""
    bands = scene.unrelated
    if not bands:
        return None
    names = ", ".join(descriptions[band] or str(band + 1) for band in bands)
    return (
        f"the detail of band {names} has nothing in common with PAN's, so PAN adds next to nothing "
        "there; if that is unexpected, check what the band shows and where it lies"
    )

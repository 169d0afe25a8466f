"""The sensor of a scene, and hints on bands that do not look as expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ksdiff.images.order import order_hint
from ksdiff.images.pair import Pair
from ksdiff.images.sharpness import PanGain
from ksdiff.inference.scene import PreparedScene
from ksdiff.sensors import SENSORS, Sensor, sensor_for


def sensor_of(name: str | None, pair: Pair) -> Sensor:
    """The sensor of that name, or else the one that the pair's product tells.

    With the bands that the MS file names, where it names bands of the sensor.

    Raises:
        KSDiffError: no such sensor, or one whose bands do not fit the pair's.
    """
    name = name or getattr(pair, "sensor", None)
    named = [text.lower() for text in getattr(pair, "descriptions", ()) if text]
    known = SENSORS.get((name or "").lower())
    if known is not None and len(named) == pair.bands and set(named) <= set(known.band_names):
        return sensor_for(name, pair.bands, pair.ratio, named)
    sensor = sensor_for(name, pair.bands, pair.ratio)
    told = getattr(pair, "wavelengths", ())
    return replace(sensor, wavelengths=tuple(told)) if any(told) and name is None else sensor


def pan_gain_of(option: str, sensor: Sensor) -> PanGain | None:
    """PAN's sharpness as given, or else the sensor's gain."""
    if option == "auto":
        return None if sensor.name == "unknown" else sensor.pan_gain
    return "bicubic" if option == "bicubic" else float(option)


def order_hint_of(scene: PreparedScene, pair: Pair) -> str | None:
    """By the names that the MS file or its product gives its bands, else those of the sensor."""
    told = getattr(pair, "descriptions", ())
    named = all(told) and len(told) == pair.bands
    names = [str(name).lower() for name in (told if named else scene.sensor.band_names)]
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

"""What sharpening decided, and why, in sentences for the user."""

from __future__ import annotations

from typing import NamedTuple

from ksdiff.images.sharpness import GENERIC
from ksdiff.inference.options import SharpenOptions
from ksdiff.inference.scene import PreparedScene
from ksdiff.io.rasters import ScenePair


class Decision(NamedTuple):
    about: str
    value: str
    why: str


def decisions(
    pair: ScenePair, scene: PreparedScene, options: SharpenOptions, method: str, valid: float
) -> list[Decision]:
    """Every decision on a scene: what was set, measured or guessed, and why.

    Args:
        pair: as delivered.
        method: that fused the scene: weights, or a classical method.
        valid: share of the fused pixels that have data.
    """
    return [
        _sensor(scene),
        _method(pair, options, method),
        _grids(pair),
        _nodata(pair, valid),
        _shift(scene, options),
        _bands(scene, options),
        _mtf(scene),
        _pan_gain(scene, options),
        _contrast(options),
    ]


def _sensor(scene: PreparedScene) -> Decision:
    sensor = scene.sensor
    if not sensor.known:
        why = "No sensor was named; MTF gains are generic, scaled by what the scene shows."
        return Decision("Sensor", "unknown", why)
    why = f"Named by the caller or the product: {', '.join(sensor.band_names)}."
    return Decision("Sensor", sensor.name, why)


def _method(pair: ScenePair, options: SharpenOptions, method: str) -> Decision:
    if options.method != "ksdiff":
        return Decision("Method", options.method, "A classical method, as requested.")
    why = (
        f"By {pair.bands} bands, ratio {pair.ratio}, and whether the sensor was named, unless the "
        "caller has named weights."
    )
    return Decision("Weights", method, why)


def _grids(pair: ScenePair) -> Decision:
    down, right = (at - (pair.ratio - 1) / 2 for at in pair.phase)
    value = f"ratio {pair.ratio}"
    if not (down or right):
        return Decision("Alignment", value, "The corners of MS and PAN pixels coincide.")
    why = (
        "By the two transforms, MS pixels lie "
        f"{down:+.2f} rows and {right:+.2f} columns off the middle of their PAN pixels."
    )
    return Decision("Alignment", value, why)


def _nodata(pair: ScenePair, valid: float) -> Decision:
    if pair.masked_by_alpha:
        why = "The MS image marks pixels without data by an alpha band."
    elif pair.nodata is None:
        why = "Neither file declares pixels without data, and none were found."
    else:
        why = f"The fused image marks them by {pair.nodata:g}, the inputs' value or the default."
    return Decision("Pixels without data", f"{1 - valid:.1%}", why)


def _shift(scene: PreparedScene, options: SharpenOptions) -> Decision:
    about = "Place of PAN"
    if options.registration == "off":
        return Decision(about, "as delivered", "Registration was switched off.")
    found = scene.registration
    if found.field is not None:
        (top, bottom), (left, right) = found.field.spread
        value = f"{top:+.2f} to {bottom:+.2f} rows, {left:+.2f} to {right:+.2f} columns"
        return Decision(about, value, f"{found.told}.")
    if any(found.shift):
        dy, dx = found.shift
        why = "Windows of the scene agree on this offset of PAN from the MS; PAN was moved back."
        return Decision(about, f"{dy:+.2f} rows, {dx:+.2f} columns", why)
    if found.note:
        return Decision(about, "as delivered", f"{found.note}.")
    why = "The scene shows no shift of more than 0.1 PAN pixels that its windows agree on."
    return Decision(about, "as delivered", why)


def _bands(scene: PreparedScene, options: SharpenOptions) -> Decision:
    about = "Place of the bands"
    if options.registration == "off":
        return Decision(about, "as delivered", "Registration was switched off.")
    if not scene.apart:
        why = "They lie together, or the sensor is not known to record them at different times."
        return Decision(about, "as delivered", why)
    where = (
        "They were registered and left so, as requested."
        if options.together
        else "They were registered, fused, and moved back to where the MS has them."
    )
    return Decision(about, f"up to {scene.apart:.2f} PAN pixels apart", where)


def _mtf(scene: PreparedScene) -> Decision:
    least, most = min(scene.gains), max(scene.gains)
    value = f"{least:.2f}" if most - least < 0.005 else f"{least:.2f} to {most:.2f}"
    why = f"MTF gain at Nyquist, as the scene shows it: {scene.blur:.2f} times the sensor's."
    return Decision("Sharpness of the MS", value, why)


def _pan_gain(scene: PreparedScene, options: SharpenOptions) -> Decision:
    about = "Sharpness of PAN"
    if options.pan_gain == "bicubic":
        return Decision(about, "bicubic", "Decimated by the toolbox's protocol, as given.")
    if options.pan_gain != "auto":
        why = "MTF gain at PAN's Nyquist frequency, as given."
        return Decision(about, options.pan_gain, why)
    if scene.sensor.pan_decimated:
        return Decision(about, "bicubic", "Decimated by the toolbox's protocol, as its file says.")
    if not scene.sensor.known:
        why = "Typical MTF gain of PAN; neither the gain nor the sensor was given."
        return Decision(about, f"{GENERIC:.2f}", why)
    why = f"MTF gain of {scene.sensor.name}."
    return Decision(about, f"{scene.sensor.pan_gain:.2f}", why)


def _contrast(options: SharpenOptions) -> Decision:
    if options.contrast == "slope":
        why = "PAN's detail is scaled by the slope of the band's own detail on PAN's."
    else:
        why = "PAN's detail is scaled by the ratio of standard deviations, as requested."
    return Decision("Contrast", options.contrast, why)

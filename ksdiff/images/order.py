"""Checks the order of bands: a hint where some look exchanged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_ALIKE = 0.85  # least correlation of the visible bands of a scene
_UNLIKE = 0.6  # most correlation of near infrared with them, where plants grow
_HAZE = 0.2  # by which the darkest blue, over blue's mean, lies above the darkest red at most
_DARKEST = 0.01  # share of the pixels
_LEAST = 2000  # pixels that are needed
_VISIBLE = ("blue", "green", "red")
_NEAR = ("nir", "nir1")


def order_hint(samples: Sequence[Tensor], names: Sequence[str]) -> str | None:
    """A sentence for the user where bands look exchanged; else None.

    Visible bands vary alike and near infrared does not where plants grow. Haze brightens what is
    dark in blue, less in green and least in red. A hint needs a clear sign; a scene without plants
    and haze gives none.

    Args:
        samples: windows of the MS image [1, C, h, w], DN.
        names: what the bands are taken for.
    """
    places = [names.index(name) for name in _VISIBLE if name in names]
    near = next((names.index(name) for name in _NEAR if name in names), None)
    values = torch.cat([sample[0].flatten(1).double() for sample in samples], 1)
    if len(places) < len(_VISIBLE) or values.shape[1] < _LEAST:
        return None
    if near is not None and (odd := _odd_one(values[[*places, near]])) is not None:
        if odd == len(places):
            return _haze(values, places)
        at = places[odd]
        return (
            f"band {at + 1} is taken as {names[at]} and band {near + 1} as near infrared, but "
            f"band {at + 1} varies differently from all others, as near infrared does over "
            "plants; if the order differs, give it with --bands"
        )
    return _haze(values, places)


def _odd_one(values: Tensor) -> int | None:
    """The band [C, n] that varies unlike all others, which vary alike."""
    alike = torch.corrcoef(values)
    count = len(values)
    for odd in range(count):
        rest = [band for band in range(count) if band != odd]
        if alike[odd, rest].max() < _UNLIKE and alike[rest][:, rest].min() > _ALIKE:
            return odd
    return None


def _haze(values: Tensor, places: Sequence[int]) -> str | None:
    """Blue, green and red lie at ``places``."""
    bands = values[list(places)]
    dark = bands.quantile(_DARKEST, dim=1) / bands.mean(1).clamp_min(1e-6)
    blue, green, red = dark.tolist()
    if not (blue < green < red and red - blue > _HAZE):
        return None
    numbers = [place + 1 for place in places]
    return (
        f"bands {numbers[0]}, {numbers[1]}, {numbers[2]} are taken as blue, green, red, but dark "
        f"pixels are brighter in band {numbers[2]} than in band {numbers[0]}, as haze makes them "
        "in blue; if the order is red, green, blue, give it with --bands"
    )

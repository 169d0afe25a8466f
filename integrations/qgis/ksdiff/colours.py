"""Which bands of a result show true colours. Needs no QGIS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

# Micrometres: where a band's centre may lie, and what is most like the colour.
_COLOURS = {
    "red": (0.59, 0.71, 0.66),
    "green": (0.50, 0.60, 0.55),
    "blue": (0.43, 0.52, 0.48),
}
_USUAL = {3: (1, 2, 3), 7: (4, 3, 2), 8: (5, 3, 2)}  # of other images, (3, 2, 1)


class Band(NamedTuple):
    """What a file says of a band."""

    colour: str = ""  # colour interpretation, in small letters
    name: str = ""
    wavelength: float | None = None  # of its centre, micrometres


def true_colours(bands: Sequence[Band]) -> tuple[tuple[int, int, int] | None, str]:
    """Numbers of the red, green and blue band, counted from 1, and by what they were found.

    By colour interpretation, else by wavelengths, else by names; else what is usual for so many
    bands, which is a guess; None for fewer than three.
    """
    image = [band for band in bands if band.colour != "alpha"]
    for found, by in (
        (_named([band.colour for band in image]), "colour interpretation"),
        (_by_wavelength([band.wavelength for band in image]), "wavelengths"),
        (_named([band.name.strip().lower() for band in image]), "names"),
    ):
        if found is not None:
            return found, by
    usual = _USUAL.get(len(image), (3, 2, 1)) if len(image) > 2 else None
    return usual, "a guess from the number of bands"


def _named(names: Sequence[str]) -> tuple[int, int, int] | None:
    if not set(_COLOURS) <= set(names):
        return None
    red, green, blue = (names.index(colour) + 1 for colour in _COLOURS)
    return red, green, blue


def _by_wavelength(centres: Sequence[float | None]) -> tuple[int, int, int] | None:
    found = []
    for least, most, best in _COLOURS.values():
        fitting = [
            (abs(centre - best), number)
            for number, centre in enumerate(centres, start=1)
            if centre is not None and least <= centre <= most and number not in found
        ]
        if not fitting:
            return None
        found.append(min(fitting)[1])
    red, green, blue = found
    return red, green, blue

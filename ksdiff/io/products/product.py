"""What a product's reader tells: which files hold PAN and MS, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from ksdiff.io.products.files import Files
from ksdiff.sensors import SENSORS, Wavelengths


@dataclass(frozen=True)
class Band:
    """A spectral band of a product's image."""

    name: str
    number: int  # in the image that `ProductImage.names` open, counted from 1
    wavelengths: Wavelengths | None = None


@dataclass(frozen=True)
class ProductImage:
    """PAN or MS of a product; taken wherever the name of a raster is."""

    names: tuple[str, ...]  # what GDAL opens, see `ksdiff.io.mosaic.open_parts`
    bands: tuple[Band, ...] = ()  # those to take, in this order; all as they lie where empty
    nodata: float | None = None  # of pixels without data, where the files declare none
    tags: Mapping[str, str] = field(default_factory=dict)  # acquisition, by GDAL's names
    sensor: str | None = None  # by its name in `ksdiff.sensors`
    told: str | None = None  # a sentence for the user: what was understood

    def __str__(self) -> str:
        return ", ".join(self.names)


@dataclass(frozen=True)
class Product:
    """One scene as it was delivered."""

    kind: str
    name: str
    pan: ProductImage
    ms: ProductImage
    metadata: tuple[str, ...]  # the files by which it is known


class Reader(Protocol):
    """Understands one kind of product."""

    kind: str
    pattern: str  # of the metadata files that it looks for, in words for the user
    above: int  # folders above that of a metadata file in which the rest of the scene can lie

    def metadata(self, files: Files) -> list[str]:
        """The metadata files of its kind, judged by their names; none: not its kind."""

    def products(self, files: Files, metadata: Sequence[str]) -> list[Product]:
        """The scenes that the metadata files describe.

        Raises:
            KSDiffError: what is missing or contradicts itself, naming file and band.
        """


def described(
    kind: str,
    name: str,
    pan: ProductImage,
    ms: ProductImage,
    metadata: Sequence[str],
) -> Product:
    """The product, with the sentence that says what was understood."""
    bands = ", ".join(band.name for band in ms.bands) or "all bands"
    about = [text for text in (ms.tags.get("ACQUISITIONDATETIME"),) if text]
    sensor = f" of {ms.sensor}" if ms.sensor else ""
    told = "; ".join((f"{kind}{sensor}, {name}: PAN and MS with {bands}", *about))
    return Product(kind, name, pan, replace(ms, told=told), tuple(metadata))


def bands_of(sensor: str | None, names: Sequence[str]) -> tuple[Band, ...]:
    """Bands as they lie in an image, in the sensor's order where it is known.

    Args:
        names: of the image's bands, those of the sensor's where it has them.
    """
    known = SENSORS.get(sensor or "")
    places = dict(zip(known.band_names, known.wavelengths, strict=True)) if known else {}
    bands = [Band(name, at, places.get(name)) for at, name in enumerate(names, start=1)]
    if set(names) <= set(places):
        bands.sort(key=lambda band: list(places).index(band.name))
    return tuple(bands)

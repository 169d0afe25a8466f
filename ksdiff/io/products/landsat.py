"""Landsat 7, 8 and 9: single-band files and an MTL file that lists them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from ksdiff.errors import KSDiffError
from ksdiff.io.products.files import Files
from ksdiff.io.products.odl import parse_odl
from ksdiff.io.products.product import Product, ProductImage, bands_of, described
from ksdiff.sensors import SENSORS

_PAN = 8
_FILL = 0.0  # level 1 counts from 1
# The reflective bands of 30 m: cirrus shows the air and thermal bands are sharpened by no PAN.
_NUMBERS = {
    "landsat7": (1, 2, 3, 4, 5, 7),
    "landsat8": (1, 2, 3, 4, 5, 6, 7),
    "landsat9": (1, 2, 3, 4, 5, 6, 7),
}


class Landsat:
    """Level-1 products of Collection 2, as a folder or as the .tar that USGS delivers."""

    kind = "Landsat Collection 2"
    pattern = "*_MTL.json or *_MTL.txt"
    above = 0

    def metadata(self, files: Files) -> list[str]:
        found = files.matching(r".*_MTL\.(json|txt)")
        json_stems = {name[:-5] for name in found if name.lower().endswith(".json")}
        return [n for n in found if n.lower().endswith(".json") or n[:-4] not in json_stems]

    def products(self, files: Files, metadata: Sequence[str]) -> list[Product]:
        return [self._product(files, name) for name in metadata]

    def _product(self, files: Files, name: str) -> Product:
        groups = _groups(files, name)
        contents = groups.get("PRODUCT_CONTENTS", {})
        image = groups.get("IMAGE_ATTRIBUTES", {})
        where = files.gdal(name)
        product = contents.get("LANDSAT_PRODUCT_ID") or name.rpartition("/")[2].split("_MTL")[0]
        sensor = image.get("SPACECRAFT_ID", "").lower().replace("_", "")
        if not contents:
            raise KSDiffError(
                f"{where}: has no group PRODUCT_CONTENTS; expected the MTL file of a Collection 2 "
                "product"
            )
        if sensor not in _NUMBERS:
            raise KSDiffError(
                f"{where}: SPACECRAFT_ID is {image.get('SPACECRAFT_ID')!r}; expected LANDSAT_7, "
                "LANDSAT_8 or LANDSAT_9, which have a panchromatic band"
            )
        if f"FILE_NAME_BAND_{_PAN}" not in contents:
            level = contents.get("PROCESSING_LEVEL", "its level")
            raise KSDiffError(
                f"{where}: lists no band {_PAN} (PAN): products of {level} have none; take the "
                "Level-1 product of the scene"
            )
        spectral = SENSORS[sensor].band_names
        named = dict(zip(_NUMBERS[sensor], spectral, strict=True))
        paths = {
            number: _band(files, name, contents, number, word)
            for number, word in ((_PAN, "PAN"), *named.items())
        }
        tags = _acquisition(sensor, image)
        pan = ProductImage((paths[_PAN],), nodata=_FILL)
        ms = ProductImage(
            tuple(paths[number] for number in named),
            bands_of(sensor, spectral),
            _FILL,
            tags,
            sensor,
        )
        return described(self.kind, product, pan, ms, (where,))


def _groups(files: Files, name: str) -> Mapping[str, Mapping[str, str]]:
    text = files.text(name)
    if not name.lower().endswith(".json"):
        return parse_odl(text)
    try:
        groups = json.loads(text)["LANDSAT_METADATA_FILE"]
        return {group: values for group, values in groups.items() if isinstance(values, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise KSDiffError(
            f"{files.gdal(name)}: expected JSON with LANDSAT_METADATA_FILE, as USGS delivers it"
        ) from None


def _band(files: Files, name: str, contents: Mapping[str, str], number: int, word: str) -> str:
    listed = contents.get(f"FILE_NAME_BAND_{number}")
    if listed is None:
        raise KSDiffError(f"{files.gdal(name)}: lists no band {number} ({word})")
    path = files.beside(name, listed)
    found = files.find(path)
    if found is None:
        raise KSDiffError(
            f"{files.gdal(path)}: band {number} ({word}) is missing, which {files.gdal(name)} "
            "lists; unpack or download the product again, or give the bands that there are with "
            "--pan and --ms"
        )
    return files.gdal(found)


def _acquisition(sensor: str, image: Mapping[str, object]) -> dict[str, str]:
    """By the names under which GDAL's own reader of MTL.txt has them."""
    when = f"{image.get('DATE_ACQUIRED', '')} {str(image.get('SCENE_CENTER_TIME', ''))[:8]}"
    tags = {
        "SATELLITEID": str(image.get("SPACECRAFT_ID", sensor)),
        "ACQUISITIONDATETIME": when.strip(),
    }
    for ours, theirs in (
        ("CLOUDCOVER", "CLOUD_COVER"),
        ("SUNAZIMUTH", "SUN_AZIMUTH"),
        ("SUNELEVATION", "SUN_ELEVATION"),
    ):
        if theirs in image:
            tags[ours] = str(image[theirs])
    return tags

"""GaoFen-1, -2 and -6, level 1A: a TIFF each for PAN and MS, with XML and RPB files beside them.

The images have RPC and no grid on the ground, see `ksdiff.io.align`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from ksdiff.errors import KSDiffError
from ksdiff.io.products.files import Files
from ksdiff.io.products.product import Product, ProductImage, bands_of, described

_MS = re.compile(r"-(?:MSS|MUX)(\d?)\.xml$", re.IGNORECASE)
_SENSORS = {"GF1": "gf1", "GF2": "gf2", "GF6": "gf6"}
_BANDS = ("blue", "green", "red", "nir")
_IMAGES = ("tiff", "tif")


class GaoFen:
    kind = "GaoFen level 1A"
    pattern = "GF*_PMS*-MSS*.xml or -MUX*.xml"
    above = 0

    def metadata(self, files: Files) -> list[str]:
        return files.matching(r"GF[126]\w?_PMS.*-(MSS|MUX)\d?\.xml")

    def products(self, files: Files, metadata: Sequence[str]) -> list[Product]:
        return [_product(self.kind, files, name) for name in metadata]


def _product(kind: str, files: Files, name: str) -> Product:
    where = files.gdal(name)
    try:
        root = ElementTree.fromstring(files.text(name).encode())
    except ElementTree.ParseError as error:
        raise KSDiffError(f"{where}: is not XML: {error}") from None
    satellite = (root.findtext(".//SatelliteID") or "").strip()
    sensor = _SENSORS.get(satellite[:3].upper())
    told = {
        "SATELLITEID": satellite,
        "ACQUISITIONDATETIME": root.findtext(".//StartTime") or root.findtext(".//ReceiveTime"),
        "CLOUDCOVER": root.findtext(".//CloudPercent"),
    }
    tags = {key: value.strip() for key, value in told.items() if value and value.strip()}
    pan = ProductImage((_image(files, _MS.sub(r"-PAN\1", name), "panchromatic"),))
    ms = ProductImage(
        (_image(files, name[:-4], "multispectral"),), bands_of(sensor, _BANDS), None, tags, sensor
    )
    return described(kind, _MS.sub("", name.rpartition("/")[2]), pan, ms, (where,))


def _image(files: Files, stem: str, word: str) -> str:
    for ending in _IMAGES:
        found = files.find(f"{stem}.{ending}")
        if found is not None:
            return files.gdal(found)
    raise KSDiffError(
        f"{files.gdal(stem)}.{_IMAGES[0]}: the {word} image is missing; unpack or download the "
        "product again, or give both images with --pan and --ms"
    )

"""Maxar: folders PAN and MUL, an IMD file for each image, and a TIL file where it is in tiles."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence

from ksdiff.errors import KSDiffError
from ksdiff.io.products.files import Files
from ksdiff.io.products.odl import Groups, parse_odl
from ksdiff.io.products.pairing import Scan, paired
from ksdiff.io.products.product import Product, ProductImage, bands_of

_SENSORS = {"QB02": "qb", "GE01": "geoeye1", "WV02": "wv2", "WV03": "wv3", "WV04": "wv4"}
_NAMES = {
    **{"C": "coastal", "B": "blue", "G": "green", "Y": "yellow", "R": "red"},
    **{"RE": "red edge", "N": "nir", "N2": "nir2"},
}
_IMAGES = ("tif", "tiff", "ntf", "jp2")


class Maxar:
    kind = "Maxar"
    pattern = "*.IMD or *.TIL"
    above = 1

    def metadata(self, files: Files) -> list[str]:
        return files.matching(r".*\.(IMD|TIL)")

    def products(self, files: Files, metadata: Sequence[str]) -> list[Product]:
        wanted = [_imd(files, name) for name in metadata]
        scans, sharpened = [], []
        for name in files.matching(r".*\.IMD"):
            try:
                groups = parse_odl(files.text(name))
                if groups[""].get("panSharpenAlgorithm", "None") != "None":
                    sharpened.append(name)
                elif not _short_wave(groups):
                    scans.append(_scan(files, name, groups))
            except KSDiffError:
                if name in wanted:
                    raise
        products = paired(self.kind, scans, [files.gdal(name) for name in wanted])
        if not products and sharpened:
            raise KSDiffError(
                f"{files.gdal(sharpened[0])}: is pansharpened already; expected the images PAN and "
                "MUL"
            )
        return products


def _imd(files: Files, name: str) -> str:
    found = files.find(f"{name[:-4]}.IMD")
    if found is None:
        raise KSDiffError(
            f"{files.gdal(name)}: its {name.rpartition('/')[2][:-4]}.IMD is missing; unpack or "
            "download the delivery again"
        )
    return found


def _short_wave(groups: Groups) -> bool:
    """Whether an image has nothing but the bands S1 to S8 of WorldView-3, which has a resolution
    of its own."""
    bands = [group for group in groups if group.startswith("BAND_")]
    return bool(bands) and all(re.fullmatch(r"BAND_S\d", band) for band in bands)


def _scan(files: Files, name: str, groups: Groups) -> Scan:
    where = files.gdal(name)
    bands = [group[5:] for group in groups if group.startswith("BAND_")]
    if not bands:
        raise KSDiffError(f"{where}: names no band (BAND_P, BAND_B, ...)")
    about = next((v for group, v in groups.items() if group.startswith("IMAGE_")), {})
    sensor = _SENSORS.get(about.get("satId", ""))
    number = re.search(r"(\d+_\d+_P\d+)\.IMD$", name, re.IGNORECASE)
    key = (number[1] if number else "",)
    scene = name.rpartition("/")[2][:-4]
    images = _images(files, name, groups)
    if bands == ["P"]:
        return Scan("pan", ProductImage(images), scene, key, where)
    near = "nir1" if sensor in ("wv2", "wv3") else "nir"
    names = [near if band == "N" else _NAMES.get(band, band) for band in bands]
    image = ProductImage(images, bands_of(sensor, names), None, _acquisition(about), sensor)
    return Scan("ms", image, scene, key, where)


def _images(files: Files, imd: str, groups: Groups) -> tuple[str, ...]:
    """What GDAL opens: the TIL file, or the one image without tiles."""
    stem = imd[:-4]
    til = files.find(f"{stem}.TIL")
    if til is None:
        for ending in _IMAGES:
            if (found := files.find(f"{stem}.{ending}")) is not None:
                return (files.gdal(found),)
        raise KSDiffError(
            f"{files.gdal(imd)}: has neither {stem.rpartition('/')[2]}.TIL nor .TIF beside it; "
            "unpack or download the delivery again"
        )
    tiles = []
    for group, values in parse_odl(files.text(til)).items():
        if "filename" in values:
            listed = files.beside(til, values["filename"])
            found = files.find(listed)
            if found is None:
                raise KSDiffError(
                    f"{files.gdal(listed)}: tile {group[5:]} is missing, which {files.gdal(til)} "
                    "lists; unpack or download the delivery again"
                )
            tiles.append(files.gdal(found))
    # GDAL's driver takes the place from the IMD, as 0, 0 where it is not there.
    placed = "ULX" in groups.get("MAP_PROJECTED_PRODUCT", {})
    raw = groups[""].get("productLevel", "").startswith("LV1")
    return (files.gdal(til),) if placed or raw else tuple(tiles)


def _acquisition(about: Mapping[str, str]) -> dict[str, str]:
    """By GDAL's names."""
    tags = {
        "SATELLITEID": about.get("satId", ""),
        "ACQUISITIONDATETIME": about.get("firstLineTime", "")[:19].replace("T", " "),
        "SUNAZIMUTH": about.get("meanSunAz", ""),
        "SUNELEVATION": about.get("meanSunEl", ""),
    }
    with contextlib.suppress(ValueError):
        cover = float(about.get("cloudCover", ""))
        if cover >= 0:  # -999: not assessed
            tags["CLOUDCOVER"] = f"{100 * cover:g}"
    return {key: value for key, value in tags.items() if value}

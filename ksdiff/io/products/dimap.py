"""DIMAP 2 of Pléiades, Pléiades Neo and SPOT 6/7: XML files, opened by GDAL's own driver.

PAN and MS are datasets of their own, each in its folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ksdiff.errors import KSDiffError
from ksdiff.io.products.files import Files
from ksdiff.io.products.pairing import Scan, paired
from ksdiff.io.products.product import Product, ProductImage, bands_of

_SENSORS = {"PHR": "pleiades", "PNEO": "pleiades-neo", "SPOT6": "spot6", "SPOT7": "spot7"}
_NAMES = {
    **{"B0": "blue", "B1": "green", "B2": "red", "B3": "nir"},
    **{"B": "blue", "G": "green", "R": "red"},
    **{"NIR": "nir", "RE": "red edge", "DB": "deep blue"},
}


class Dimap:
    kind = "DIMAP 2"
    pattern = "DIM_*.XML or VOL_*.XML"
    above = 1

    def metadata(self, files: Files) -> list[str]:
        return files.matching(r"(DIM|VOL)_.*\.XML")

    def products(self, files: Files, metadata: Sequence[str]) -> list[Product]:
        wanted = {n for n in metadata if n.rpartition("/")[2].upper().startswith("DIM_")}
        for volume in set(metadata) - wanted:
            wanted |= set(_datasets(files, volume))
        scans, sharpened = [], []
        for name in files.matching(r"DIM_.*\.XML"):
            try:
                root = _parsed(files, name)
                spectral = root.findtext(".//SPECTRAL_PROCESSING") or ""
                if spectral.startswith("PMS"):
                    sharpened.append(name)
                else:
                    scans.append(_scan(files, name, root, spectral))
            except KSDiffError:
                if name in wanted:
                    raise
        whole = [files.gdal(name) for name in wanted]
        products = paired(self.kind, scans, whole)
        if not products and sharpened:
            raise KSDiffError(
                f"{files.gdal(sharpened[0])}: is pansharpened already (PMS); expected the datasets "
                "P and MS"
            )
        return products


def _parsed(files: Files, name: str) -> Element:
    try:
        root = ElementTree.fromstring(files.text(name).encode())
    except ElementTree.ParseError as error:
        raise KSDiffError(f"{files.gdal(name)}: is not XML: {error}") from None
    version = root.find("Metadata_Identification/METADATA_FORMAT")
    if version is None or not version.get("version", "").startswith("2"):
        found = "none" if version is None else version.get("version")
        raise KSDiffError(f"{files.gdal(name)}: expected DIMAP version 2, got {found}")
    return root


def _datasets(files: Files, volume: str) -> list[str]:
    """Those that a volume lists."""
    names = []
    for component in _parsed(files, volume).iter("Component"):
        path = component.find("COMPONENT_PATH")
        if component.findtext("COMPONENT_TYPE") == "DIMAP" and path is not None:
            listed = files.beside(volume, path.get("href", ""))
            found = files.find(listed)
            if found is None:
                raise KSDiffError(
                    f"{files.gdal(listed)}: is missing, which {files.gdal(volume)} lists; unpack "
                    "or download the product again"
                )
            names.append(found)
    return names


def _scan(files: Files, name: str, root: Element, spectral: str) -> Scan:
    where = files.gdal(name)
    _check_files(files, name, root)
    strip = root.find(".//Strip_Source")
    told = {} if strip is None else {each.tag: (each.text or "").strip() for each in strip}
    mission, index = told.get("MISSION", ""), told.get("MISSION_INDEX", "")
    sensor = _SENSORS.get(mission) or _SENSORS.get(f"{mission}{index}")
    when = f"{told.get('IMAGING_DATE', '')} {told.get('IMAGING_TIME', '')[:8]}".strip()
    tags = {"SATELLITEID": f"{mission} {index}".strip(), "ACQUISITIONDATETIME": when}
    if cloud := root.findtext(".//CLOUD_COVERAGE"):
        tags["CLOUDCOVER"] = cloud
    ids = _band_ids(root)
    single = spectral == "P" or _count(root) == 1
    bands = () if single else bands_of(sensor, [_NAMES.get(each, each) for each in ids])
    image = ProductImage(
        (where,), bands, _nodata(root), {k: v for k, v in tags.items() if v}, sensor
    )
    number = re.search(r"_(\d+)/[^/]*$", name)
    key = (mission, index, when, number[1] if number else "")
    scene = root.findtext("Dataset_Identification/DATASET_NAME") or name.rpartition("/")[2]
    return Scan("pan" if single else "ms", image, scene, key, where)


def _check_files(files: Files, name: str, root: Element) -> None:
    """GDAL opens the first tile only, and finds others missing when they are read."""
    for file in root.iter("Data_File"):
        path = file.find("DATA_FILE_PATH")
        listed = files.beside(name, path.get("href", "") if path is not None else "")
        if files.find(listed) is None:
            tile = f"tile R{file.get('tile_R')}C{file.get('tile_C')}"
            raise KSDiffError(
                f"{files.gdal(listed)}: {tile if file.get('tile_R') else 'the image'} is missing, "
                f"which {files.gdal(name)} lists; unpack or download the product again"
            )


def _band_ids(root: Element) -> list[str]:
    """As the bands lie in the image that GDAL's driver makes: group by group, each by index.

    None where they are not all told: GDAL then names what it knows.
    """
    ids: list[str] = []
    lists = [each for files in root.iter("Data_Files") for each in files.iter("Raster_Index_List")]
    for bands in lists or root.iter("Raster_Index_List"):
        group = [
            (int(each.findtext("BAND_INDEX") or 0), (each.findtext("BAND_ID") or "").strip())
            for each in bands.iter("Raster_Index")
        ]
        ids += [name for _, name in sorted(group)]
    return ids if len(ids) == _count(root) else []


def _count(root: Element) -> int:
    text = (root.findtext(".//NBANDS") or "").strip()
    return int(text) if text.isdigit() else 0


def _nodata(root: Element) -> float | None:
    for special in root.iter("Special_Value"):
        if special.findtext("SPECIAL_VALUE_TEXT") == "NODATA":
            try:
                return float(special.findtext("SPECIAL_VALUE_COUNT") or "")
            except ValueError:
                return None
    return None

"""Bands in several files, and tiles of one image, as one raster: a GDAL VRT in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader
from rasterio.transform import Affine

from ksdiff.errors import KSDiffError
from ksdiff.io.image import local, open_dataset

_OFF_GRID = 0.02  # pixels that a tile may lie off the mosaic's grid
_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "uint64": "UInt64",
    "int64": "Int64",
    "float32": "Float32",
    "float64": "Float64",
}


class Source(NamedTuple):
    """A band of a raster, by its number there."""

    dataset: DatasetReader
    band: int


class _Grid(NamedTuple):
    transform: Affine
    height: int
    width: int


def open_parts(names: Sequence[str], role: str) -> DatasetReader:
    """Open one raster, or several as one.

    Rasters on one grid are stacked, their bands in the order given; rasters of equally many bands
    at different places are tiles of one image.

    Raises:
        KSDiffError: a file that cannot be opened, grids that fit in neither way.
    """
    if len(names) == 1:
        return open_dataset(names[0], role)
    doubled = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if doubled is not None:
        raise KSDiffError(f"{role} {doubled}: is given twice")
    parts = []
    try:
        parts = [open_dataset(name, role) for name in names]
        first = parts[0]
        if all(_same_grid(part, first) for part in parts):
            bands = [[Source(part, band)] for part in parts for band in _spectral(part)]
        else:
            counts = [len(_spectral(part)) for part in parts]
            if len(set(counts)) > 1 or (role == "ms" and counts[0] == 1):
                raise KSDiffError(f"{role}: {_different_grids(parts)}")
            bands = [
                [Source(part, _spectral(part)[at]) for part in parts] for at in range(counts[0])
            ]
        return assemble(bands, role)
    finally:
        for part in parts:
            part.close()


def assemble(bands: Sequence[Sequence[Source]], role: str) -> DatasetReader:
    """One raster of these bands, each from one source or from tiles.

    Where tiles overlap, later ones lie on top. What no tile covers has no data.

    Raises:
        KSDiffError: sources of different data types or reference systems, or off each other's grid.
    """
    sources = [source for band in bands for source in band]
    grid = _common_grid([source.dataset for source in sources], role)
    first = sources[0].dataset
    root = Element("VRTDataset", rasterXSize=str(grid.width), rasterYSize=str(grid.height))
    if first.crs:
        SubElement(root, "SRS").text = first.crs.to_wkt()
    if not first.transform.is_identity:
        SubElement(root, "GeoTransform").text = ", ".join(map(repr, grid.transform.to_gdal()))
    _metadata(root, first, grid)
    for number, band in enumerate(bands, start=1):
        _band(root, number, band, grid)
    if _needs_mask(bands, grid):
        mask = SubElement(SubElement(root, "MaskBand"), "VRTRasterBand", dataType="Byte")
        for dataset in {id(s.dataset): s.dataset for s in bands[0]}.values():
            _source(mask, Source(dataset, _spectral(dataset)[0]), grid, mask=True)
    return rasterio.open(tostring(root, encoding="unicode"))


def _band(root: Element, number: int, sources: Sequence[Source], grid: _Grid) -> None:
    dataset, index = sources[0]
    dtype = dataset.dtypes[index - 1]
    band = SubElement(root, "VRTRasterBand", dataType=_TYPES[dtype], band=str(number))
    if description := dataset.descriptions[index - 1]:
        SubElement(band, "Description").text = description
    nodata = dataset.nodatavals[index - 1]
    if nodata is not None:
        SubElement(band, "NoDataValue").text = repr(nodata)
    colour = dataset.colorinterp[index - 1]
    if colour not in (ColorInterp.undefined, ColorInterp.palette):
        SubElement(band, "ColorInterp").text = colour.name.capitalize()
    if unit := dataset.units[index - 1]:
        SubElement(band, "UnitType").text = unit
    SubElement(band, "Offset").text = repr(dataset.offsets[index - 1])
    SubElement(band, "Scale").text = repr(dataset.scales[index - 1])
    for source in sources:
        _source(band, source, grid)


def _source(band: Element, source: Source, grid: _Grid, mask: bool = False) -> None:
    dataset, index = source
    nodata = None if mask else dataset.nodatavals[index - 1]
    item = SubElement(band, "SimpleSource" if nodata is None else "ComplexSource")
    SubElement(item, "SourceFilename", relativeToVRT="0").text = _gdal_name(dataset)
    SubElement(item, "SourceBand").text = f"mask,{index}" if mask else str(index)
    blocks = dataset.block_shapes[index - 1]
    SubElement(
        item,
        "SourceProperties",
        RasterXSize=str(dataset.width),
        RasterYSize=str(dataset.height),
        DataType="Byte" if mask else _TYPES[dataset.dtypes[index - 1]],
        BlockXSize=str(blocks[1]),
        BlockYSize=str(blocks[0]),
    )
    left, top = _place(dataset, grid)
    for name, x, y in (("SrcRect", 0, 0), ("DstRect", round(left), round(top))):
        SubElement(
            item,
            name,
            xOff=str(x),
            yOff=str(y),
            xSize=str(dataset.width),
            ySize=str(dataset.height),
        )
    if nodata is not None:
        SubElement(item, "NODATA").text = repr(nodata)


def _metadata(root: Element, dataset: DatasetReader, grid: _Grid) -> None:
    """The tags of the first source, and its RPC where the mosaic begins with it."""
    begins = max(map(abs, _place(dataset, grid))) < _OFF_GRID
    for domain in (None, "IMAGERY", "RPC") if begins else (None, "IMAGERY"):
        tags = dataset.tags(ns=domain) if domain else dataset.tags()
        if tags:
            group = SubElement(root, "Metadata", {"domain": domain} if domain else {})
            for key, value in tags.items():
                SubElement(group, "MDI", key=key).text = value


def _needs_mask(bands: Sequence[Sequence[Source]], grid: _Grid) -> bool:
    """Whether a source has a mask of its own, or tiles without a nodata value may leave gaps."""
    for dataset, index in bands[0]:
        if set(dataset.mask_flag_enums[index - 1]) & _MASKS:
            return True
        if dataset.nodatavals[index - 1] is None and dataset.shape != (grid.height, grid.width):
            return True
    return False


_MASKS = {rasterio.enums.MaskFlags.per_dataset, rasterio.enums.MaskFlags.alpha}


def _common_grid(datasets: Sequence[DatasetReader], role: str) -> _Grid:
    first = datasets[0]
    left = top = 0.0
    right, bottom = first.width, first.height
    for dataset in datasets:
        _check_like(dataset, first, role)
        x, y = ~first.transform @ (dataset.transform.c, dataset.transform.f)
        left, top = min(left, x), min(top, y)
        right, bottom = max(right, x + dataset.width), max(bottom, y + dataset.height)
    left, top = round(left), round(top)
    transform = first.transform @ Affine.translation(left, top)
    return _Grid(transform, round(bottom) - top, round(right) - left)


def _check_like(dataset: DatasetReader, first: DatasetReader, role: str) -> None:
    if dataset.dtypes[0] != first.dtypes[0]:
        raise KSDiffError(
            f"{role}: {first.name} holds {first.dtypes[0]}, {dataset.name} {dataset.dtypes[0]}; "
            "expected one data type"
        )
    x, y = ~first.transform @ (dataset.transform.c, dataset.transform.f)
    fits = (
        _same_crs(dataset.crs, first.crs)
        and _same_pixels(dataset, first)
        and max(abs(x - round(x)), abs(y - round(y))) < _OFF_GRID
    )
    if not fits or (dataset.transform.is_identity and dataset.shape != first.shape):
        raise KSDiffError(f"{role}: {_different_grids((first, dataset))}")


def _place(dataset: DatasetReader, grid: _Grid) -> tuple[float, float]:
    return ~grid.transform @ (dataset.transform.c, dataset.transform.f)


def _same_grid(one: DatasetReader, other: DatasetReader) -> bool:
    x, y = ~one.transform @ (other.transform.c, other.transform.f)
    return (
        one.shape == other.shape
        and _same_crs(one.crs, other.crs)
        and _same_pixels(one, other)
        and max(abs(x), abs(y)) < _OFF_GRID
    )


def _same_pixels(one: DatasetReader, other: DatasetReader) -> bool:
    step = ~one.transform @ other.transform
    error = max(abs(step.a - 1), abs(step.e - 1), abs(step.b), abs(step.d))
    return error * max(*one.shape, *other.shape) < _OFF_GRID


def _same_crs(one: CRS | None, other: CRS | None) -> bool:
    return one == other


def _different_grids(parts: Sequence[DatasetReader]) -> str:
    first = parts[0]
    other = next((part for part in parts if not _same_grid(part, first)), parts[-1])
    return (
        f"{first.name} ({_described(first)}) and {other.name} ({_described(other)}) lie on "
        "different grids; expected bands of one grid, or tiles of one image with equally many "
        "bands"
    )


def _described(dataset: DatasetReader) -> str:
    height, width = dataset.res[1], dataset.res[0]
    return (
        f"{dataset.count} bands of {dataset.height} x {dataset.width}, pixels {height:g} x "
        f"{width:g}, corner {dataset.transform.c:.10g}, {dataset.transform.f:.10g}"
    )


def _spectral(dataset: DatasetReader) -> list[int]:
    return [
        band
        for band, colour in enumerate(dataset.colorinterp, start=1)
        if colour != ColorInterp.alpha
    ]


def _gdal_name(dataset: DatasetReader) -> str:
    """The name by which GDAL opens it, to which rasterio's ``zip://``, ``s3://`` ... are none."""
    if local(dataset.name) or dataset.name.startswith("/vsi") or not dataset.files:
        return dataset.name
    return dataset.files[0]

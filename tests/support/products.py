"""Deliveries as providers make them, drawn small: the same ground in PAN and in every band."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine

from tests.support import UTM
from tests.support.rasters import rpcs

EAST, NORTH = 499_987.5, 5_400_012.5
Ground = Callable[[np.ndarray, np.ndarray], np.ndarray]


def ground(band: int, unit: float) -> Ground:
    """What band number ``band`` sees at x, y in metres: smooth over some pixels of ``unit``
    metres, other bands alike but not equal."""

    def seen(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x, y = (x - EAST) / unit, (y - NORTH) / unit
        return 3000 + 200 * band + 900 * np.sin(x / 3.1 + 0.1 * band) * np.cos(y / 3.7) + 20 * x

    return seen


def sampled(seen: Ground, grid: Affine, height: int, width: int) -> np.ndarray:
    """[height, width] uint16 at the centres of the pixels."""
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = grid @ (columns.ravel(), rows.ravel())
    return np.rint(seen(np.array(x), np.array(y))).reshape(height, width).astype("uint16")


def write_tif(path: Path, values: np.ndarray, grid: Affine | None, crs=UTM, **tags) -> None:
    """Values [C, H, W]; tags of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "dtype": values.dtype, "crs": crs if grid else None}
    profile |= dict(zip(("count", "height", "width"), values.shape, strict=True))
    profile |= {"transform": grid} if grid else {}
    with rasterio.open(path, "w", **profile) as file:
        file.update_tags(**tags)
        file.write(values)


def landsat(folder: Path, mtl: str = "json", height: int = 65, width: int = 61) -> Path:
    """A Landsat 9 Collection 2 Level-1 product: 11 files of bands and its MTL files.

    Pixels are given by their centres, and the first centres of PAN and MS fall together: PAN has
    one pixel less than twice as many, as 15541 x 15741 against 7771 x 7871.
    """
    name = "LC09_L1TP_196027_20240512_20240512_02_T1"
    folder = folder / name
    contents = {
        "LANDSAT_PRODUCT_ID": name,
        "PROCESSING_LEVEL": "L1TP",
        "COLLECTION_NUMBER": "02",
    }
    for number in range(1, 12):
        pixel = 15 if number == 8 else 30
        size = (2 * height - 1, 2 * width - 1) if number == 8 else (height, width)
        grid = Affine(pixel, 0, EAST - pixel / 2, 0, -pixel, NORTH + pixel / 2)
        values = sampled(ground(number, 30), grid, *size)
        file = f"{name}_B{number}.TIF"
        contents[f"FILE_NAME_BAND_{number}"] = file
        write_tif(folder / file, values[None], grid, AREA_OR_POINT="Point")
    image = {
        "SPACECRAFT_ID": "LANDSAT_9",
        "SENSOR_ID": "OLI_TIRS",
        "DATE_ACQUIRED": "2024-05-12",
        "SCENE_CENTER_TIME": "10:16:02.5959970Z",
        "CLOUD_COVER": "6.34",
        "SUN_ELEVATION": "58.1",
    }
    groups = {"PRODUCT_CONTENTS": contents, "IMAGE_ATTRIBUTES": image}
    if mtl in ("json", "both"):
        text = json.dumps({"LANDSAT_METADATA_FILE": groups}, indent=2)
        (folder / f"{name}_MTL.json").write_text(text)
    if mtl in ("txt", "both"):
        (folder / f"{name}_MTL.txt").write_text(_odl(groups))
    return folder


def _odl(groups: dict[str, dict[str, str]]) -> str:
    lines = ["GROUP = LANDSAT_METADATA_FILE"]
    for group, values in groups.items():
        lines.append(f"  GROUP = {group}")
        lines += [f'    {key} = "{value}"' for key, value in values.items()]
        lines.append(f"  END_GROUP = {group}")
    return "\n".join([*lines, "END_GROUP = LANDSAT_METADATA_FILE", "END", ""])


def tiles(
    folder: Path, name: str, values: np.ndarray, grid: Affine, rows: int = 2, columns: int = 2
) -> dict[tuple[int, int], tuple[str, int, int, int, int]]:
    """Write an image [C, H, W] in tiles: file, top, left, height, width by row and column from 1.

    The last tiles are smaller where the division leaves a rest.
    """
    height, width = (
        -(-side // n) for side, n in zip(values.shape[1:], (rows, columns), strict=True)
    )
    written = {}
    for row in range(rows):
        for column in range(columns):
            top, left = row * height, column * width
            part = values[:, top : top + height, left : left + width]
            file = f"{name}_R{row + 1}C{column + 1}.TIF"
            write_tif(folder / file, part, grid @ Affine.translation(left, top))
            written[row + 1, column + 1] = file, top, left, *part.shape[1:]
    return written


def pleiades_neo(folder: Path, size: int = 96, pixel: float = 0.3) -> Path:
    """A Pléiades Neo delivery in DIMAP 2: P and MS-FS, both in 2 x 2 tiles, MS in two files each.

    The MS bands lie as Airbus has them: red, green, blue and near infrared, red edge, deep blue.
    """
    groups = {"RGB": {"R": 4, "G": 3, "B": 2}, "NED": {"NIR": 6, "RE": 5, "DB": 1}}
    contents = []
    for spectral, bands in (("P", {"P": {"P": 8}}), ("MS-FS", groups)):
        step = pixel if spectral == "P" else 4 * pixel
        side = size if spectral == "P" else size // 4
        inside = f"IMG_01_PNEO3_{spectral}"
        grid = Affine(step, 0, EAST, 0, -step, NORTH)
        files = ""
        for group, ids in bands.items():
            values = np.stack(
                [sampled(ground(n, 4 * pixel), grid, side, side) for n in ids.values()]
            )
            parts = tiles(folder / inside, f"IMG_PNEO3_{spectral}_{group}", values, grid)
            files += "<Data_Files>" + "".join(
                f'<Data_File tile_R="{r}" tile_C="{c}"><DATA_FILE_PATH href="{part[0]}"/>'
                "</Data_File>"
                for (r, c), part in parts.items()
            )
            files += "<Raster_Display><Raster_Index_List>" + "".join(
                f"<Raster_Index><BAND_ID>{band}</BAND_ID><BAND_INDEX>{at}</BAND_INDEX>"
                "</Raster_Index>"
                for at, band in enumerate(ids, start=1)
            )
            files += "</Raster_Index_List></Raster_Display></Data_Files>"
        name = f"DIM_PNEO3_202305011011123_{spectral}_ORT.XML"
        count = sum(map(len, bands.values()))
        (folder / inside / name).write_text(
            _dimap(f"DS_PNEO3_{spectral}", spectral, side, count, step, files)
        )
        contents.append(f"{inside}/{name}")
    components = "".join(
        "<Component><COMPONENT_TYPE>DIMAP</COMPONENT_TYPE>"
        f'<COMPONENT_PATH href="{name}"/></Component>'
        for name in contents
    )
    (folder / "VOL_PNEO.XML").write_text(
        f"<Dimap_Document>{_DIMAP_2}<Dataset_Content><Dataset_Components>{components}"
        "</Dataset_Components></Dataset_Content></Dimap_Document>"
    )
    return folder


_DIMAP_2 = (
    "<Metadata_Identification>"
    '<METADATA_FORMAT version="2.15">DIMAP</METADATA_FORMAT></Metadata_Identification>'
)


def _dimap(name: str, spectral: str, side: int, count: int, step: float, files: str) -> str:
    half = side // 2
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Dimap_Document>{_DIMAP_2}
<Dataset_Identification><DATASET_NAME>{name}</DATASET_NAME></Dataset_Identification>
<Dataset_Content><CLOUD_COVERAGE>1.5</CLOUD_COVERAGE><Dataset_Components/></Dataset_Content>
<Coordinate_Reference_System><Projected_CRS>
<PROJECTED_CRS_CODE>urn:ogc:def:crs:EPSG::32631</PROJECTED_CRS_CODE>
</Projected_CRS></Coordinate_Reference_System>
<Geoposition><Geoposition_Insert><ULXMAP>{EAST}</ULXMAP><ULYMAP>{NORTH}</ULYMAP>
<XDIM>{step}</XDIM><YDIM>{step}</YDIM></Geoposition_Insert></Geoposition>
<Processing_Information><Product_Settings>
<SPECTRAL_PROCESSING>{spectral}</SPECTRAL_PROCESSING>
</Product_Settings></Processing_Information>
<Raster_Data>
<Raster_Dimensions><NROWS>{side}</NROWS><NCOLS>{side}</NCOLS><NBANDS>{count}</NBANDS>
<Tile_Set><NTILES>4</NTILES><Regular_Tiling><NTILES_SIZE nrows="{half}" ncols="{half}"/>
<NTILES_COUNT ntiles_R="2" ntiles_C="2"/><NTILES_OVERLAP nrows="0" ncols="0"/>
</Regular_Tiling></Tile_Set></Raster_Dimensions>
<Raster_Encoding><DATA_TYPE>INTEGER</DATA_TYPE><NBITS>16</NBITS><SIGN>UNSIGNED</SIGN>
</Raster_Encoding>
<Raster_Display><Special_Value><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
<SPECIAL_VALUE_COUNT>0</SPECIAL_VALUE_COUNT></Special_Value></Raster_Display>
<Data_Access><DATA_FILE_ORGANISATION>BAND_COMPOSITE</DATA_FILE_ORGANISATION>
<DATA_FILE_FORMAT>image/tiff</DATA_FILE_FORMAT><DATA_FILE_TILES>true</DATA_FILE_TILES>{files}
</Data_Access></Raster_Data>
<Dataset_Sources><Source_Identification><SOURCE_TYPE>Strip_Source</SOURCE_TYPE><Strip_Source>
<MISSION>PNEO</MISSION><MISSION_INDEX>3</MISSION_INDEX><IMAGING_DATE>2023-05-01</IMAGING_DATE>
<IMAGING_TIME>10:11:12.3Z</IMAGING_TIME></Strip_Source></Source_Identification></Dataset_Sources>
</Dimap_Document>
"""


def maxar(folder: Path, size: int = 128, pixel: float = 0.5) -> Path:
    """A WorldView-3 delivery: folders PAN and MUL with TIL, IMD and four tiles each."""
    order = "500060792090_01_P001"
    everything = ("C", "B", "G", "Y", "R", "RE", "N", "N2")
    for word, kind, bands in (("PAN", "P2AS", ("P",)), ("MUL", "M2AS", everything)):
        step, side = (pixel, size) if word == "PAN" else (4 * pixel, size // 4)
        inside = folder / f"{order}_{word}"
        stem = f"14JUN20181517-{kind}-{order}"
        grid = Affine(step, 0, EAST, 0, -step, NORTH)
        values = np.stack(
            [sampled(ground(n, 4 * pixel), grid, side, side) for n in range(len(bands))]
        )
        parts = tiles(inside, stem, values, grid)
        til = [f'bandId = "{"P" if word == "PAN" else "Multi"}";', f"numTiles = {len(parts)};"]
        for at, (file, top, left, height, width) in enumerate(parts.values(), start=1):
            til += [f"BEGIN_GROUP = TILE_{at}", f'\tfilename = "{file}";']
            for corner, row, column in (
                ("UL", top, left),
                ("UR", top, left + width - 1),
                ("LR", top + height - 1, left + width - 1),
                ("LL", top + height - 1, left),
            ):
                til += [f"\t{corner}ColOffset = {column};", f"\t{corner}RowOffset = {row};"]
            til.append(f"END_GROUP = TILE_{at}")
        (inside / f"{stem}.TIL").write_text("\n".join([*til, "END;", ""]))
        imd = ['version = "28.3";', til[0], 'panSharpenAlgorithm = "None";']
        imd += [f"numRows = {side};", f"numColumns = {side};", "bitsPerPixel = 16;"]
        imd += ['productLevel = "LV2A";', "BEGIN_GROUP = MAP_PROJECTED_PRODUCT"]
        # Corners are the centres of pixels.
        imd += [f"\tULX = {EAST + step / 2};", f"\tULY = {NORTH - step / 2};"]
        imd += ["END_GROUP = MAP_PROJECTED_PRODUCT"]
        for band in bands:
            imd += [f"BEGIN_GROUP = BAND_{band}", "\tabsCalFactor = 1.0e-02;"]
            imd.append(f"END_GROUP = BAND_{band}")
        imd += ["BEGIN_GROUP = IMAGE_1", '\tsatId = "WV03";', "\tcloudCover = 0.02;"]
        imd += ["\tfirstLineTime = 2014-06-20T18:15:17.123456Z;", "\tmeanSunEl = 68.4;"]
        imd += ["END_GROUP = IMAGE_1", "END;", ""]
        (inside / f"{stem}.IMD").write_text("\n".join(imd))
    return folder


STAC_BANDS = {  # common name: centre and width in micrometres
    "red": (0.665, 0.038),
    "blue": (0.49, 0.098),
    "green": (0.56, 0.045),
    "nir": (0.842, 0.145),
}


def stac_item(folder: Path, version: str = "1.0.0", one_file: bool = False) -> Path:
    """A STAC item with PAN, four bands at a quarter of its resolution, and assets of other kinds.

    Args:
        version: of the specification: 1.0.0 has ``eo:bands``, 1.1.0 ``bands``.
        one_file: the four bands in one asset.
    """
    size, pixel = 128, 2.5
    grids = [Affine(step, 0, EAST, 0, -step, NORTH) for step in (pixel, 4 * pixel)]
    pan = sampled(ground(9, 10), grids[0], size, size)
    ms = [sampled(ground(n, 10), grids[1], size // 4, size // 4) for n in range(len(STAC_BANDS))]
    write_tif(folder / "pan.tif", pan[None], grids[0])

    def asset(file: str, *names: str, **fields) -> dict:
        told = [
            {"name": name, "eo:common_name": name}
            | (
                {"eo:center_wavelength": STAC_BANDS[name][0]}
                | {"eo:full_width_half_max": STAC_BANDS[name][1]}
                if name in STAC_BANDS
                else {}
            )
            for name in names
        ]
        key = "bands"
        if version == "1.0.0":
            key = "eo:bands"
            told = [{k.removeprefix("eo:"): v for k, v in band.items()} for band in told]
        media = "image/tiff; application=geotiff; profile=cloud-optimized"
        bands = {key: told} if told else {}
        return {"href": f"./{file}", "type": media, "roles": ["data"], **bands, **fields}

    assets = {"P1": asset("pan.tif", "pan")}
    if one_file:
        write_tif(folder / "ms.tif", np.stack(ms), grids[1])
        assets["analytic"] = asset("ms.tif", *STAC_BANDS)
    else:
        for name, values in zip(STAC_BANDS, ms, strict=True):
            write_tif(folder / f"{name}.tif", values[None], grids[1])
            assets[f"X_{name}"] = asset(f"{name}.tif", name)
    assets["thermal"] = asset("thermal.tif", "lwir11")
    assets["qa"] = asset("qa.tif", roles=["cloud"])
    assets["browse"] = {"href": "browse.jpg", "type": "image/jpeg", "roles": ["thumbnail"]}
    extensions = ["https://stac-extensions.github.io/eo/v1.1.0/schema.json"]
    item = {
        "type": "Feature",
        "stac_version": version,
        "stac_extensions": extensions if version == "1.0.0" else [],
        "id": "scene_7",
        "geometry": {"type": "Point", "coordinates": [3, 48.7]},
        "bbox": [3, 48.7, 3.1, 48.8],
        "properties": {"datetime": "2022-08-09T10:11:12Z", "eo:cloud_cover": 3},
        "links": [],
        "assets": assets,
    }
    path = folder / "item.json"
    path.write_text(json.dumps(item))
    return path


def gaofen(folder: Path, height: int = 252, width: int = 264) -> Path:
    """A GF-2 scene of level 1A: RPC in RPB files, PAN not four times as high as the MS."""
    name = "GF2_PMS1_E3.0_N48.0_20190503_L1A0003978371"
    grids = [Affine(step, 0, EAST, 0, -step, NORTH) for step in (1, 4)]
    ms = [sampled(ground(n, 4), grids[1], height // 4 + 1, width // 4) for n in range(4)]
    pan = sampled(ground(9, 4), grids[0], height, width)
    for part, step, values in (("PAN1", 1, pan[None]), ("MSS1", 4, np.stack(ms))):
        write_tif(folder / f"{name}-{part}.tiff", values, None)
        (folder / f"{name}-{part}.rpb").write_text(_rpb(part, rpcs(step).to_dict()))
        (folder / f"{name}-{part}.xml").write_text(
            "<ProductMetaData><SatelliteID>GF2</SatelliteID><SensorID>PMS1</SensorID>"
            "<StartTime>2019-05-03 11:33:46</StartTime><CloudPercent>1</CloudPercent>"
            "</ProductMetaData>"
        )
    return folder


def _rpb(band: str, rpcs: dict) -> str:
    lines = ['satId = "GF2";', f'bandId = "{band}";', 'SpecId = "RPC00B";']
    lines += ["BEGIN_GROUP = IMAGE", "\terrBias = 0.0;", "\terrRand = 0.0;"]
    names = {"line": "line", "samp": "samp", "lat": "lat", "long": "long", "height": "height"}
    lines += [f"\t{name}Offset = {rpcs[f'{key}_off']!r};" for key, name in names.items()]
    lines += [f"\t{name}Scale = {rpcs[f'{key}_scale']!r};" for key, name in names.items()]
    for key in ("line_num", "line_den", "samp_num", "samp_den"):
        axis, part = key.split("_")
        values = ",\n".join(f"\t\t\t{value:.12E}" for value in rpcs[f"{key}_coeff"])
        lines.append(f"\t{axis}{part.capitalize()}Coef = (\n{values});")
    return "\n".join([*lines, "END_GROUP = IMAGE", "END;", ""])

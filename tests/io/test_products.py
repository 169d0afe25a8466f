"""Products as delivered: what is understood, where it lies, and what is refused."""

import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from ksdiff.errors import KSDiffError
from ksdiff.inference.sharpen import Sharpener
from ksdiff.io.input_options import InputOptions
from ksdiff.io.products import is_product, read_product
from ksdiff.io.rasters import open_pair
from tests.support.products import (
    EAST,
    NORTH,
    gaofen,
    ground,
    landsat,
    maxar,
    pleiades_neo,
    sampled,
)

OLI = ("coastal", "blue", "green", "red", "nir", "swir1", "swir2")
NEO = ("deep blue", "blue", "green", "red", "red edge", "nir")
WV3 = ("coastal", "blue", "green", "yellow", "red", "red edge", "nir1", "nir2")
WV3_CODES = ("C", "B", "G", "Y", "R", "RE", "N", "N2")
PRODUCTS = [
    pytest.param(landsat, OLI, range(1, 8), "landsat9", (128, 120), 4, id="landsat"),
    pytest.param(pleiades_neo, NEO, range(1, 7), "pleiades-neo", (96, 96), 16, id="pleiades-neo"),
    pytest.param(maxar, WV3, range(8), "wv3", (128, 128), 16, id="maxar"),
]


@pytest.mark.parametrize(("make", "names", "bands", "sensor", "shape", "off"), PRODUCTS)
def test_a_delivery_becomes_bands_in_their_place(tmp_path, make, names, bands, sensor, shape, off):
    folder = make(tmp_path)
    out = tmp_path / "fused.tif"
    done = Sharpener(method="exp", registration="off").sharpen_product(folder, out)
    assert sensor in done.notes[0] and ", ".join(names) in done.notes[0]
    with rasterio.open(out) as fused:
        assert (fused.descriptions, fused.shape) == (names, shape)
        assert fused.colorinterp[names.index("red")].name == "red"
        tags = fused.tags()
        assert tags["ACQUISITIONDATETIME"][:4] in ("2014", "2023", "2024")
        assert tags["SATELLITEID"] and f'"sensor": "{sensor}"' in tags["KSDIFF_PROVENANCE"]
        green = fused.tags(names.index("green") + 1)
        assert 0.53 < float(green["CENTRAL_WAVELENGTH_UM"]) < 0.57
        values, grid = fused.read().astype(float), fused.transform
    unit = {"landsat9": 30}.get(sensor, 4 * grid.a)
    for value, band in zip(values, bands, strict=True):
        error = (value - sampled(ground(band, unit), grid, *shape))[8:-8, 8:-8]
        # Half a PAN pixel would be off by more than 30.
        assert np.abs(error).max() < off and abs(error.mean()) < 1


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (landsat, "*_MTL.json"),
        (pleiades_neo, "VOL_PNEO.XML"),
        (pleiades_neo, "*/DIM_PNEO3_*_MS-FS_ORT.XML"),
        (maxar, "*_MUL/*.IMD"),
        (maxar, "*_PAN/*.TIL"),
    ],
)
def test_a_metadata_file_stands_for_its_product(tmp_path, make, name):
    folder = make(tmp_path)
    whole, by_file = read_product(folder), read_product(next(folder.glob(name)))
    assert (by_file.pan.names, by_file.ms) == (whole.pan.names, whole.ms)
    assert not is_product(next(folder.glob(name))) and is_product(folder)


def test_either_mtl_file_tells_the_same(tmp_path):
    products = [read_product(landsat(tmp_path / mtl, mtl)) for mtl in ("json", "txt", "both")]
    first = products[0]
    for other in products[1:]:
        assert (other.name, other.ms.bands, other.ms.tags, other.ms.nodata) == (
            *(first.name, first.ms.bands, first.ms.tags, first.ms.nodata),
        )
    text = next((tmp_path / "both").glob("*/*_MTL.txt"))
    assert read_product(text).metadata == (str(text),)


@pytest.mark.parametrize(
    ("make", "kind"), [(landsat, "tar"), (maxar, "tar.gz"), (pleiades_neo, "zip")]
)
def test_archives_are_read_as_they_are(tmp_path, make, kind):
    folder = make(tmp_path / "unpacked")
    archive = tmp_path / f"delivery.{kind}"
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as out:
            for path in files:
                out.write(path, path.relative_to(folder))
    else:
        with tarfile.open(archive, "w:gz" if kind == "tar.gz" else "w") as out:
            for path in files:
                out.add(path, f"./{path.relative_to(folder)}")
    packed, whole = read_product(archive), read_product(folder)
    assert packed.ms.bands == whole.ms.bands
    with open_pair(packed.pan, packed.ms) as one, open_pair(whole.pan, whole.ms) as other:
        assert one.transform == other.transform
        np.testing.assert_array_equal(one.read().ms.numpy(), other.read().ms.numpy())


def test_gaofen_of_level_1a_is_placed_by_its_rpc(tmp_path):
    product = read_product(gaofen(tmp_path))
    assert (product.ms.sensor, product.ms.tags["CLOUDCOVER"]) == ("gf2", "1")
    with open_pair(product.pan, product.ms, InputOptions()) as pair:
        assert (pair.descriptions, pair.ratio) == (("blue", "green", "red", "nir"), 4)
        told, placed = pair.notes
        assert told == product.ms.told and "placed by their RPC" in placed
        assert pair.rpcs is not None and pair.shape == (252, 264)
        values = pair.read().ms[0].numpy()
    grid = Affine(4, 0, EAST, 0, -4, NORTH)
    for band, value in enumerate(values):
        error = value - sampled(ground(band, 4), grid, *value.shape)
        assert np.abs(error[4:-4, 4:-4]).max() < 2
    next(tmp_path.glob("*PAN1.tiff")).unlink()
    with pytest.raises(KSDiffError, match=r"-PAN1.tiff: the panchromatic image is missing"):
        read_product(tmp_path)


def test_other_images_of_a_delivery_are_left_alone(tmp_path):
    """Short-wave infrared and pansharpened ones."""
    folder = maxar(tmp_path)
    whole = read_product(folder)
    imd = next(folder.rglob("*M2AS*.IMD"))
    text = imd.read_text()
    short = re.sub(r"BAND_(\w+)", lambda band: f"BAND_S{WV3_CODES.index(band[1]) + 1}", text)
    for kind, changed in (("A2AS", short), ("S2AS", text.replace('"None"', '"UNB"'))):
        (imd.parent / imd.name.replace("M2AS", kind)).write_text(changed)
    assert read_product(folder) == whole


def test_band_ids_that_do_not_count_all_bands_leave_names_to_gdal(tmp_path):
    folder = pleiades_neo(tmp_path)
    path = next(folder.glob("*MS*/DIM*.XML"))
    cut = "<Raster_Index><BAND_ID>DB</BAND_ID><BAND_INDEX>3</BAND_INDEX></Raster_Index>"
    path.write_text(path.read_text().replace(cut, ""))
    product = read_product(folder)
    assert product.ms.bands == () and "all bands" in product.ms.told


def test_bands_are_chosen_in_the_order_of_the_product(tmp_path):
    product = read_product(pleiades_neo(tmp_path))
    reading = InputOptions(bands="4,3,2")
    with (
        open_pair(product.pan, product.ms) as pair,
        open_pair(product.pan, product.ms, reading) as some,
    ):
        assert some.descriptions == ("red", "green", "blue")
        assert some.wavelengths == tuple(pair.wavelengths[at] for at in (3, 2, 1))
        np.testing.assert_array_equal(
            some.read().ms[0].numpy(), pair.read().ms[0, [3, 2, 1]].numpy()
        )
    with pytest.raises(KSDiffError, match="has 6 bands, there is no band 7"):
        open_pair(product.pan, product.ms, InputOptions(bands="7"))


def test_fill_of_landsat_has_no_data(tmp_path):
    folder = landsat(tmp_path)
    with rasterio.open(next(folder.glob("*_B5.TIF")), "r+") as file:
        values = file.read()
        values[:, :9] = 0
        file.write(values)
    product = read_product(folder)
    with open_pair(product.pan, product.ms) as pair:
        valid = pair.read().ms_valid[0].numpy()
        assert pair.nodata == 0
    assert not valid[4, :9].any() and valid[4, 9:].all() and valid[:4].all()


def _without(pattern: str):
    def change(folder: Path) -> None:
        next(folder.rglob(pattern)).unlink()

    return change


def _edited(pattern: str, old: str, new: str):
    def change(folder: Path) -> None:
        path = next(folder.rglob(pattern))
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("make", "change", "words"),
    [
        (landsat, _without("*_B5.TIF"), r"_B5.TIF: band 5 \(nir\) is missing, .* --pan and --ms"),
        (landsat, _without("*_B8.TIF"), r"_B8.TIF: band 8 \(PAN\) is missing"),
        (landsat, _edited("*_MTL.json", "FILE_NAME_BAND_8", "X"), r"lists no band 8 \(PAN\)"),
        (landsat, _edited("*_MTL.json", "LANDSAT_9", "LANDSAT_5"), "'LANDSAT_5'; expected LANDSAT"),
        (
            landsat,
            _edited(
                "*_MTL.json",
                "{",
                "",
            ),
            "expected JSON with LANDSAT_METADATA_FILE",
        ),
        (landsat, _edited("*_MTL.json", "PRODUCT_CONTENTS", "X"), "no group PRODUCT_CONTENTS"),
        (pleiades_neo, _without("*NED_R2C1.TIF"), "NED_R2C1.TIF: tile R2C1 is missing, which"),
        (pleiades_neo, _without("DIM*_P_*.XML"), "DIM.*_P_ORT.XML: is missing, which .*VOL_PNEO"),
        (pleiades_neo, _edited("DIM*_P_*", ">P<", ">PMS<"), "panchromatic image is missing"),
        (pleiades_neo, _edited("DIM*_MS*", "2.15", "1.1"), "expected DIMAP version 2, got 1.1"),
        (pleiades_neo, _edited("DIM*_P_*", "</Dimap", "<"), "DIM.*_P_ORT.XML: is not XML"),
        (maxar, _without("*P2AS*_R1C2.TIF"), "_R1C2.TIF: tile 2 is missing, which .*P2AS.*TIL"),
        (maxar, _without("*M2AS*.IMD"), "M2AS.*TIL: its 14JUN.*M2AS.*IMD is missing"),
        (maxar, _edited("*M2AS*.IMD", "BAND_", "X_"), r"names no band \(BAND_P, BAND_B"),
        (maxar, _edited("*M2AS*.IMD", '"None"', '"UNB"'), "its multispectral image is missing"),
    ],
)
def test_what_is_missing_or_contradicts_itself_is_named(tmp_path, make, change, words):
    folder = make(tmp_path)
    change(folder)
    with pytest.raises(KSDiffError, match=words):
        read_product(folder)


def test_bands_on_different_grids_are_named(tmp_path):
    folder = landsat(tmp_path)
    shutil.copy(next(folder.glob("*_B8.TIF")), next(folder.glob("*_B3.TIF")))
    product = read_product(folder)
    with pytest.raises(KSDiffError, match=r"_B1.TIF .* and .*_B3.TIF .* lie on different grids"):
        open_pair(product.pan, product.ms)


def test_what_is_no_product_or_several_is_refused(tmp_path):
    with pytest.raises(KSDiffError, match="no: there is no such file or folder"):
        read_product(tmp_path / "no")
    with pytest.raises(KSDiffError, match=r"is not a known product .*PAN, MS and OUT"):
        read_product(tmp_path)
    (tmp_path / "x.zip").write_text("no archive")
    with pytest.raises(KSDiffError, match=r"x\.zip: cannot be read"):
        read_product(tmp_path / "x.zip")
    for name in ("a", "b"):
        landsat(tmp_path / name, height=20, width=20)
    with pytest.raises(KSDiffError, match=r"holds 2 products; name one of them: .*_MTL.json, "):
        read_product(tmp_path)


def test_scenes_of_one_order_are_told_apart(tmp_path):
    maxar(tmp_path)
    for path in sorted(tmp_path.rglob("*P001*"), reverse=True):
        if path.is_file():
            twin = Path(str(path).replace("P001", "P002"))
            twin.parent.mkdir(exist_ok=True)
            shutil.copy(path, twin)
            if path.suffix == ".TIL":
                twin.write_text(path.read_text().replace("P001", "P002"))
    with pytest.raises(KSDiffError, match="holds 2 products"):
        read_product(tmp_path)
    second = read_product(next(tmp_path.rglob("*M2AS*P002.IMD")))
    assert "P002" in second.pan.names[0] and "P002" in second.ms.names[0]
    next(tmp_path.rglob("*P2AS*P002.IMD")).unlink()
    with pytest.raises(KSDiffError, match=r"M2AS.*P002.IMD: its panchromatic image is missing"):
        read_product(next(tmp_path.rglob("*M2AS*P002.IMD")))

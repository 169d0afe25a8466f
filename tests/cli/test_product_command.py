"""Products by one command."""

import numpy as np
import pytest
import rasterio

from ksdiff.errors import KSDiffError
from ksdiff.io.geotiff import write_scene
from ksdiff.io.products import read_product
from tests.support.cli import failed
from tests.support.products import landsat, maxar, pleiades_neo, stac_item


def test_a_landsat_folder_is_sharpened_by_one_command(start, tmp_path):
    folder = landsat(tmp_path)
    process = start("sharpen", folder, "--out", tmp_path / "fused.tif")
    out, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert out.startswith("Landsat Collection 2 of landsat9, LC09_L1TP_196027_20240512")
    assert "fused.tif: 7 bands of 128 x 120, uint16, with ksdiff-s" in out
    with rasterio.open(tmp_path / "fused.tif") as fused:
        assert fused.descriptions[:3] == ("coastal", "blue", "green")
        assert fused.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


@pytest.mark.parametrize("make", [pleiades_neo, maxar])
def test_a_product_and_an_output_suffice(ksdiff, tmp_path, make):
    out = tmp_path / "fused.tif"
    status, told, errors = ksdiff("sharpen", make(tmp_path / "in"), out, "--method", "gsa")
    assert status == 0, errors
    assert "PAN and MS with" in told and out.exists()


def test_an_item_on_a_server_is_sharpened_by_its_address(ksdiff, tmp_path, served):
    stac_item(tmp_path)
    out = tmp_path / "fused.tif"
    status, told, errors = ksdiff("sharpen", f"{served[0]}/item.json", out, "--method", "gsa")
    assert status == 0, errors
    assert "STAC item, scene_7: PAN and MS with blue, green, red, nir; 2022-08-09" in told
    assert "fused.tif: 4 bands of 128 x 128" in told


def test_a_folder_of_products_is_a_batch(ksdiff, tmp_path):
    scenes, out = tmp_path / "scenes", tmp_path / "fused"
    landsat(scenes / "one", height=40, width=40)
    next(landsat(scenes / "two", height=40, width=40).glob("*_B4.TIF")).unlink()
    result = ksdiff("batch", scenes, "--out", out, "--method", "exp")
    assert failed(result, "1 of 2 scenes failed", "two: ", "band 4 (red) is missing")
    with rasterio.open(out / "one.tif") as fused:
        assert fused.descriptions[:2] == ("coastal", "blue")


def test_adapt_takes_what_sharpen_takes(ksdiff, tmp_path, monkeypatch):
    heard = []

    def adapt(pan, ms, **options):
        heard.append((pan, ms, options))
        raise KSDiffError("heard")

    monkeypatch.setattr("ksdiff.training.adapt.adapt", adapt)
    folder, out = maxar(tmp_path / "in"), tmp_path / "w.safetensors"
    told = ("--registration", "off", "--bands", "3,2,1")
    assert failed(ksdiff("adapt", folder, out, *told), "heard")
    assert failed(ksdiff("adapt", "p.tif", "m.tif", out), "heard")
    assert failed(ksdiff("adapt", "--pan", "p.tif", "--ms", "m.tif"), "expected PRODUCT OUT")
    (pan, ms, options), (*pair, _) = heard
    assert (pan, ms) == ((product := read_product(folder)).pan, product.ms)
    assert (options["registration"], options["reading"].band_numbers) == ("off", (3, 2, 1))
    assert pair == ["p.tif", "m.tif"]


def test_bands_that_look_exchanged_are_told_and_left_as_they_are(ksdiff, tmp_path, scene):
    pan, ms, _ = scene
    write_scene(tmp_path, "a", pan, ms[[2, 1, 0, 3]])
    call = ("sharpen", tmp_path / "a_pan.tif", tmp_path / "a_ms.tif", "--method", "gsa")
    status, told, errors = ksdiff(*call[:3], tmp_path / "fused.tif", *call[3:])
    assert status == 0, errors
    assert "bands 1, 2, 3 are taken as blue, green, red" in told
    told = ksdiff(*call[:3], tmp_path / "right.tif", *call[3:], "--bands", "3,2,1,4")[1]
    assert "are taken as" not in told
    with (
        rasterio.open(tmp_path / "fused.tif") as one,
        rasterio.open(tmp_path / "right.tif") as other,
    ):
        assert np.abs(one.read([3, 2, 1, 4]).astype(int) - other.read()).max() <= 1


def test_what_is_no_product_is_refused(ksdiff, tmp_path, folder):
    out = tmp_path / "fused.tif"
    assert failed(ksdiff("sharpen", tmp_path / "no", out), "there is no such file or folder")
    result = ksdiff("sharpen", folder / "a_pan.tif", folder / "a_ms.tif")
    assert failed(result, "a_pan.tif: is not a known product", "give PAN, MS and OUT")
    assert failed(ksdiff("sharpen", folder), "expected PRODUCT OUT, PAN MS OUT, or all of")
    assert not out.exists()

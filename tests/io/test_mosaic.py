"""Bands in several files and tiles of one image."""

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

from ksdiff.errors import KSDiffError
from ksdiff.io.mosaic import open_parts
from ksdiff.io.rasters import open_pair
from tests.support import UTM
from tests.support.rasters import ms_grid, ramp


def test_single_bands_are_stacked_in_the_order_given(write):
    pan, ms = write("pan", ramp(1, 128, 160)), ramp(3, 32, 40)
    names = [
        write(f"b{at}", ms[at : at + 1], ms_grid(), descriptions=(f"band {at}",)) for at in range(3)
    ]
    order = [2, 0, 1]
    with open_pair(pan, [names[at] for at in order]) as pair:
        np.testing.assert_array_equal(pair.read().ms[0].numpy(), ms[order])
        assert pair.descriptions == ("band 2", "band 0", "band 1")


def test_tiles_of_one_image_are_that_image(write, tmp_path):
    pan, ms = write("pan", ramp(1, 128, 160)), ramp(4, 32, 40)
    names = []
    for row in (0, 20):
        for column in (0, 13):
            part = ms[:, row : row + 20, column : column + 27]
            grid = ms_grid() @ Affine.translation(column, row)
            names.append(write(f"tile{row}_{column}", part, grid, nodata=59_999))
    with open_pair(pan, names) as pair:
        np.testing.assert_array_equal(pair.read().ms[0].numpy(), ms)
        assert pair.nodata == 59_999


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(1, 31), gap=st.integers(0, 3), overlap=st.integers(0, 3))
def test_what_no_tile_covers_has_no_data(tmp_path_factory, cut, gap, overlap):
    folder = tmp_path_factory.mktemp("tiles")
    ms = ramp(2, 36, 40) + 1
    second = max(0, min(cut + gap - overlap, 35))
    pieces = {"a": (0, ms[:, :cut]), "b": (second, ms[:, second:])}
    for name, (row, part) in pieces.items():
        profile = {"driver": "GTiff", "dtype": "uint16", "crs": UTM}
        profile |= dict(zip(("count", "height", "width"), part.shape, strict=True))
        grid = ms_grid() @ Affine.translation(0, row)
        with rasterio.open(folder / f"{name}.tif", "w", transform=grid, **profile) as file:
            file.write(part)
    with open_parts([str(folder / "b.tif"), str(folder / "a.tif")], "ms") as mosaic:
        assert mosaic.shape == (36, 40)
        covered = np.zeros((36, 40), dtype=bool)
        covered[:cut] = covered[second:] = True
        values = mosaic.read()
        np.testing.assert_array_equal(values[:, covered], ms[:, covered])
        np.testing.assert_array_equal(mosaic.read_masks(1) > 0, covered)


def test_files_that_fit_in_no_way_are_named(write):
    one, other = write("a", ramp(1, 32, 40), ms_grid()), write("b", ramp(1, 16, 20), ms_grid(8))
    with pytest.raises(KSDiffError, match=r"a.tif \(1 bands of 32 x 40.*b.tif .*different grids"):
        open_parts([str(one), str(other)], "ms")
    with pytest.raises(KSDiffError, match=r"a.tif: is given twice"):
        open_parts([str(one), str(one)], "ms")
    signed = write("c", ramp(1, 32, 40, "int16"), ms_grid())
    with pytest.raises(KSDiffError, match=r"holds uint16, .*c.tif int16; expected one data type"):
        open_parts([str(one), str(signed)], "ms")
    off = write("d", ramp(2, 32, 40), ms_grid(4, 130.5))
    with pytest.raises(KSDiffError, match="lie on different grids"):
        open_parts([str(write("e", ramp(2, 32, 40), ms_grid())), str(off)], "ms")


def test_remote_files_are_read_window_by_window(write, served):
    address, sent = served
    noise = np.random.default_rng(0).integers(0, 60_000, (1, 2048, 2048)).astype("uint16")
    pan = write("pan", noise)
    write("ms", ramp(4, 512, 512), ms_grid())
    with open_pair(f"{address}/pan.tif", f"{address}/ms.tif") as pair:
        opened = sent()
        patch = pair.read(1024, 1024, 64, 64)
    np.testing.assert_array_equal(patch.pan[0].numpy(), noise[:, 1024:1088, 1024:1088])
    assert sent() - opened < pan.stat().st_size / 16


def test_remote_bands_are_stacked(write, served):
    address, _ = served
    ms = ramp(2, 32, 40)
    for at in range(2):
        write(f"b{at}", ms[at : at + 1], ms_grid())
    pan = write("pan", ramp(1, 128, 160))
    with open_pair(pan, [f"{address}/b0.tif", f"{address}/b1.tif"]) as pair:
        np.testing.assert_array_equal(pair.read().ms[0].numpy(), ms)


def test_an_address_without_a_file_is_named(write, served):
    address, _ = served
    with pytest.raises(KSDiffError, match=rf"pan {address}/no.tif: cannot be opened: .*404"):
        open_pair(f"{address}/no.tif", write("ms", ramp(4, 32, 40), ms_grid()))


def test_a_download_that_stops_is_an_error(write, served, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    address, _ = served
    noise = np.random.default_rng(0).integers(0, 60_000, (1, 1024, 1024)).astype("uint16")
    write("broken", noise)
    ms = write("ms", ramp(4, 256, 256), ms_grid())
    with (
        pytest.raises(KSDiffError, match=r"broken.tif: cannot be (read|opened)"),
        open_pair(f"{address}/broken.tif", ms) as pair,
    ):
        pair.read()

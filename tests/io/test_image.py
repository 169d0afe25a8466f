"""Masks, alpha bands and collars."""

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from ksdiff.errors import KSDiffError
from ksdiff.images.pair import ArrayPair
from ksdiff.io.input_options import InputOptions
from ksdiff.io.rasters import open_pair
from tests.support import PAN_GRID
from tests.support.rasters import ms_grid

RGBA = tuple(ColorInterp[name] for name in ("red", "green", "blue", "alpha"))


def mark(path, colours) -> None:
    with rasterio.open(path, "r+") as file:
        file.colorinterp = colours


@pytest.fixture
def rgba(write):
    """PAN, and three bands with an alpha band that is 0 above row 8."""
    values = np.full((4, 32, 40), 100, dtype=np.uint8)
    values[3] = 255
    values[3, :8] = 0
    ms = write("ms", values, ms_grid())
    mark(ms, RGBA)
    return write("pan", np.full((1, 128, 160), 90, np.uint8)), ms


def test_an_alpha_band_is_a_mask(rgba):
    with open_pair(*rgba) as pair:
        assert (pair.bands, pair.masked_by_alpha, pair.notes) == (3, True, [])
        patch = pair.read()
    assert not patch.ms_valid[0, :, :8].any() and patch.ms_valid[0, :, 8:].all()
    assert (patch.ms[0, :, 8:] == 100).all()


def test_a_band_that_is_asked_for_is_no_mask(rgba):
    with open_pair(*rgba, InputOptions(bands="4,3,2,1")) as pair:
        assert (pair.bands, pair.masked_by_alpha) == (4, False)
        patch = pair.read()
    assert patch.ms_valid.all()
    assert patch.ms[0, 0, 0, 0] == 0 and patch.ms[0, 0, 20, 0] == 255


def test_an_alpha_band_that_is_an_image_is_a_band(rgba):
    pan, ms = rgba
    with rasterio.open(ms, "r+") as file:
        file.write(np.arange(32 * 40).reshape(32, 40).astype("uint8"), 4)
    with open_pair(pan, ms) as pair:
        (note,) = pair.notes
        assert (pair.bands, pair.masked_by_alpha) == (4, False)
        assert pair.read().ms_valid.all()
    with open_pair(pan, ms, InputOptions(bands="1,2,3")) as pair:
        assert (pair.bands, pair.notes) == (3, []) and pair.read().ms_valid.all()
    assert "band 4 is marked as alpha" in note and "--bands 1,2,3 leaves it out" in note


def test_an_alpha_band_of_pan_is_a_mask(write):
    values = np.full((2, 128, 160), 255, dtype=np.uint8)
    values[1, :, 100:] = 0
    pan = write("pan", values)
    mark(pan, (ColorInterp.gray, ColorInterp.alpha))
    with open_pair(pan, write("ms", np.ones((4, 32, 40), np.uint8), ms_grid())) as pair:
        patch = pair.read()
        assert pair.nodata == 0
    assert patch.pan_valid[..., :100].all() and not patch.pan_valid[..., 100:].any()


def collared(value=0, dtype="uint16"):
    """PAN and MS of a footprint that leaves a triangle at two corners, and a dark pixel inside."""
    pan = np.random.default_rng(0).integers(50, 200, (1, 128, 160)).astype(dtype)
    ms = np.random.default_rng(1).integers(50, 200, (4, 32, 40)).astype(dtype)
    for image, scale in ((pan, 4), (ms, 1)):
        rows, columns = np.indices(image.shape[1:]) // scale
        image[:, rows + columns < 15] = value
        image[:, rows + columns > 58] = value
        image[:, 16 * scale, 20 * scale] = value
    return pan, ms


@pytest.mark.parametrize("value", [0, 255])
def test_a_collar_in_both_images_is_masked_and_told(write, value):
    pan, ms = collared(value)
    with open_pair(write("pan", pan), write("ms", ms, ms_grid())) as pair:
        patch = pair.read()
        assert pair.nodata == value
        assert len(pair.notes) == 2 and f"{value} around the footprint" in pair.notes[0]
    rows, columns = np.indices((32, 40))
    outside = (rows + columns < 15) | (rows + columns > 58)
    np.testing.assert_array_equal(patch.ms_valid[0, 1].numpy(), ~outside)
    # The value inside the footprint is a dark or a bright pixel, no hole.
    assert patch.pan_valid[0, 0, 64, 80] and patch.ms_valid[0, 0, 16, 20]


def test_a_stripe_that_reaches_the_border_belongs_to_the_collar(write):
    pan, ms = collared()
    pan[:, 40:44], ms[:, 10] = 0, 0
    with open_pair(write("pan", pan), write("ms", ms, ms_grid())) as pair:
        patch = pair.read()
    assert not patch.pan_valid[..., 40:44, :].any() and not patch.ms_valid[..., 10, :].any()


def test_a_collar_in_one_image_is_told_and_kept(write):
    _, ms = collared()
    pan = np.random.default_rng(0).integers(50, 200, (1, 128, 160)).astype("uint16")
    with open_pair(write("pan", pan), write("ms", ms, ms_grid())) as pair:
        assert pair.read().ms_valid.all()
        (note,) = pair.notes
    assert "ms.tif" in note and "pass --nodata 0" in note


def test_nodata_can_be_given_and_collars_kept(write):
    pan, ms = collared()
    names = write("pan", pan), write("ms", ms, ms_grid())
    with open_pair(*names, InputOptions(nodata="none")) as pair:
        assert pair.read().ms_valid.all() and pair.notes == []
    with open_pair(*names, InputOptions(nodata="0")) as pair:
        np.testing.assert_array_equal(pair.read().ms_valid[0].numpy(), ms != 0)
        assert pair.nodata == 0
    with pytest.raises(KSDiffError, match=r"nodata: 0.5 is not a value of uint16"):
        open_pair(*names, InputOptions(nodata="0.5"))
    with pytest.raises(KSDiffError, match="nodata: expected a number, auto or none, got 'zero'"):
        InputOptions(nodata="zero")


@pytest.mark.parametrize("bands", ["0,1", "1,1"])
def test_bands_are_numbers_from_one(bands):
    with pytest.raises(KSDiffError, match="bands: expected numbers from 1, each once"):
        InputOptions(bands=bands)


def test_a_band_that_is_not_there_is_named(write):
    names = write("pan", np.ones((1, 128, 160))), write("ms", np.ones((4, 32, 40)), ms_grid())
    with pytest.raises(KSDiffError, match=r"ms.tif has 4 bands, there is no band 7"):
        open_pair(*names, InputOptions(bands="1,7"))


def test_masked_pixels_of_arrays_are_no_data(scene):
    pan, ms, _ = scene
    masked = np.ma.masked_array(ms, np.zeros(ms.shape, dtype=bool))
    masked[1, 3, 4] = np.ma.masked
    patch = ArrayPair(np.ma.masked_less(pan, -1), masked).read()
    assert (~patch.ms_valid).nonzero().tolist() == [[0, 1, 3, 4]]
    assert patch.pan_valid.all()


def test_grids_in_one_system_written_differently_fit(write):
    plain = rasterio.crs.CRS.from_string("+proj=utm +zone=31 +ellps=WGS84 +units=m")
    etrs = rasterio.crs.CRS.from_epsg(25831)
    for crs in (plain, etrs):
        ms = write("ms", np.ones((4, 32, 40), "uint16"), ms_grid(), crs)
        with open_pair(write("pan", np.ones((1, 128, 160), "uint16")), ms) as pair:
            assert (pair.ratio, pair.transform) == (4, PAN_GRID)

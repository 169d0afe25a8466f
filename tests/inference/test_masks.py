"""Pixels without data from the inputs to the file."""

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from ksdiff import KSDiffError, Sharpener
from ksdiff.io.input_options import InputOptions
from ksdiff.io.output_options import OutputOptions
from tests.support.inference import HighPassModulation
from tests.support.rasters import ms_grid

RGBA = tuple(ColorInterp[name] for name in ("red", "green", "blue", "alpha"))


@pytest.fixture
def rgba(write, scene):
    """PAN, and an RGBA image whose upper eighth is transparent; where to write."""
    pan, ms, _ = scene
    values = np.concatenate((ms[:3] // 16, np.full_like(ms[:1], 255))).astype("uint8")
    values[:, :8] = 0
    path = write("ms", values, ms_grid())
    with rasterio.open(path, "r+") as file:
        file.colorinterp = RGBA
    return write("pan", (pan // 16).astype("uint8")), path, path.with_name("fused.tif")


def test_alpha_comes_out_as_alpha(rgba):
    done = Sharpener(HighPassModulation(3)).sharpen_files(*rgba)
    assert done.bands == 3
    with rasterio.open(rgba[2]) as fused:
        assert fused.colorinterp == RGBA and fused.nodata is None
        values = fused.read()
    assert set(np.unique(values[3, :32])) == {0} and set(np.unique(values[3, 32:])) == {255}
    assert not values[:3, :32].any() and values[:3, 32:].min() > 0


def test_alpha_becomes_nodata_and_nodata_alpha(rgba):
    sharpener, (pan, ms, out) = Sharpener(HighPassModulation(3)), rgba
    sharpener.sharpen_files(pan, ms, out, output=OutputOptions(mask="nodata"))
    with rasterio.open(out) as fused:
        assert (fused.count, fused.nodata) == (3, 0)
        assert (fused.read_masks(1)[:32] == 0).all() and fused.read_masks(1)[32:].all()
    opened = InputOptions(bands="3,2,1", nodata="0")
    sharpener.sharpen_files(
        pan, ms, out, reading=opened, output=OutputOptions(mask="alpha"), overwrite=True
    )
    with rasterio.open(out) as fused:
        assert fused.colorinterp[3] == ColorInterp.alpha and not fused.read(4)[:32].any()
        assert fused.colorinterp[:3] == RGBA[2::-1]


def test_a_mask_of_another_kind_is_refused():
    with pytest.raises(KSDiffError, match="mask: expected auto, alpha or nodata, got 'none'"):
        OutputOptions(mask="none")


def test_what_was_guessed_is_told(write, scene, tmp_path):
    pan, ms, _ = (image.copy() for image in scene)
    pan[:, :32], ms[:, :8] = 0, 0
    names = write("pan", pan), write("ms", ms, ms_grid())
    done = Sharpener(HighPassModulation(4)).sharpen_files(*names, tmp_path / "fused.tif")
    assert len(done.notes) == 2 and "is taken as no data" in done.notes[0]
    with rasterio.open(done.path) as fused:
        assert fused.nodata == 0 and not fused.read()[:, :32].any()


def test_masked_pixels_come_back_as_nan(scene):
    pan, ms, _ = scene
    masked = np.ma.masked_array(ms, np.zeros(ms.shape, dtype=bool))
    masked[:, :10] = np.ma.masked
    fused = Sharpener(HighPassModulation(4)).sharpen(pan, masked)
    assert np.isnan(fused[:, :40]).all() and not np.isnan(fused[:, 40:]).any()

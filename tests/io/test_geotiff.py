import os
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from ksdiff.errors import KSDiffError
from ksdiff.io.geotiff import RasterWriter, quantise, write_raster
from ksdiff.io.outputs import atomic, check_output
from tests.support import PAN_GRID, UTM


def test_a_raster_comes_back_as_it_was_written(tmp_path):
    values = np.random.default_rng(0).integers(0, 60_000, (3, 300, 280)).astype("uint16")
    write_raster(
        tmp_path / "a.tif",
        values,
        transform=PAN_GRID,
        crs=UTM,
        nodata=7,
        descriptions=("red", None, "blue"),
    )
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(), values)
        assert (file.transform, file.crs, file.nodata) == (PAN_GRID, UTM, 7)
        assert file.descriptions == ("red", None, "blue")
    assert os.listdir(tmp_path) == ["a.tif"]


def test_a_rotated_grid_survives(tmp_path):
    grid = PAN_GRID @ Affine.rotation(30)
    write_raster(tmp_path / "a.tif", np.zeros((1, 8, 8), "uint8"), transform=grid, crs=UTM)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.transform.almost_equals(grid)


def test_the_name_appears_only_after_success(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_truncated_file_does_not_pass_the_check(tmp_path):
    values = np.random.default_rng(0).integers(0, 60_000, (1, 512, 512)).astype("uint16")
    path = tmp_path / "a.tif"
    writer = RasterWriter(path, 1, 512, 512, "uint16")
    writer.write(values, 0, 0)
    writer.close()
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(KSDiffError, match="is the disk full"):
        writer.finish()


def test_checking_a_path_leaves_no_trace(tmp_path):
    assert check_output(tmp_path / "a.tif", overwrite=False) == tmp_path / "a.tif"
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(KSDiffError, match="cannot be written: Permission denied"):
            check_output(tmp_path / "a.tif", overwrite=False)
    finally:
        tmp_path.chmod(0o700)


def test_a_valid_pixel_never_reads_as_nodata():
    values = np.array([[[0.2, 1.0, 300.0]]])
    valid = np.array([[[True, False, True]]])
    assert quantise(values, valid, "uint8", 0).tolist() == [[[1, 0, 255]]]
    assert quantise(values, valid, "uint8", 255).tolist() == [[[0, 255, 254]]]
    assert quantise(values, valid, "uint8", None).tolist() == [[[0, 1, 255]]]
    zero = quantise(np.zeros((1, 1, 1)), valid[..., :1], "float32", 0.0)
    assert 0 < zero.item() < 1e-30


def test_what_a_killed_process_left_is_removed_an_hour_later(tmp_path):
    command = [sys.executable, "-c", "import os; print(os.getpid())"]
    dead = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    old, young = tmp_path / f".out.tif.{dead}.part.tif", tmp_path / f".out.tif.0{dead}.part.tif"
    alive, other = (
        tmp_path / f".out.tif.{os.getppid()}.part.tif",
        tmp_path / f".o.tif.{dead}.part.tif",
    )
    for path in (old, young, alive, other):
        path.write_text("half")
    for path in (old, alive, other):
        os.utime(path, (0, 0))
    write_raster(tmp_path / "out.tif", np.zeros((1, 8, 8), "uint8"))
    assert set(tmp_path.iterdir()) == {young, alive, other, tmp_path / "out.tif"}

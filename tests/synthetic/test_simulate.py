import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import Affine

from ksdiff import Sharpener
from ksdiff.errors import KSDiffError
from ksdiff.evaluation.run import evaluate
from ksdiff.images.wald import degrade_ms
from ksdiff.io.geotiff import write_scene
from ksdiff.io.rasters import open_pair
from ksdiff.metrics import sam
from ksdiff.synthetic.scene import procedural_scene
from ksdiff.synthetic.simulate import draw_scenes, simulate_files
from tests.support import PAN_GRID


@pytest.mark.parametrize("phase", [(1.5, 1.5), (2.0, 2.0), (0.0, 0.0), (1.1, 2.6)])
def test_reduced_pan_lies_on_the_ms_whatever_the_phase(write, tmp_path, phase):
    def image(y, x):
        return 800 + 300 * np.sin(x / 40.0) * np.cos(y / 55.0)

    at = [np.arange(80) * 4 + start for start in phase]
    ms = np.stack([image(*np.meshgrid(*at, indexing="ij"))] * 4)
    grid = PAN_GRID @ Affine.translation(phase[1] - 1.5, phase[0] - 1.5) @ Affine.scale(4)
    simulate_files(
        write("pan", image(*np.mgrid[:320, :320])[None].astype("float32")),
        write("ms", ms.astype("float32"), grid),
        tmp_path,
        "low",
    )
    with open_pair(tmp_path / "low_pan.tif", tmp_path / "low_ms.tif") as pair:
        patch = pair.read()
        truth = pair.read_truth(tmp_path / "low_gt.tif")
        x, y = ~PAN_GRID @ (pair.transform @ (0.5, 0.5))
        assert (y - 0.5, x - 0.5) == pytest.approx(phase, abs=1e-3)
    inner = (..., slice(8, -8), slice(8, -8))
    assert (patch.pan - truth[:, :1])[inner].abs().max() < 8


def test_the_ms_image_is_degraded_with_the_sensors_mtf(write, tmp_path, scene):
    ms = np.tile(scene[1], (1, 2, 2))
    pan = np.tile(scene[0], (1, 2, 2))
    grid = PAN_GRID @ Affine.scale(4)
    simulate_files(write("pan", pan), write("ms", ms, grid), tmp_path, "low", sensor="qb")
    with rasterio.open(tmp_path / "low_ms.tif") as file:
        low = file.read()
    expected = degrade_ms(torch.from_numpy(ms.astype("float64"))[None], (0.34, 0.32, 0.30, 0.22), 4)
    np.testing.assert_array_equal(low, np.rint(expected[0].numpy()))


def test_a_degraded_pan_is_taken_for_as_sharp_as_it_is(write, tmp_path, scene):
    pan, ms = (np.tile(image, (1, 2, 2)) for image in scene[:2])
    pair = write("pan", pan), write("ms", ms, PAN_GRID @ Affine.scale(4))
    simulate_files(*pair, tmp_path / "low", "low", sensor="qb")
    low = tmp_path / "low/low_pan.tif", tmp_path / "low/low_ms.tif"
    fused = {}
    for told in ("auto", "bicubic", "0.15"):
        sharpener = Sharpener(sensor="qb", pan_gain=told)
        done = sharpener.sharpen_files(*low, tmp_path / f"{told}.tif")
        assert done.weights == "ksdiff-s"
        with rasterio.open(done.path) as file:
            fused[told] = file.read()
    np.testing.assert_array_equal(fused["auto"], fused["bicubic"])
    assert (fused["auto"] != fused["0.15"]).any()
    scores = [
        evaluate(tmp_path / "low", ["ksdiff"], sensor="qb", pan_gain=told).rows[0].indexes
        for told in ("auto", "bicubic")
    ]
    assert scores[0] == scores[1]


def test_nodata_stays_nodata_and_does_not_leak(write, tmp_path):
    pan = np.full((1, 512, 512), 500, dtype="uint16")
    ms = np.full((4, 128, 128), 300, dtype="uint16")
    pan[:, :100], ms[:, :25] = 0, 0
    grid = PAN_GRID @ Affine.scale(4)
    simulate_files(write("pan", pan, nodata=0), write("ms", ms, grid, nodata=0), tmp_path, "low")
    with open_pair(tmp_path / "low_pan.tif", tmp_path / "low_ms.tif") as pair:
        patch = pair.read()
    assert not patch.pan_valid[..., :25, :].any() and patch.pan_valid[..., 25:, :].all()
    assert not patch.ms_valid[..., :7, :].any() and patch.ms_valid[..., 7:, :].all()
    assert (patch.pan[patch.pan_valid] == 500).all()
    assert ((patch.ms[patch.ms_valid] - 300).abs() <= 1).all()


def test_pairs_too_small_to_degrade_are_refused(write, tmp_path, scene):
    pan, ms = scene[0][:, :128, :128], scene[1][:, :32, :32]
    grid = PAN_GRID @ Affine.scale(4)
    with pytest.raises(KSDiffError, match="at least 256 x 256"):
        simulate_files(write("pan", pan), write("ms", ms, grid), tmp_path, "low")


def test_several_scenes_are_numbered_and_differ(tmp_path):
    names = draw_scenes(tmp_path / "new", "s", count=2, size=64, sensor="wv3", bands=8)
    assert names == ["s_0", "s_1"]
    images = []
    for name in names:
        with rasterio.open(tmp_path / "new" / f"{name}_gt.tif") as file:
            images.append(file.read())
            assert file.descriptions[0] == "coastal"
    assert not np.array_equal(*images)


def test_nothing_is_drawn_where_a_folder_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KSDiffError, match="cannot be made a folder"):
        draw_scenes(tmp_path / "file", "s", size=64)


def test_evaluating_goes_by_what_a_file_calls_its_bands(tmp_path):
    names = ("blue", "green", "red", "nir", "swir1", "swir2")
    drawn = procedural_scene(seed=1, size=128, bands=6)
    angles = {}
    for folder, called in (("named", names), ("bare", ())):
        (tmp_path / folder).mkdir()
        write_scene(tmp_path / folder, "six", *drawn, descriptions=called)
        (row,) = evaluate(tmp_path / folder, ["ksdiff"], border=10).rows
        angles[folder] = row.indexes["SAM"]
    pair = tmp_path / "named/six_pan.tif", tmp_path / "named/six_ms.tif"
    done = Sharpener().sharpen_files(*pair, tmp_path / "fused.tif")
    with rasterio.open(done.path) as file:
        images = (
            torch.from_numpy(image.astype("float32"))[None] for image in (file.read(), drawn[2])
        )
    inner = (..., slice(10, -10), slice(10, -10))
    expected = sam(*(image[inner] for image in images)).item()
    assert angles["named"] == pytest.approx(expected, rel=1e-2)  # files hold no negative DN
    assert angles["bare"] != pytest.approx(expected, rel=3e-2)

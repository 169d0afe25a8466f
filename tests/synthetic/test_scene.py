import numpy as np
import pytest
import torch

from ksdiff.errors import KSDiffError
from ksdiff.images.expansion import expand
from ksdiff.images.wald import degrade_ms
from ksdiff.io.geotiff import write_scene
from ksdiff.io.rasters import open_pair
from ksdiff.synthetic.scene import procedural_scene


@pytest.mark.parametrize(("bands", "ratio"), [(4, 4), (8, 4), (6, 2), (5, 4)])
def test_shapes_types_and_range_fit_a_sensor_of_eleven_bits(bands, ratio):
    pan, ms, gt = procedural_scene(0, 128, bands, ratio)
    assert (pan.shape, gt.shape) == ((1, 128, 128), (bands, 128, 128))
    assert ms.shape == (bands, 128 // ratio, 128 // ratio)
    for image in (pan, ms, gt):
        assert image.dtype == np.uint16
        assert 0 < image.max() <= 2047
        assert image.std() > 20


def test_the_seed_decides_everything(scene):
    again, other = procedural_scene(3, 256, 4), procedural_scene(4, 256, 4)
    assert all(np.array_equal(a, b) for a, b in zip(scene, again, strict=True))
    assert not np.array_equal(scene[2], other[2])


def test_ms_is_the_degraded_truth(scene):
    _, ms, gt = scene
    low = degrade_ms(torch.from_numpy(gt.astype("float64"))[None], (0.3,) * 4, 4)[0].numpy()
    assert np.abs(low - ms).max() <= 0.51


@pytest.mark.parametrize("bands, ratio", [(1, 8), (3, 3), (6, 2), (10, 7)])
def test_any_bands_at_any_ratio(bands, ratio):
    size = 8 * ratio * (1 + 8 // ratio)
    pan, ms, gt = procedural_scene(1, size, bands, ratio)
    assert (pan.shape, gt.shape) == ((1, size, size), (bands, size, size))
    assert ms.shape == (bands, size // ratio, size // ratio)


def test_pan_carries_the_detail_the_ms_lost(scene):
    pan, ms, gt = (torch.from_numpy(part.astype("float32"))[None] for part in scene)
    lost = (gt - expand(ms, 4)).mean(1).flatten()
    detail = (pan - expand(degrade_ms(pan, (0.3,), 4), 4)).flatten()
    assert torch.corrcoef(torch.stack((lost, detail)))[0, 1] > 0.8


def test_vegetation_is_bright_in_the_near_infrared_and_water_dark():
    _, _, gt = procedural_scene(0, 512, 4)
    blue, red, nir = gt[[0, 2, 3]].astype(float)
    index = (nir - red) / (nir + red)
    assert (index > 0.6).mean() > 0.2
    assert ((nir < 80) & (blue > nir)).mean() > 0.02


def test_a_written_scene_opens_with_the_phase_of_walds_protocol(tmp_path, scene):
    write_scene(tmp_path, "a", *scene, descriptions=("blue", "green", "red", "nir"))
    with open_pair(tmp_path / "a_pan.tif", tmp_path / "a_ms.tif") as pair:
        assert (pair.ratio, pair.phase, pair.shape) == (4, (2.0, 2.0), (256, 256))
        assert pair.descriptions == ("blue", "green", "red", "nir")
        np.testing.assert_array_equal(pair.read_truth(tmp_path / "a_gt.tif")[0].numpy(), scene[2])


@pytest.mark.parametrize(
    ("choice", "match"),
    [
        ({"size": 100}, "size: expected a multiple of 8"),
        ({"size": 32}, "at least 64"),
        ({"size": 64, "ratio": 9}, "ratio: expected a whole number from 2 to 8"),
        ({"size": 64, "ratio": 3}, "size: expected a multiple of 24"),
        ({"size": 64, "bands": 0}, "bands: expected at least 1"),
        ({"size": 64, "sensor": "sentinel2"}, "sentinel2 has 6 bands"),
    ],
)
def test_impossible_scenes_are_refused(choice, match):
    with pytest.raises(KSDiffError, match=match):
        procedural_scene(0, **choice)

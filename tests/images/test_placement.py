import numpy as np
import pytest
import torch

from ksdiff.images.pair import ArrayPair
from ksdiff.images.placement import RegisteredPair, measure_shift
from ksdiff.images.wald import shift
from ksdiff.io.rasters import open_pair
from ksdiff.io.scenes import list_scenes
from ksdiff.sensors import get_sensor, sensor_for
from ksdiff.synthetic.scene import procedural_scene


@pytest.fixture(scope="module")
def images():
    """Procedural pan [1, 320, 320] and ms [4, 80, 80], float."""
    pan, ms, _ = procedural_scene(seed=5, size=320, bands=4)
    return torch.from_numpy(pan.astype("float32")), torch.from_numpy(ms.astype("float32"))


def measured(pan, ms):
    gains = sensor_for(None, ms.shape[0], 4).ms_gains
    return measure_shift([(pan[None], ms[None])], gains, (2, 2))


@pytest.mark.parametrize("off", [(0.4, -0.7), (-2.2, 1.5)])
def test_the_shift_of_pan_is_found(images, off):
    pan, ms = images
    moved = shift(pan[None], *off)[0]
    np.testing.assert_allclose(measured(moved, ms), off, atol=0.12)


def test_a_registered_pair_stays_as_it_is(images):
    assert measured(*images) == (0.0, 0.0)


def test_too_small_a_scene_stays_as_it_is(images):
    pan, ms = images
    moved = shift(pan[None], 1.0, 0.0)[0, :, :160, :160]
    assert measured(moved, ms[:, :40, :40]) == (0.0, 0.0)


def test_windows_that_disagree_are_not_believed(images):
    pan, ms = images
    gains = sensor_for(None, 4, 4).ms_gains
    windows = [(shift(pan[None], step, 0.0), ms[None]) for step in (2.0, 0.0, -2.0)]
    assert measure_shift(windows, gains, (2, 2)) == (0.0, 0.0)


def test_a_registered_pair_reads_as_if_pan_had_been_moved_at_once(images):
    pan, ms = images
    whole = shift(pan[None], 0.75, -1.5)
    pair = RegisteredPair(ArrayPair(pan, ms), -0.75, 1.5)
    patch = pair.read(64, 96, 128, 64)
    assert patch.pan.shape == (1, 1, 128, 64) and patch.ms.shape == (1, 4, 32, 16)
    torch.testing.assert_close(patch.pan, whole[..., 64:192, 96:160], rtol=1e-4, atol=0.5)
    torch.testing.assert_close(patch.ms, ms[None, :, 16:48, 24:40])
    torch.testing.assert_close(pair.read().pan, whole, rtol=1e-4, atol=0.5)


def test_pixels_without_data_move_along_and_do_not_smear(images):
    pan, ms = images
    holed = pan.clone()
    holed[:, 100:140, 60:90] = float("nan")
    patch = RegisteredPair(ArrayPair(holed, ms), 2.0, -3.0).read()
    hole = ~patch.pan_valid[0, 0]
    assert hole[98:138, 63:93].all() and hole.sum() == 40 * 30
    whole = shift(pan[None], -2.0, 3.0)
    beside = patch.pan_valid & (patch.pan - whole).abs().gt(1.0)
    assert not beside.any()


def test_a_real_delivery_that_is_off_is_recognised(real_scenes):
    files = {scene.name: scene for scene in list_scenes(real_scenes / "val")}
    scene = files["qb_b_unregistered"]
    with open_pair(scene.pan, scene.ms) as pair:
        patch = pair.read(0, 0, 512, 512)
        found = measure_shift([(patch.pan, patch.ms)], get_sensor("qb").ms_gains, pair.phase)
    np.testing.assert_allclose(found, (-2.15, 2.25), atol=0.3)

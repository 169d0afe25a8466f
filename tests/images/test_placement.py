import numpy as np
import pytest
import torch

from ksdiff.images.fields import fit_field
from ksdiff.images.pair import ArrayPair
from ksdiff.images.placement import RegisteredPair
from ksdiff.images.translation import shift
from ksdiff.synthetic.scene import procedural_scene


@pytest.fixture(scope="module")
def images():
    """Procedural pan [1, 320, 320] and ms [4, 80, 80], float."""
    pan, ms, _ = procedural_scene(seed=5, size=320, bands=4)
    return torch.from_numpy(pan.astype("float32")), torch.from_numpy(ms.astype("float32"))


def test_a_registered_pair_reads_as_if_pan_had_been_moved_at_once(images):
    pan, ms = images
    whole = shift(pan[None], 0.75, -1.5)
    pair = RegisteredPair(ArrayPair(pan, ms), (-0.75, 1.5))
    patch = pair.read(64, 96, 128, 64)
    assert patch.pan.shape == (1, 1, 128, 64) and patch.ms.shape == (1, 4, 32, 16)
    torch.testing.assert_close(patch.pan, whole[..., 64:192, 96:160], rtol=1e-4, atol=0.5)
    torch.testing.assert_close(patch.ms, ms[None, :, 16:48, 24:40])
    torch.testing.assert_close(pair.read().pan, whole, rtol=1e-4, atol=0.5)


def test_pixels_without_data_move_along_and_do_not_smear(images):
    pan, ms = images
    holed = pan.clone()
    holed[:, 100:140, 60:90] = float("nan")
    patch = RegisteredPair(ArrayPair(holed, ms), (2.0, -3.0)).read()
    hole = ~patch.pan_valid[0, 0]
    assert hole[98:138, 63:93].all() and hole.sum() == 40 * 30
    whole = shift(pan[None], -2.0, 3.0)
    beside = patch.pan_valid & (patch.pan - whole).abs().gt(1.0)
    assert not beside.any()


def test_a_field_that_is_everywhere_the_same_moves_pixels_as_a_shift_does(images):
    pan, ms = images
    holed = pan.clone()
    holed[:, 100:140, 60:90] = float("nan")
    places = np.array([[40.0, 50.0], [200.0, 80.0], [150.0, 250.0]])
    shifts = np.tile((2.0, -3.0), (3, 1))
    field = fit_field(places, shifts, np.full(3, 0.1), (320, 320), 128.0, 20.0)
    pair = ArrayPair(holed, ms)
    by_field, by_shift = (RegisteredPair(pair, off).read() for off in (field, (2.0, -3.0)))
    assert torch.equal(by_field.pan_valid, by_shift.pan_valid)
    torch.testing.assert_close(by_field.pan, by_shift.pan, rtol=1e-3, atol=0.5)

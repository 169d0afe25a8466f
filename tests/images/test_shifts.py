import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdiff.images.shifts import estimate_band_shifts, estimate_shift
from ksdiff.images.translation import shift
from ksdiff.images.wald import degrade_ms
from ksdiff.io.rasters import open_pair
from ksdiff.sensors import get_sensor
from ksdiff.synthetic.scene import procedural_scene

GAINS = get_sensor("wv3").ms_gains
PAIRS = get_sensor("wv3").opposite_bands
PHASE = (2.0, 2.0)
STEPS = st.floats(-1.5, 1.5)  # PAN pixels


def scene_of(seed):
    pan, _, gt = procedural_scene(seed=seed, size=256, bands=8)
    return tuple(torch.from_numpy(np.asarray(image)).float()[None] for image in (pan, gt))


@pytest.fixture(scope="module")
def images():
    """Procedural PAN [1, 1, 256, 256] and truth [1, 8, 256, 256]."""
    return scene_of(3)


def apart(gt, shifts):
    """The MS [1, 8, 64, 64] of bands that lie off by ``shifts``, in PAN pixels."""
    bands = [shift(gt[:, band : band + 1], *step) for band, step in enumerate(shifts)]
    return degrade_ms(torch.cat(bands, 1), GAINS, 4)


@settings(max_examples=15, deadline=None)
@given(dy=st.floats(-3, 3), dx=st.floats(-3, 3))
def test_a_known_shift_of_pan_is_found(images, dy, dx):
    pan, gt = images
    ms = degrade_ms(gt, GAINS, 4)
    found = estimate_shift(shift(pan, dy, dx), ms, GAINS, PHASE)
    assert found == pytest.approx((dy, dx), abs=0.05)


def test_the_phase_is_taken_into_account(images):
    pan, gt = images
    ms = degrade_ms(shift(gt, 1.0, -0.5), GAINS, 4)  # its samples lie where phase (1, 2.5) says
    assert estimate_shift(pan, ms, GAINS, (1.0, 2.5)) == pytest.approx((0, 0), abs=0.1)


def test_gain_and_offset_do_not_matter(images):
    pan, gt = images
    ms = degrade_ms(gt, GAINS, 4)
    first = estimate_shift(shift(pan, 0.7, -0.4), ms, GAINS, PHASE)
    scale = torch.linspace(0.1, 30, 8).view(1, 8, 1, 1)
    second = estimate_shift(5 * shift(pan, 0.7, -0.4) + 100, scale * ms - 3, GAINS, PHASE)
    assert second == pytest.approx(first, abs=0.01)


@pytest.mark.parametrize("side", [16, 64])
def test_nothing_is_found_where_there_is_nothing_or_too_little(side):
    flat = torch.ones(1, 1, 4 * side, 4 * side)
    ms = torch.ones(1, 8, side, side)
    assert estimate_shift(flat, ms, GAINS, PHASE) == (0.0, 0.0)
    assert estimate_band_shifts([ms], PAIRS) == [(0.0, 0.0)] * 8


@settings(max_examples=15, deadline=None)
@given(common=st.tuples(STEPS, STEPS), infrared=st.tuples(STEPS, STEPS))
def test_bands_that_lie_apart_are_found_out(images, common, infrared):
    _, gt = images
    off = [(0.0, 0.0)] * 8
    for one, other in PAIRS:
        dy, dx = infrared if one == 6 else common
        off[one], off[other] = (dy / 2, dx / 2), (-dy / 2, -dx / 2)
    found = estimate_band_shifts([apart(gt, off)], PAIRS)
    np.testing.assert_allclose(4 * np.array(found), off, atol=0.12)


def test_windows_count_together(images):
    whole = apart(images[1], [(0.0, 0.0)] * 8)
    windows = [whole[..., :32], whole[..., 32:], torch.ones(1, 8, 4, 4)]  # one has no detail
    found = estimate_band_shifts(windows, PAIRS)
    np.testing.assert_allclose(found, estimate_band_shifts([whole], PAIRS), atol=0.02)


def test_a_pair_that_shows_different_things_follows_the_others(images):
    _, gt = images
    off = [(0.5, -0.3) if band in (1, 2, 4, 6) else (-0.5, 0.3) for band in range(8)]
    ms = apart(gt, off)
    ms[:, 5] = apart(scene_of(4)[1], off)[:, 5]
    found = estimate_band_shifts([ms], PAIRS)
    others = np.array([found[one] for one, _ in PAIRS if one != 4])
    np.testing.assert_allclose(found[4], np.median(others, 0))
    assert found[5] == (-found[4][0], -found[4][1])


def test_bands_of_no_pair_stay(images):
    found = estimate_band_shifts([apart(images[1], [(0.5, 0.5)] * 8)], PAIRS[:1])
    assert found[2:] == [(0.0, 0.0)] * 6


def read(real_scenes, name):
    stem = real_scenes / "val" / name
    with open_pair(f"{stem}_pan.tif", f"{stem}_ms.tif") as pair:
        patch = pair.read()
        return patch.pan, patch.ms, pair.phase


def test_the_unregistered_scene_is_found_out(real_scenes):
    pan, ms, phase = read(real_scenes, "qb_b_unregistered")
    found = estimate_shift(pan, ms, get_sensor("qb").ms_gains, phase)
    assert found == pytest.approx((-2.15, 2.25), abs=0.25)


def test_the_arrays_of_worldview_3_lie_apart_at_either_resolution(real_scenes):
    fine, coarse = (
        np.array(estimate_band_shifts([read(real_scenes, name)[1]], PAIRS))
        for name in ("wv3_ipcv_full", "wv3_ipcv_low")
    )
    assert np.ptp(fine[:, 1]) > 0.3  # MS pixels
    np.testing.assert_allclose(4 * coarse, fine, atol=0.06)

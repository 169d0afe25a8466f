import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdiff.images.search import REACH, search_shift
from ksdiff.images.translation import shift
from tests.support.registration import PHASE, drawn

GAINS = (0.3,) * 4


@pytest.fixture(scope="module")
def images():
    pan, ms = drawn(5, 384)
    return pan[None], ms[None]


@settings(max_examples=8, deadline=None)
@given(dy=st.floats(-REACH, REACH), dx=st.floats(-REACH, REACH))
def test_every_shift_within_reach_is_found_to_an_ms_pixel(images, dy, dx):
    pan, ms = images
    windows = [(shift(pan, dy, dx)[..., 64:320, 64:320], ms[..., 16:80, 16:80])]
    found = search_shift(windows, GAINS, PHASE)
    assert (found.dy, found.dx) == pytest.approx((dy, dx), abs=4.0)
    assert found.share > 0.3 and found.share > 2 * found.rival


def test_images_of_two_places_show_no_peak(images):
    other = drawn(6, 384)[1][None]
    found = search_shift([(images[0], other)], GAINS, PHASE)
    assert found.share < 2 * found.rival or found.share < 0.3


def test_flat_and_small_images_show_nothing(images):
    flat = [(torch.ones(1, 1, 256, 256), torch.ones(1, 4, 64, 64))]
    assert search_shift(flat, GAINS, PHASE) is None
    pan, ms = images
    assert search_shift([(pan[..., :32, :32], ms[..., :8, :8])], GAINS, PHASE) is None

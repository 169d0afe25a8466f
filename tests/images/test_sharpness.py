import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdiff.images.sharpness import EQUALISER_HALF, equalised, equaliser_taps

GAINS = st.floats(0.08, 0.5)


def _response(taps, frequency: float) -> float:
    at = np.arange(len(taps)) - EQUALISER_HALF
    return float((np.array(taps) * np.cos(2 * np.pi * frequency * at)).sum())


@settings(deadline=None)
@given(GAINS, GAINS, st.integers(2, 8))
def test_a_constant_image_stays_and_the_filter_is_symmetric(has, wanted, ratio):
    taps = np.array(equaliser_taps(has, wanted, ratio))
    assert taps.sum() == pytest.approx(1)
    np.testing.assert_allclose(taps, taps[::-1], atol=1e-12)


@settings(deadline=None)
@given(GAINS, GAINS)
def test_the_response_is_the_quotient_of_the_two_mtfs(has, wanted):
    taps = equaliser_taps(has, wanted, 4)
    for frequency in (0.1, 0.25):
        quotient = (wanted / has) ** ((frequency / 0.5) ** 2)
        assert _response(taps, frequency) == pytest.approx(quotient, abs=0.03)


def test_a_pan_as_sharp_as_wanted_is_left_alone():
    pan = torch.randn(1, 1, 40, 40)
    torch.testing.assert_close(equalised(pan, 0.3, 0.3, 4), pan, atol=1e-5, rtol=1e-5)


def test_a_real_pan_is_sharpened_a_bicubic_one_softened_and_unknown_means_a_real_one():
    pan = torch.randn(1, 1, 64, 64)
    assert equalised(pan, 0.12, 0.3, 4).std() > pan.std() > equalised(pan, "bicubic", 0.3, 4).std()
    torch.testing.assert_close(equalised(pan, None, 0.3, 4), equalised(pan, 0.15, 0.3, 4))

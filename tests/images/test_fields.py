import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdiff.images.fields import constant_error, fit_field

SHAPE = (1024, 768)


def placed(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform((0, 0), SHAPE, (count, 2))


def fitted(places, shifts, errors=None):
    errors = np.full(len(places), 0.05) if errors is None else errors
    return fit_field(places, shifts, errors, SHAPE, 128.0, 20.0)


def polynomial(degree: int, seed: int):
    rng = np.random.default_rng(seed)
    weights = rng.uniform(2, 4, (6, 2)) * rng.choice((-1, 1), (6, 2))

    def shifts(places):
        y, x = places.T / max(SHAPE)
        terms = np.stack([np.ones_like(y), y, x, y * y, y * x, x * x])
        count = (1, 3, 6)[degree]
        return terms[:count].T @ weights[:count]

    return shifts


@settings(max_examples=10, deadline=None)
@given(degree=st.integers(0, 2), seed=st.integers(0, 999), count=st.integers(20, 60))
def test_the_simplest_field_that_does_is_found_in_spite_of_outliers(degree, seed, count):
    shifts, places = polynomial(degree, seed), placed(count, seed)
    rng = np.random.default_rng(seed + 1)
    seen = shifts(places) + rng.normal(0, 0.03, (count, 2))
    wrong = rng.choice(count, count // 6, replace=False)
    seen[wrong] += rng.choice((-1, 1), (len(wrong), 2)) * rng.uniform(1, 6, (len(wrong), 2))
    field = fitted(places, seen)
    assert field.kind == ("constant", "affine", "quadratic")[degree]
    assert not field.believed[wrong].any()
    inside = placed(200, seed + 2) * 0.8 + 0.1 * np.array(SHAPE)
    assert np.median(np.abs(field.at(inside) - shifts(inside))) < 0.06


def test_what_no_polynomial_describes_becomes_a_thin_plate():
    places = placed(80, 0)
    waves = 2 * np.sin(places[:, ::-1] / 120)
    field = fitted(places, waves)
    assert field.kind == "thin-plate"
    assert field.left_out < 0.5 * constant_error(places, waves, np.full(80, 0.05))


@pytest.mark.parametrize("count", [1, 5])
def test_few_windows_show_one_shift(count):
    places = placed(count, 3)
    field = fitted(places, places / 500)
    assert field.kind == "constant"
    np.testing.assert_allclose(np.ptp(field.at(placed(9, 4)), 0), 0, atol=1e-9)


def test_a_field_goes_on_as_at_the_rim_and_not_beyond_the_largest_shift():
    places = placed(40, 5) * 0.5
    field = fitted(places, places / 60)
    far = field.at(np.array([[1e6, 1e6]]))
    np.testing.assert_array_equal(far, field.at(np.array([[2e6, 3e6]])))
    assert np.abs(far).max() <= 20.0


def test_windows_of_a_field_agree_on_what_they_share():
    places = placed(40, 6)
    field = fitted(places, np.sin(places / 200))
    whole = torch.stack(field.over(0, 0, 512, 512))
    part = torch.stack(field.over(100, 64, 333, 77))
    torch.testing.assert_close(part, whole[:, 100:433, 64:141], rtol=0, atol=1e-5)
    exact = field.at(np.array([[150.0, 200.0]]))[0]
    np.testing.assert_allclose(whole[:, 150, 200], exact, atol=0.01)

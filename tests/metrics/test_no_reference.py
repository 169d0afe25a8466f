"""Full-resolution indexes: the definitions in NumPy loops, and properties."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdiff.images.expansion import expand, interp23tap
from ksdiff.images.wald import degrade_pan, mtf_filter
from ksdiff.metrics import d_lambda, d_lambda_k, d_s, full_indexes, hqnr, q2n, qnr

GAINS = (0.34, 0.32, 0.30, 0.22)


def scene(size=128, bands=4, seed=0, batch=1):
    """(fused, pan, ms) in digital numbers, float64."""
    generator = torch.Generator().manual_seed(seed)

    def noise(channels, side):
        return torch.randn(batch, channels, side, side, generator=generator, dtype=torch.float64)

    shape = 60 * interp23tap(noise(1, size // 4), 4) + 40 * noise(1, size)
    weights = torch.linspace(0.5, 1.5, bands, dtype=torch.float64)[:, None, None]
    fused = (700 + weights * shape + 20 * noise(bands, size)).clamp(1, 2047)
    pan = (fused.mean(1, keepdim=True) + 10 * noise(1, size)).clamp(1, 2047)
    ms = mtf_filter(fused, (0.3,) * bands, 4)[..., 2::4, 2::4]
    return fused, pan, ms


def uqi_by_definition(x, y):
    values = []
    for i in range(0, x.shape[0], 32):
        for j in range(0, x.shape[1], 32):
            a, b = x[i : i + 32, j : j + 32].ravel(), y[i : i + 32, j : j + 32].ravel()
            c = np.cov(a, b)
            ma, mb = a.mean(), b.mean()
            values.append(4 * c[0, 1] * ma * mb / (c[0, 0] + c[1, 1]) / (ma**2 + mb**2))
    return np.mean(values)


def test_d_s_follows_its_definition():
    fused, pan, ms = scene()
    lms, pan_low = interp23tap(ms, 4), interp23tap(degrade_pan(pan, 4), 4)
    expected = np.mean(
        [
            abs(
                uqi_by_definition(fused[0, b].numpy(), pan[0, 0].numpy())
                - uqi_by_definition(lms[0, b].numpy(), pan_low[0, 0].numpy())
            )
            for b in range(4)
        ]
    )
    assert d_s(fused, pan, lms, 4).item() == pytest.approx(expected, abs=1e-9)


def test_d_lambda_follows_its_definition():
    fused, _, ms = scene(bands=3)
    lms = interp23tap(ms, 4)
    f, m = fused[0].numpy(), lms[0].numpy()
    expected = np.mean(
        [
            abs(uqi_by_definition(f[i], f[j]) - uqi_by_definition(m[i], m[j]))
            for i, j in ((0, 1), (0, 2), (1, 2))
        ]
    )
    assert d_lambda(fused, lms).item() == pytest.approx(expected, abs=1e-9)


def test_d_lambda_k_is_one_minus_q2n_of_the_filtered_image():
    fused, _, ms = scene()
    lms = interp23tap(ms, 4)
    expected = 1 - q2n(mtf_filter(fused, GAINS, 4), lms)
    assert torch.equal(d_lambda_k(fused, lms, GAINS, 4), expected)


def test_an_image_whose_lowpass_is_the_ms_has_no_spectral_distortion():
    fused, _, _ = scene()
    fused = fused.round()
    low = mtf_filter(fused, GAINS, 4)
    assert d_lambda_k(fused, low, GAINS, 4).item() == pytest.approx(0, abs=1e-12)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**31), st.integers(2, 8))
def test_indexes_lie_between_zero_and_one_and_products_hold(seed, bands):
    fused, pan, ms = scene(96, bands, seed)
    lms, gains = interp23tap(ms, 4), (0.3,) * bands
    table = full_indexes(fused, pan, ms, lms, gains, 4)
    assert list(table) == ["D_lambda_K", "D_s", "HQNR", "D_lambda", "QNR"]
    assert all(0 <= value <= 1 for value in table.values())
    assert hqnr(fused, pan, lms, gains, 4).item() == pytest.approx(table["HQNR"], abs=1e-12)
    assert qnr(fused, pan, lms, 4).item() == pytest.approx(table["QNR"], abs=1e-12)


def test_the_expanded_ms_itself_has_no_inter_band_distortion():
    _, _, ms = scene()
    lms = interp23tap(ms, 4)
    assert d_lambda(lms, lms).item() == 0


def test_a_common_gain_changes_nothing():
    fused, pan, ms = scene()
    lms = interp23tap(ms, 4)
    assert d_lambda(3 * fused, 3 * lms).item() == pytest.approx(d_lambda(fused, lms).item())
    expected = d_s(fused, pan, lms, 4).item()
    assert d_s(3 * fused, 3 * pan, 3 * lms, 4).item() == pytest.approx(expected)


def test_low_resolution_pan_lies_where_the_lms_does():
    """A band that is PAN itself must score 0 with either convention, as delivered at phase 1.5."""
    _, pan, _ = scene()
    ms = degrade_pan(pan, 4)
    for phase in (None, (1.5, 1.5)):
        lms = expand(ms, 4, phase)
        assert d_s(pan, pan, lms, 4, phase).item() == pytest.approx(0, abs=1e-12)
    assert d_s(pan, pan, expand(ms, 4, (1.5, 1.5)), 4).item() > 0.01


def test_constant_images_give_finite_values():
    flat = torch.full((1, 3, 64, 64), 50.0)
    pan, ms = flat[:, :1], flat[..., :16, :16]
    table = full_indexes(flat, pan, ms, flat, (0.3,) * 3, 4)
    assert all(np.isfinite(value) for value in table.values())


@pytest.mark.parametrize("size", [96, 104])
def test_sizes_that_are_no_multiple_of_the_block_are_accepted(size):
    fused, pan, ms = scene(size)
    table = full_indexes(fused, pan, ms, interp23tap(ms, 4), GAINS, 4)
    assert 0 < table["QNR"] < 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gains": (0.3,)}, "gains: expected one per band"),
        ({"ms": torch.zeros(1, 4, 8, 8)}, r"ms: expected \(1, 4, 16, 16\)"),
        ({"pan": torch.zeros(1, 1, 60, 64)}, "pan: batch, height and width"),
        ({"lms": torch.zeros(1, 3, 64, 64), "ms": torch.zeros(1, 3, 16, 16)}, "lms: expected as"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    fused, pan, ms = scene(64)
    arguments = {"fused": fused, "pan": pan, "ms": ms, "lms": interp23tap(ms, 4), "gains": GAINS}
    with pytest.raises(ValueError, match=message):
        full_indexes(**{**arguments, **change}, ratio=4)


def test_one_band_has_no_inter_band_distortion():
    with pytest.raises(ValueError, match="at least 2"):
        d_lambda(torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32))

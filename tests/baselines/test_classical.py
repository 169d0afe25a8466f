"""Classical methods: closed forms on constructed scenes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from ksdiff.baselines import METHODS, ClassicalPair
from ksdiff.baselines.bdsd import nonnegative_least_squares
from ksdiff.baselines.component import _haze, rcs_with
from ksdiff.images.expansion import expand
from ksdiff.images.wald import degrade_ms
from ksdiff.metrics import ergas

GAINS = (0.34, 0.32, 0.30, 0.22)
SHARPENING = [name for name in METHODS if name != "exp"]


def texture(channels=1, size=96, seed=0):
    """Positive texture with a falling spectrum, float64."""
    generator = torch.Generator().manual_seed(seed)
    out = torch.full((1, channels, size, size), 500.0, dtype=torch.float64)
    for side, amplitude in ((8, 60), (32, 50), (size, 30)):
        noise = torch.randn(1, channels, side, side, generator=generator, dtype=torch.float64)
        out += amplitude * torch.nn.functional.interpolate(noise, (size, size), mode="bicubic")
    return out


def correlated_scene(seed=0):
    """(pan, gt) of four bands that share PAN's detail to different degrees."""
    pan = texture(seed=seed)
    strength = torch.tensor([0.6, 0.9, 1.1, 1.3], dtype=torch.float64)[:, None, None]
    return pan, strength * pan + 0.1 * texture(4, seed=seed + 1)


def pair_of(pan, gt, gains=GAINS, phase=None, boundary="circular"):
    return ClassicalPair.of(pan, degrade_ms(gt, gains, 4), gains, 4, phase, boundary)


def error(fused, gt, rim=16):
    """ERGAS of the inner part, where wrapped borders do not reach."""
    inner = (..., slice(rim, -rim), slice(rim, -rim))
    return ergas(fused[inner], gt[inner], 4).item()


def test_the_methods_are_those_documented():
    assert list(METHODS) == [
        *("exp", "brovey", "bt-h", "gsa", "bdsd-pc", "rcs"),
        *("mtf-glp", "mtf-glp-fs", "mtf-glp-hpm"),
    ]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_dtype_are_those_of_the_lms(name, dtype):
    pan, gt = correlated_scene()
    pair = pair_of(pan.to(dtype), gt.to(dtype))
    fused = METHODS[name](pair)
    assert fused.shape == gt.shape
    assert fused.dtype == dtype


def test_methods_do_not_take_each_others_measures():
    pan, gt = correlated_scene()
    shared = pair_of(pan, gt)
    for name, method in METHODS.items():
        torch.testing.assert_close(method(shared), method(pair_of(pan, gt)), msg=name)


@pytest.mark.parametrize("name", METHODS)
def test_windows_with_a_scenes_measures_are_parts_of_the_scene(name):
    pan, gt = (x.repeat(1, 1, 2, 2) for x in correlated_scene())
    ms = degrade_ms(gt, GAINS, 4)
    whole = ClassicalPair.of(pan, ms, GAINS, 4, boundary="reflect")
    fused = METHODS[name](whole)
    part = (..., slice(32, 160), slice(48, 176)), (..., slice(8, 40), slice(12, 44))
    window = ClassicalPair.of(
        pan[part[0]], ms[part[1]], GAINS, 4, boundary="reflect", measured=whole.measured
    )
    inner = (..., slice(28, -28), slice(28, -28))
    expected = fused[part[0]][inner]
    torch.testing.assert_close(METHODS[name](window)[inner], expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_windows_as_a_batch_are_measured_together(name):
    pan, gt = correlated_scene()
    pair = pair_of(pan, gt)
    twice = ClassicalPair.of(pan.repeat(2, 1, 1, 1), pair.ms.repeat(2, 1, 1, 1), GAINS, 4)
    fused = METHODS[name](pair)
    # Standard deviations and covariances are over N - 1.
    torch.testing.assert_close(METHODS[name](twice), fused.repeat(2, 1, 1, 1), rtol=1e-4, atol=0.1)


def test_exp_is_the_expanded_ms():
    pan, gt = correlated_scene()
    pair = pair_of(pan, gt)
    assert METHODS["exp"](pair) is pair.lms


@pytest.mark.parametrize("name", SHARPENING)
def test_every_method_gains_a_third_on_a_scene_that_fits_its_model(name):
    pan, gt = correlated_scene()
    pair = pair_of(pan, gt)
    assert error(METHODS[name](pair), gt) < 0.67 * error(pair.lms, gt)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**20), st.lists(st.floats(0.2, 3), min_size=4, max_size=4))
def test_bands_that_are_multiples_of_pan_are_recovered(seed, factors):
    """lms is then a multiple of the low-passed PAN, up to the DC gain of the filter."""
    pan = texture(seed=seed)
    gt = torch.tensor(factors, dtype=torch.float64)[:, None, None] * pan
    pair = pair_of(pan, gt)
    for name in ("mtf-glp", "mtf-glp-fs", "mtf-glp-hpm"):
        assert error(METHODS[name](pair), gt) < 0.05 * error(pair.lms, gt)


@pytest.mark.parametrize("name", ["gsa", "mtf-glp", "mtf-glp-fs", "mtf-glp-hpm", "rcs"])
def test_a_constant_pan_adds_nothing(name):
    _, gt = correlated_scene()
    pair = pair_of(torch.full_like(gt[:, :1], 300.0), gt)
    torch.testing.assert_close(METHODS[name](pair), pair.lms, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("name", SHARPENING)
def test_constant_images_stay_finite(name):
    flat = torch.full((1, 4, 64, 64), 100.0)
    pair = ClassicalPair.of(flat[:, :1], flat[..., :16, :16], GAINS, 4)
    torch.testing.assert_close(METHODS[name](pair), flat, rtol=5e-3, atol=0)
    empty = torch.zeros_like(flat)
    pair = ClassicalPair.of(empty[:, :1], empty[..., :16, :16], GAINS, 4)
    assert METHODS[name](pair).isfinite().all()


@settings(deadline=None, max_examples=5)
@given(st.floats(0.05, 20))
def test_the_gain_of_pan_does_not_matter(gain):
    pan, gt = correlated_scene()
    for name in SHARPENING:
        fused = METHODS[name](pair_of(pan, gt))
        scaled = METHODS[name](pair_of(gain * pan, gt))
        torch.testing.assert_close(scaled, fused, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ["gsa", "mtf-glp", "mtf-glp-hpm"])
def test_the_offset_of_pan_does_not_matter_to_methods_that_match_it(name):
    pan, gt = correlated_scene()
    fused = METHODS[name](pair_of(pan, gt))
    moved = METHODS[name](pair_of(pan + 200, gt))
    torch.testing.assert_close(moved, fused, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["gsa", "mtf-glp"])
def test_additive_methods_nearly_keep_the_mean_of_each_band(name):
    pan, gt = correlated_scene()
    pair = pair_of(pan, gt)
    fused = METHODS[name](pair)
    torch.testing.assert_close(fused.mean((-1, -2)), pair.lms.mean((-1, -2)), rtol=2e-3, atol=0)


def test_rcs_is_the_ratio_to_the_mean_of_its_window():
    pan, gt = correlated_scene()
    pair = pair_of(pan, gt)
    padded = torch.nn.functional.pad(pan, (3, 3, 3, 3), mode="replicate")
    smooth = torch.nn.functional.avg_pool2d(padded, 7, stride=1)
    torch.testing.assert_close(METHODS["rcs"](pair), pair.lms * pan / smooth)
    torch.testing.assert_close(rcs_with(0)(pair), pair.lms)


def test_haze_correction_scales_spectra_from_the_darkest_pixel():
    pan, gt = correlated_scene()
    pair = pair_of(pan, torch.cat((gt, gt.flip(1)), 1), GAINS * 2)
    haze = pair.ms.amin((-1, -2), keepdim=True)
    scale = (METHODS["bt-h"](pair) - haze) / (pair.lms - haze)
    inner = (pair.lms - haze).amin(1, keepdim=True).expand_as(scale) > 5
    spread = (scale.amax(1) - scale.amin(1))[inner.all(1)]
    assert spread.max() < 1e-9


def test_haze_of_four_bands_is_a_share_of_the_first_percentile():
    ms = torch.arange(1.0, 1025).double().reshape(1, 1, 32, 32) * torch.ones(1, 4, 1, 1)
    expected = 11 * torch.tensor([0.95, 0.45, 0.40, 0.05], dtype=torch.float64)
    torch.testing.assert_close(_haze(ms).flatten(), expected)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**20), st.integers(1, 9))
def test_constrained_least_squares_agrees_with_scipy(seed, unknowns):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(40, unknowns)) * 10 ** rng.uniform(-2, 2, unknowns)
    y = rng.normal(size=40)
    ours = nonnegative_least_squares(a.T @ a, a.T @ y)
    np.testing.assert_allclose(ours, nnls(a, y)[0], rtol=1e-6, atol=1e-9)


def test_least_squares_of_nothing_are_zeros_whatever_memory_held_before():
    for _ in range(20):
        spoiled = [np.full(5, np.nan) for _ in range(200)]
        del spoiled
        found = nonnegative_least_squares(np.zeros((5, 5)), np.zeros(5))
        np.testing.assert_array_equal(found, np.zeros(5))


def test_bdsd_recovers_a_scene_whose_detail_it_can_express():
    """A block-constant gain between PAN's detail and the bands' is the model itself."""
    pan = texture(size=192)
    gt = torch.tensor([0.5, 0.8, 1.0, 1.2], dtype=torch.float64)[:, None, None] * pan
    pair = pair_of(pan, gt)
    assert error(METHODS["bdsd-pc"](pair), gt) < 0.4 * error(pair.lms, gt)


def test_bdsd_injects_no_detail_of_the_wrong_sign():
    pan, gt = correlated_scene()
    pair = pair_of(2000 - pan, gt)
    assert error(METHODS["bdsd-pc"](pair), gt) < 1.1 * error(pair.lms, gt)
    assert error(METHODS["mtf-glp"](pair), gt) > 1.5 * error(pair.lms, gt)


def test_equal_bands_do_not_break_the_regression():
    pan, gt = correlated_scene()
    gt = gt[:, :1].expand(-1, 4, -1, -1)
    pair = pair_of(pan, gt, (0.3,) * 4)
    for name in ("brovey", "gsa"):
        assert error(METHODS[name](pair), gt) < 0.67 * error(pair.lms, gt)


def test_dark_pixels_do_not_turn_into_sparks():
    pan, gt = correlated_scene()
    shore = torch.where(torch.arange(96) < 48, 1.0, 0.002).double()
    pair = pair_of(pan * shore, gt * shore)
    for name in ("brovey", "rcs", "mtf-glp-hpm"):
        assert METHODS[name](pair).abs().max() < 3 * gt.max()


def test_reflected_borders_do_not_wrap_around():
    ramp = torch.linspace(100, 1000, 96, dtype=torch.float64).expand(1, 1, 96, 96)
    gt = ramp.expand(-1, 4, -1, -1)
    gains, rim = (0.3,) * 4, (..., slice(0, 2))
    errors = {
        boundary: (METHODS["mtf-glp-fs"](pair_of(ramp, gt, gains, None, boundary)) - gt)[rim].abs()
        for boundary in ("circular", "reflect")
    }
    assert errors["reflect"].max().item() < 60
    wrapped = ClassicalPair.of(ramp, degrade_ms(gt, gains, 4), gains, 4)
    assert (wrapped.lms - gt)[rim].abs().max() > 300


def test_the_phase_of_the_ms_image_is_respected_through_the_lms():
    pan, gt = correlated_scene()
    low = degrade_ms(gt.roll((2, 2), (-2, -1)), GAINS, 4)
    right = ClassicalPair.of(pan, low, GAINS, 4, (0.0, 0.0))
    wrong = ClassicalPair.of(pan, low, GAINS, 4)
    for name in ("gsa", "rcs", "mtf-glp-fs", "mtf-glp-hpm"):
        errors = [error(METHODS[name](pair), gt) for pair in (right, wrong)]
        assert errors[0] < 0.67 * errors[1]


def test_images_that_do_not_fit_are_refused_by_name():
    pan, gt = correlated_scene()
    ms = degrade_ms(gt, GAINS, 4)
    with pytest.raises(ValueError, match=r"pan: expected \(1, 1, 96, 96\)"):
        ClassicalPair.of(pan[..., :-4], ms, GAINS, 4)
    with pytest.raises(ValueError, match=r"lms: expected \(1, 4, 96, 96\)"):
        ClassicalPair(pan, ms, expand(ms, 2), GAINS, 4)

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdiff.images.expansion import expand, interp23tap
from ksdiff.images.mtf import mtf_filters, mtf_kernel
from ksdiff.images.translation import shift
from ksdiff.images.wald import back_project, degrade_ms, degrade_pan, mtf_filter, pan_lowpass
from ksdiff.sensors import SENSORS

HALF = [
    0.5,
    0.305334091185,
    0.0,
    -0.072698593239,
    0.0,
    0.021809577942,
    0.0,
    -0.005192756653,
    0.0,
    0.000807762146,
    0.0,
    -0.000060081482,
]


def noise(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)


def smooth(height, width, frequencies=((1, 2), (3, 1), (2, 3))):
    """A periodic image well below the Nyquist frequency of the coarse grid, as a function."""

    def at(y, x):
        y, x = np.meshgrid(y, x, indexing="ij")
        return sum(
            np.cos(2 * np.pi * (fy * y / height + fx * x / width) + fy) for fy, fx in frequencies
        )

    return at


def interp23tap_by_definition(ms, ratio):
    """Zero insertion and the full filter, per doubling and axis; [H, W] in NumPy."""
    taps = 2 * np.array(HALF[:0:-1] + HALF)
    out = ms
    for stage in range(int(math.log2(ratio))):
        up = np.zeros((2 * out.shape[0], 2 * out.shape[1]))
        first = 1 if stage == 0 else 0
        up[first::2, first::2] = out
        for axis in (0, 1):
            up = sum(t * np.roll(up, k - 11, axis) for k, t in enumerate(taps))
        out = up
    return out


def imresize_by_definition(image, ratio):
    """MATLAB's contributions, row by row."""

    def cubic(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0

    def rows(image):
        n = image.shape[0]
        out = np.zeros((n // ratio, image.shape[1]))
        for i in range(n // ratio):
            u = (i + 1) * ratio + 0.5 * (1 - ratio)
            left = math.floor(u - 2 * ratio)
            index = [left + k for k in range(4 * ratio + 2)]
            weight = np.array([cubic((u - j) / ratio) / ratio for j in index])
            weight /= weight.sum()
            mirror = list(range(1, n + 1)) + list(range(n, 0, -1))
            out[i] = sum(
                w * image[mirror[(j - 1) % (2 * n)] - 1] for w, j in zip(weight, index, strict=True)
            )
        return out

    return rows(rows(image).T).T


@pytest.mark.parametrize("name", ["qb", "wv2", "wv3", "gf2", "ikonos", "geoeye1"])
def test_mtf_kernels_keep_the_designs_dc_gain(name):
    for gain in SENSORS[name].ms_gains:
        assert 0.9984 < mtf_kernel(gain, 4).sum() < 0.9990


@pytest.mark.parametrize("ratio", [2, 4])
@pytest.mark.parametrize("gain", [0.22, 0.30, 0.365])
def test_mtf_kernel_has_the_sensors_gain_at_nyquist(gain, ratio):
    kernel = mtf_kernel(gain, ratio)
    at = np.arange(-20, 21)
    # The design samples the response at k / 41 cycles and puts Nyquist at k = 20 / ratio.
    response = (kernel.sum(0) * np.cos(2 * np.pi * at * (20 / ratio) / 41)).sum()
    assert response == pytest.approx(gain, abs=0.003)


def test_mtf_kernel_is_symmetric_and_vanishes_outside_the_disc():
    kernel = mtf_kernel(0.3, 4)
    for other in (kernel.T, kernel[::-1], kernel[:, ::-1]):
        np.testing.assert_allclose(kernel, other, atol=1e-16)
    y, x = np.mgrid[-20:21, -20:21]
    assert (kernel[y**2 + x**2 > 400] == 0).all()


def test_mtf_filter_is_the_direct_sum_with_replicated_borders():
    x = noise(1, 2, 30, 37)
    gains = (0.3, 0.2)
    out = mtf_filter(x, gains, 4)
    padded = np.pad(x.numpy()[0], ((0, 0), (20, 20), (20, 20)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (41, 41), (1, 2))
    for band, gain in enumerate(gains):
        expected = (windows[band] * mtf_kernel(gain, 4)).sum((-1, -2))
        np.testing.assert_allclose(out[0, band], expected, atol=1e-12)


@pytest.mark.parametrize("ratio", [2, 4])
def test_degrade_ms_samples_the_filtered_image_at_half_the_ratio(ratio):
    ms = noise(2, 3, 64, 48)
    gains = (0.3, 0.25, 0.34)
    expected = mtf_filter(ms, gains, ratio)[..., ratio // 2 :: ratio, ratio // 2 :: ratio]
    torch.testing.assert_close(degrade_ms(ms, gains, ratio), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("ratio", "size"), [(2, (16, 10)), (4, (32, 20)), (8, (40, 64)), (3, (9, 12))]
)
def test_degrade_pan_is_imresize(ratio, size):
    pan = noise(1, 1, *size)
    expected = imresize_by_definition(pan.numpy()[0, 0], ratio)
    np.testing.assert_allclose(degrade_pan(pan, ratio)[0, 0], expected, atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([2, 4, 8]), st.integers(1, 75), st.integers(1, 75), st.integers(0, 2**31))
def test_interp23tap_is_zero_insertion_and_filtering(ratio, height, width, seed):
    ms = noise(1, 2, height, width, seed=seed)
    out = interp23tap(ms, ratio)
    for band in range(2):
        expected = interp23tap_by_definition(ms.numpy()[0, band], ratio)
        np.testing.assert_allclose(out[0, band], expected, atol=1e-12)


@pytest.mark.parametrize("ratio", [2, 4, 8])
def test_interp23tap_keeps_the_samples_at_half_the_ratio(ratio):
    ms = noise(1, 1, 20, 24)
    out = interp23tap(ms, ratio)
    torch.testing.assert_close(out[..., ratio // 2 :: ratio, ratio // 2 :: ratio], ms)


@pytest.mark.parametrize("phase", [None, (1.5, 1.5), (0.0, 0.0), (0.5, 2.75), (-0.4, 3.6)])
@pytest.mark.parametrize("ratio", [2, 4])
def test_expand_puts_each_sample_at_its_phase(ratio, phase):
    height, width = 40 * ratio, 32 * ratio
    scene = smooth(height, width)
    py, px = phase or (ratio // 2, ratio // 2)
    ms = scene(py + ratio * np.arange(40), px + ratio * np.arange(32))
    lms = expand(torch.from_numpy(ms)[None, None], ratio, phase)
    expected = scene(np.arange(height), np.arange(width))
    np.testing.assert_allclose(lms[0, 0], expected, atol=2e-3)


def test_bicubic_interpolation_would_be_off_by_half_a_pixel():
    scene = smooth(128, 128)
    ms = torch.from_numpy(scene(2 + 4 * np.arange(32), 2 + 4 * np.arange(32)))[None, None]
    bicubic = torch.nn.functional.interpolate(ms, scale_factor=4, mode="bicubic")
    half = expand(ms, 4, (1.5, 1.5))
    inner = (slice(None), slice(None), slice(32, -32), slice(32, -32))
    assert (bicubic - half)[inner].abs().max() < 0.3 * (bicubic - interp23tap(ms, 4))[
        inner
    ].abs().max()


def test_reflected_borders_do_not_wrap_around():
    ms = torch.arange(40.0, dtype=torch.float64).expand(1, 1, 40, 40)
    wrapped = interp23tap(ms, 4)
    kept = expand(ms, 4, boundary="reflect")
    torch.testing.assert_close(kept[..., 60:100, 60:100], wrapped[..., 60:100, 60:100])
    assert wrapped[..., 0].mean() > 3.0
    assert kept[..., 0].abs().max() < 1.0


@settings(deadline=None, max_examples=25)
@given(st.floats(-3, 3), st.floats(-3, 3))
def test_shift_moves_the_content(dy, dx):
    scene = smooth(96, 80, ((5, 9), (20, 1), (2, 20)))
    image = torch.from_numpy(scene(np.arange(96), np.arange(80)))[None, None]
    expected = scene(np.arange(96) - dy, np.arange(80) - dx)
    np.testing.assert_allclose(shift(image, dy, dx, "circular")[0, 0], expected, atol=2e-3)


def test_whole_pixel_shifts_are_exact():
    x = noise(1, 2, 17, 19)
    assert torch.equal(shift(x, 2, -3, "circular"), x.roll((2, -3), (-2, -1)))


@pytest.mark.parametrize("boundary", ["circular", "reflect"])
def test_pan_lowpass_is_the_decimated_and_interpolated_mtf_filter(boundary):
    pan = noise(2, 1, 64, 48)
    gains = (0.3, 0.2, 0.3)
    filtering = "replicate" if boundary == "circular" else boundary
    low = mtf_filter(pan.expand(-1, 3, -1, -1), gains, 4, filtering)[..., 2::4, 2::4]
    expected = expand(low, 4, boundary=boundary)
    torch.testing.assert_close(pan_lowpass(pan, gains, 4, boundary), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("gains", [(0.3, 0.2, 0.3), (0.3, 0.2, 0.25), (0.3, 0.3, 0.3)])
def test_filters_do_what_the_gains_do_that_they_are_made_of(gains):
    pan, ms, fused = noise(1, 1, 64, 48), noise(1, 3, 16, 12), noise(1, 3, 64, 48)
    filters = mtf_filters(gains, 4, pan.dtype, pan.device)
    assert len(filters.profiles) == len(set(gains))
    for one, other in (
        (pan_lowpass(pan, gains, 4), pan_lowpass(pan, filters, 4)),
        (back_project(fused, ms, gains, 4), back_project(fused, ms, filters, 4)),
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("ratio", [2, 4])
@pytest.mark.parametrize("gain", [0.1, 0.3, 0.6])
def test_profiles_make_up_the_kernel_but_for_some_hundred_thousandths(gain, ratio):
    profile = mtf_filters((gain,), ratio, torch.float64, torch.device("cpu")).profiles[0].numpy()
    kernel = mtf_kernel(gain, ratio)
    assert np.abs(np.outer(profile, profile) - kernel).sum() < 4e-5 * np.abs(kernel).sum()


@pytest.mark.parametrize("size", [(64, 48), (136, 200), (8, 16)])
@pytest.mark.parametrize("phase", [None, (1.5, 1.5), (0.0, 3.2)])
def test_back_projection_adds_what_the_shifted_filtered_and_decimated_image_lacks(phase, size):
    gains = (0.3, 0.2, 0.3)
    fused, ms = noise(2, 3, *size), noise(2, 3, size[0] // 4, size[1] // 4, seed=1)
    moved = shift(fused, *(2 - at for at in phase or (2, 2)))
    expected = fused + expand(ms - degrade_ms(moved, gains, 4), 4, phase, "reflect")
    got = back_project(fused, ms, gains, 4, phase)
    inner = (..., slice(24, -24), slice(24, -24)) if phase else ...  # borders are continued once
    torch.testing.assert_close(got[inner], expected[inner], atol=3e-5, rtol=0)


def test_pan_lowpass_stays_aligned_with_pan():
    scene = smooth(128, 128)
    pan = torch.from_numpy(scene(np.arange(128), np.arange(128)))[None, None]
    low = pan_lowpass(pan, (0.3,), 4, "reflect")[0, 0, 32:-32, 32:-32].numpy()
    inner = np.arange(32, 96)

    def error(d):
        moved = scene(inner - d, inner - d)
        return np.abs(low - moved * (low * moved).sum() / (moved**2).sum()).max()

    assert error(0.0) < min(error(-0.25), error(0.25)) / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(dtype):
    pan, ms = noise(1, 1, 32, 32, dtype=dtype), noise(1, 2, 32, 32, dtype=dtype)
    outputs = [
        degrade_pan(pan, 4),
        degrade_ms(ms, (0.3, 0.3), 4),
        mtf_filter(ms, (0.3, 0.3), 4),
        expand(ms, 4, (1.5, 1.5), "reflect"),
        pan_lowpass(pan, (0.3, 0.3), 4),
        shift(ms, 0.3, -0.2),
    ]
    assert all(out.dtype == dtype for out in outputs)


def test_float32_follows_float64():
    pan, ms = 2047 * noise(1, 1, 64, 64), 2047 * noise(1, 2, 64, 64)
    for function in (
        lambda x: degrade_ms(x, (0.3,) * x.shape[1], 4),
        lambda x: mtf_filter(x, (0.3,) * x.shape[1], 4),
        lambda x: expand(x, 4, (1.5, 1.5)),
        lambda x: shift(x, 0.3, 0.2),
    ):
        for x in (pan, ms):
            torch.testing.assert_close(
                function(x.float()).double(), function(x), atol=2e-3, rtol=1e-6
            )


def test_filters_pass_gradients():
    ms = noise(1, 1, 8, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: expand(x, 2, (0.5, 0.5), "reflect"), ms)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: degrade_ms(noise(1, 2, 30, 32), (0.3, 0.3), 4), "multiples of the ratio 4"),
        (lambda: degrade_pan(noise(1, 1, 32, 31), 4), "multiples of the ratio 4"),
        (lambda: degrade_ms(noise(1, 2, 32, 32), (0.3,), 4), r"one per band \(2\), got 1"),
        (lambda: expand(noise(1, 2, 32, 32), 9), "from 2 to 8, got 9"),
        (lambda: expand(noise(2, 32, 32), 4), r"\[B, C, H, W\]"),
        (lambda: expand(noise(1, 2, 8, 8), 4, boundary="wrap"), "'wrap'"),
        (lambda: pan_lowpass(noise(1, 2, 32, 32), (0.3,), 4), "one band, got 2"),
        (lambda: mtf_kernel(1.2, 4), "between 0 and 1"),
        (lambda: mtf_kernel(0.3, 4, 40), "odd number"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_integer_images_are_refused():
    with pytest.raises(TypeError, match="floating-point"):
        degrade_pan(torch.zeros(1, 1, 8, 8, dtype=torch.int32), 4)

"""Indexes against ground truth: the definitions in NumPy loops, other packages, properties."""

import math

import numpy as np
import pytest
import sewar
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional import image as functional

from ksdiff.metrics import cut_border, ergas, psnr, q2n, reduced_indexes, sam, scc, ssim

quick = settings(deadline=None, max_examples=20)
seeds = st.integers(0, 2**31)


def pair(bands, height, width, *, seed=0, error=60.0, batch=1):
    """(fused, gt) in digital numbers, float64, with structure at several scales."""
    generator = torch.Generator().manual_seed(seed)

    def field(size, amplitude):
        noise = torch.randn(batch, bands, size, size, generator=generator, dtype=torch.float64)
        return amplitude * torch.nn.functional.interpolate(noise, (height, width), mode="bilinear")

    gt = (600 + field(4, 150) + field(16, 60)).clamp(1, 2047)
    noise = torch.randn(gt.shape, generator=generator, dtype=torch.float64)
    gt = (gt + 20 * noise).clamp(1, 2047)
    return (gt + field(8, error) + error / 3 * noise.flip(-1)).clamp(0, 2047), gt


def channels_last(x, index=0):
    return x[index].permute(1, 2, 0).numpy().copy()


def rounded(x):
    return np.clip(np.floor(channels_last(x) + 0.5), 0, 65535)


def sam_by_definition(fused, gt):
    a, b = (
        channels_last(fused).reshape(-1, fused.shape[1]),
        channels_last(gt).reshape(-1, gt.shape[1]),
    )
    angles = []
    for u, v in zip(a, b, strict=True):
        norms = math.sqrt(u @ u) * math.sqrt(v @ v)
        if norms > 0:
            angles.append(math.acos(min(1.0, (u @ v) / norms)))
    return math.degrees(sum(angles) / len(angles))


def ergas_by_definition(fused, gt, ratio):
    a, b = channels_last(fused), channels_last(gt)
    terms = [
        ((a[..., i] - b[..., i]) ** 2).mean() / b[..., i].mean() ** 2 for i in range(a.shape[2])
    ]
    return 100 / ratio * math.sqrt(sum(terms) / len(terms))


def scc_by_definition(fused, gt):
    kernel = np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]])

    def edges(x):
        x = np.pad(x[1:-1, 1:-1], ((1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (0, 1))
        gy, gx = (windows * kernel).sum((-1, -2)), (windows * kernel.T).sum((-1, -2))
        return np.sqrt(gy**2 + gx**2)

    a, b = edges(channels_last(fused)), edges(channels_last(gt))
    return (a * b).sum() / math.sqrt((a**2).sum()) / math.sqrt((b**2).sum())


def product_by_definition(a, b):
    """The toolbox's onion_mult on [..., N] arrays."""
    n = a.shape[-1]
    if n == 1:
        return a * b

    def conjugate(x):
        return np.concatenate([x[..., :1], -x[..., 1:]], -1)

    half = n // 2
    a0, a1, b0, b1 = (
        a[..., :half],
        conjugate(a[..., half:]),
        b[..., :half],
        conjugate(b[..., half:]),
    )
    if n == 2:
        return np.concatenate([a0 * b0 - b1 * a1, a0 * b1 + b0 * a1], -1)
    left = product_by_definition(a0, b0) - product_by_definition(b1, conjugate(a1))
    right = product_by_definition(conjugate(a0), b1) + product_by_definition(b0, a1)
    return np.concatenate([left, right], -1)


def q2n_by_definition(fused, gt):
    """Block by block with explicit products, as in Garzelli and Nencini's code."""
    a, b = rounded(gt), rounded(fused)
    extra = [(-n) % 32 for n in a.shape[:2]]
    a, b = (np.pad(x, ((0, extra[0]), (0, extra[1]), (0, 0)), mode="symmetric") for x in (a, b))
    bands = 2 ** math.ceil(math.log2(a.shape[2]))
    a, b = (np.pad(x, ((0, 0), (0, 0), (0, bands - x.shape[2]))) for x in (a, b))
    factor = 1024 / 1023
    values = []
    for y in range(0, a.shape[0], 32):
        for x in range(0, a.shape[1], 32):
            p, q = a[y : y + 32, x : x + 32].copy(), b[y : y + 32, x : x + 32].copy()
            for i in range(bands):
                mean, deviation = p[..., i].mean(), p[..., i].std(ddof=1)
                deviation = deviation or np.finfo(float).eps
                q[..., i] = (q[..., i] - mean) / deviation + 1 if mean else q[..., i] + 1
                p[..., i] = (p[..., i] - mean) / deviation + 1
            q[..., 1:] *= -1
            mp, mq = p.mean((0, 1)), q.mean((0, 1))
            power = (mp**2).sum() + (mq**2).sum()
            bias = 2 * math.sqrt((mp**2).sum() * (mq**2).sum()) / power
            spread = factor * ((p**2).sum(-1).mean() + (q**2).sum(-1).mean() - power)
            cross = product_by_definition(p, q).mean((0, 1)) - product_by_definition(mp, mq)
            values.append(np.linalg.norm(factor * cross * bias * 2 / spread))
    return np.mean(values)


@quick
@given(seeds, st.integers(2, 9), st.integers(4, 30), st.integers(4, 30))
def test_sam_ergas_and_scc_follow_their_definitions(seed, bands, height, width):
    fused, gt = pair(bands, height, width, seed=seed)
    assert sam(fused, gt).item() == pytest.approx(sam_by_definition(fused, gt), abs=1e-6)
    assert ergas(fused, gt, 4).item() == pytest.approx(ergas_by_definition(fused, gt, 4), abs=1e-9)
    assert scc(fused, gt).item() == pytest.approx(scc_by_definition(fused, gt), abs=1e-9)


@quick
@given(seeds, st.integers(1, 9), st.integers(16, 90), st.integers(16, 90))
def test_q2n_follows_its_definition(seed, bands, height, width):
    fused, gt = pair(bands, height, width, seed=seed)
    assert q2n(fused, gt).item() == pytest.approx(q2n_by_definition(fused, gt), abs=1e-6)


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 6, 8, 16])
@pytest.mark.parametrize("size", [(64, 96), (87, 75)])
def test_q2n_agrees_with_sewar_on_rounded_integers(bands, size):
    fused, gt = pair(bands, *size, seed=bands)
    assert q2n(fused, gt).item() == pytest.approx(sewar.q2n(rounded(gt), rounded(fused)), abs=1e-9)


def test_sam_ergas_psnr_and_ssim_agree_with_sewar():
    fused, gt = pair(8, 64, 48)
    a, b = channels_last(gt), channels_last(fused)
    assert sam(fused, gt).item() == pytest.approx(math.degrees(sewar.sam(a, b)), abs=1e-6)
    assert ergas(fused, gt, 4).item() == pytest.approx(sewar.ergas(a, b, r=0.25), abs=1e-9)
    assert psnr(fused, gt, 2047).item() == pytest.approx(sewar.psnr(a, b, MAX=2047), abs=1e-9)
    gaussian = {"fltr": sewar.utils.Filter.GAUSSIAN, "ws": 11, "sigma": 1.5}
    expected = sewar.ssim(a, b, MAX=2047, fltr_specs=gaussian)[0]
    assert ssim(fused, gt, 2047).item() == pytest.approx(expected, abs=1e-9)


def test_indexes_agree_with_torchmetrics_where_the_definitions_do():
    fused, gt = pair(4, 64, 48, batch=2)
    radians = functional.spectral_angle_mapper(fused, gt, reduction="none").mean((-1, -2))
    torch.testing.assert_close(sam(fused, gt), torch.rad2deg(radians), atol=1e-6, rtol=0)
    expected = functional.peak_signal_noise_ratio(
        fused, gt, data_range=2047.0, dim=(1, 2, 3), reduction="none"
    )
    torch.testing.assert_close(psnr(fused, gt, 2047), expected.double(), atol=1e-4, rtol=0)


@quick
@given(seeds, st.integers(2, 8), st.integers(11, 70))
def test_an_image_is_identical_to_itself(seed, bands, size):
    _, gt = pair(bands, size, size, seed=seed)
    assert sam(gt, gt).item() == 0
    assert ergas(gt, gt, 4).item() == 0
    assert scc(gt, gt).item() == pytest.approx(1, abs=1e-12)
    assert q2n(gt, gt).item() == pytest.approx(1, abs=1e-12)
    assert ssim(gt, gt, 2047).item() == pytest.approx(1, abs=1e-12)
    assert psnr(gt, gt, 2047).item() == math.inf


@quick
@given(seeds, st.floats(0.1, 10))
def test_a_gain_changes_no_angle_and_a_common_gain_no_relative_error(seed, gain):
    fused, gt = pair(4, 24, 30, seed=seed)
    assert sam(gain * fused, gt).item() == pytest.approx(sam(fused, gt).item(), abs=1e-9)
    assert scc(gain * fused, gt).item() == pytest.approx(scc(fused, gt).item(), abs=1e-12)
    expected = ergas(fused, gt, 4).item()
    assert ergas(gain * fused, gain * gt, 4).item() == pytest.approx(expected, rel=1e-9)


@quick
@given(st.floats(0.2, 3).filter(lambda gain: abs(gain - 1) > 1e-3), st.integers(1, 4))
def test_a_gain_on_one_side_has_closed_forms(gain, ratio):
    constant = torch.full((1, 3, 20, 20), 100.0, dtype=torch.float64)
    error = 100 * abs(gain - 1)
    assert ergas(gain * constant, constant, ratio).item() == pytest.approx(error / ratio, abs=1e-9)
    decibels = 20 * math.log10(1000 / error)
    assert psnr(gain * constant, constant, 1000.0).item() == pytest.approx(decibels, abs=1e-9)
    luminance = (2e4 * gain + 1) / (1e4 * (1 + gain**2) + 1)
    assert ssim(gain * constant, constant, 100.0).item() == pytest.approx(luminance, abs=1e-9)


def test_orthogonal_spectra_are_at_ninety_degrees():
    a, b = torch.zeros(2, 1, 2, 5, 5)
    a[:, 0], b[:, 1] = 3, 7
    assert sam(a, b).item() == pytest.approx(90, abs=1e-5)


def test_sam_leaves_out_pixels_without_a_spectrum():
    fused, gt = pair(4, 10, 10)
    gt[..., :4] = 0
    fused[:, :, 3] = 0
    expected = sam_by_definition(fused, gt)
    assert sam(fused, gt).item() == pytest.approx(expected, abs=1e-6)
    assert torch.isnan(sam(torch.zeros_like(gt), gt)).all()


def test_q2n_rounds_and_saturates_like_uint16():
    fused, gt = pair(4, 32, 32)
    gt = gt.round()
    shaken = gt + torch.where(torch.rand_like(gt) < 0.5, -0.5, 0.49)
    assert q2n(shaken, gt).item() == pytest.approx(1, abs=1e-12)
    negative = fused.clone()
    negative[..., :8] = -50
    assert q2n(negative, gt).item() == q2n(negative.clamp(min=0), gt).item()


def test_q2n_of_constant_blocks_is_finite():
    gt = torch.zeros(1, 4, 64, 64)
    gt[..., 32:] = 100
    assert q2n(gt, gt).item() == 1
    fused = gt + torch.rand(1, 4, 64, 64)
    assert 0 <= q2n(fused, gt).item() <= 1


def test_each_image_of_a_batch_has_its_own_value():
    fused, gt = pair(4, 40, 50, batch=3)
    for index in (sam, scc, q2n, lambda a, b: ergas(a, b, 2), lambda a, b: ssim(a, b, 2047)):
        together = index(fused, gt)
        assert together.shape == (3,)
        alone = torch.cat([index(fused[i : i + 1], gt[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)


def test_float32_images_give_float32_values_computed_in_double():
    fused, gt = pair(4, 40, 40)
    fused, gt = fused.float(), gt.float()
    for index in (sam, scc, q2n, lambda a, b: ergas(a, b, 4), lambda a, b: psnr(a, b, 2047)):
        value = index(fused, gt)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(index(fused.double(), gt.double()).item(), rel=1e-6)


def test_border_is_the_toolboxes_cut():
    x = torch.arange(100.0).reshape(1, 1, 10, 10)
    assert torch.equal(cut_border(x, 3), x[..., 2:-3, 2:-3])
    assert cut_border(x, 0) is x
    fused, gt = pair(4, 90, 80)
    cut = reduced_indexes(fused, gt, 4, 2047, border=21)
    inner = (slice(None), slice(None), slice(20, -21), slice(20, -21))
    assert cut["SAM"] == sam(fused[inner], gt[inner]).item()
    assert list(cut) == ["SAM", "ERGAS", "Q2n", "SCC", "PSNR", "SSIM"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, g: sam(f[:, :3], g), r"gt: expected as many bands as fused \(3\), got 4"),
        (lambda f, g: q2n(f[0], g), r"fused: expected \[B, C, H, W\]"),
        (lambda f, g: ergas(f[..., :-1], g, 4), "gt: batch, height and width"),
        (lambda f, g: ssim(f[..., :9], g[..., :9], 1.0), "at least 11x11"),
        (lambda f, g: scc(f[..., :3], g[..., :3]), "at least 4x4"),
        (lambda f, g: reduced_indexes(f, g, 4, 1.0, border=21), "smaller border"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    fused, gt = pair(4, 32, 32)
    with pytest.raises(ValueError, match=message):
        call(fused, gt)


def test_integer_images_are_refused():
    image = torch.zeros(1, 4, 32, 32, dtype=torch.int64)
    with pytest.raises(TypeError, match="fused: expected a floating-point tensor"):
        sam(image, image)

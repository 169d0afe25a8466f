"""Every file of examples/ runs, and computes what its source defines."""

import importlib.util
import runpy
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.nn import functional as F

FOLDER = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(6)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_the_file_runs_as_a_script_and_says_what_it_did(path, capsys):
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()


def patches(x: torch.Tensor, kernel: int) -> torch.Tensor:
    """[B, C, k * k, H, W]: the neighbours of every pixel."""
    columns = F.unfold(x, kernel, padding=kernel // 2)
    return columns.view(*x.shape[:2], kernel * kernel, *x.shape[2:])


def test_ddf_kernels_are_products_of_a_spatial_and_a_channel_filter():
    layer = load("ddf_layer").DecoupledDynamicFilter(6)
    x = torch.randn(2, 6, 7, 9)
    spatial, channel = layer.filters(x)
    weight = spatial.flatten(1, 2)[:, None] * channel.flatten(2)[..., None, None]
    torch.testing.assert_close(layer(x), (patches(x, 3) * weight).sum(2))


def test_lagconv_is_a_dense_convolution_of_patches_scaled_per_pixel_and_tap():
    layer = load("lagconv_layer").LAGConv2d(4, 6)
    x = torch.randn(2, 4, 7, 9)
    scaled = patches(x, 3) * layer.attention(x)[:, None]
    expected = torch.einsum("bcthw,oct->bohw", scaled, layer.convolve.weight.flatten(2))
    torch.testing.assert_close(layer(x), expected + layer.bias(x)[..., None, None])


def test_kpn_error_falls_below_what_training_began_with():
    errors = load("kpn_denoiser").train(steps=40)
    assert sum(errors[-10:]) < 0.8 * sum(errors[:10])
    assert max(errors[-10:]) < 0.6


def test_kpn_leaves_a_flat_image_alone_inside():
    denoiser = load("kpn_denoiser").KernelPredictingDenoiser()
    flat = torch.full((1, 3, 9, 9), 0.4)
    torch.testing.assert_close(denoiser(flat)[..., 2:-2, 2:-2], flat[..., 2:-2, 2:-2])


@pytest.mark.parametrize(("scale", "kernel"), [(2, 3), (3, 5)])
def test_carafe_reassembles_the_neighbours_of_each_output_pixels_source(scale, kernel):
    upsampler = load("carafe_upsampler").ContentAwareUpsampler(4, scale, kernel)
    x = torch.randn(2, 4, 5, 6)
    weight = upsampler.kernels(x).flatten(2, 3)
    neighbours = patches(x, kernel)
    neighbours = neighbours.repeat_interleave(scale, 3).repeat_interleave(scale, 4)
    torch.testing.assert_close(upsampler(x), (neighbours * weight).sum(2))


def test_carafe_learns_to_beat_bilinear_upsampling():
    bilinear, learnt = load("carafe_upsampler").train(steps=80)
    assert learnt < 0.8 * bilinear


def test_lapar_adds_a_mixture_of_learnt_kernels_of_the_bilinear_image():
    upsampler = load("lapar_upsampler").AssembledUpsampler(2, scale=2, rank=3, kernel=3)
    x = torch.randn(2, 2, 5, 6)
    large, mixture = upsampler.enlarge(x), upsampler.coefficients(x)[:, 0]
    weight = torch.einsum("brhw,rt->bthw", mixture, upsampler.filters.basis[0].flatten(1))
    torch.testing.assert_close(upsampler(x), large + (patches(large, 3) * weight[:, None]).sum(2))


def test_lapar_learns_to_beat_bilinear_upsampling():
    bilinear, learnt = load("lapar_upsampler").train(steps=80)
    assert learnt < 0.8 * bilinear

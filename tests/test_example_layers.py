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


def test_kpn_error_falls_below_what_training_began_with():
    errors = load("kpn_denoiser").train(steps=40)
    assert sum(errors[-10:]) < 0.8 * sum(errors[:10])
    assert max(errors[-10:]) < 0.6


def test_kpn_leaves_a_flat_image_alone_inside():
    denoiser = load("kpn_denoiser").KernelPredictingDenoiser()
    flat = torch.full((1, 3, 9, 9), 0.4)
    torch.testing.assert_close(denoiser(flat)[..., 2:-2, 2:-2], flat[..., 2:-2, 2:-2])


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

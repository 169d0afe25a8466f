import pytest
import torch
import torch.nn.functional as F

from ksdiff.models.backbones import BACKBONES, LAGConv
from ksdiff.models.modulate import modulate

PARAMETERS = {"dicnn": 46_792, "fusionnet": 78_632, "lagnet": 151_397}


@pytest.fixture(params=BACKBONES)
def name(request) -> str:
    return request.param


def test_the_published_parameter_counts_are_met(name):
    network = BACKBONES[name](8)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("bands", [3, 4, 8])
def test_any_size_and_band_count_is_fused(name, bands):
    torch.manual_seed(0)
    pan, lms = torch.rand(2, 1, 13, 18), torch.rand(2, bands, 13, 18)
    assert BACKBONES[name](bands)(pan, lms).shape == (2, bands, 13, 18)


def test_what_is_learnt_is_the_detail_on_top_of_lms(name):
    network = BACKBONES[name](4)
    for parameter in network.last.parameters():
        torch.nn.init.zeros_(parameter)
    pan, lms = torch.rand(1, 1, 12, 12), torch.rand(1, 4, 12, 12)
    torch.testing.assert_close(network(pan, lms), lms)


def test_every_parameter_gets_a_gradient(name):
    torch.manual_seed(0)
    network = BACKBONES[name](4)
    pan, lms = torch.rand(2, 1, 12, 12), torch.rand(2, 4, 12, 12)
    network(pan, lms).square().mean().backward()
    assert all(parameter.grad.any() for parameter in network.parameters())


def test_fusionnet_sees_only_how_pan_differs_from_the_bands():
    torch.manual_seed(0)
    network = BACKBONES["fusionnet"](4)
    pan, lms = torch.rand(1, 1, 12, 12), torch.rand(1, 4, 12, 12)
    torch.testing.assert_close(network(pan + 0.5, lms + 0.5), network(pan, lms) + 0.5)


def test_dicnn_is_three_convolutions():
    torch.manual_seed(0)
    network = BACKBONES["dicnn"](2)
    pan, lms = torch.rand(1, 1, 9, 9), torch.rand(1, 2, 9, 9)
    x = torch.cat((lms, pan), 1)
    for layer in (network.first, network.second):
        x = F.conv2d(x, layer.weight, layer.bias, padding=1).clamp_min(0)
    expected = lms + F.conv2d(x, network.last.weight, network.last.bias, padding=1)
    torch.testing.assert_close(network(pan, lms), expected)


def _lagconv(layer: LAGConv, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The published formula, pixel by pixel: attention on the taps, then an ordinary product."""
    attention = layer.attention(x).flatten(2)  # [B, 9, HW]
    columns = F.unfold(x, 3, padding=1).unflatten(1, (x.shape[1], 9))  # [B, C, 9, HW]
    y = torch.einsum("bjp,bcjp,ocj->bop", attention, columns, weight.flatten(2))
    return y.unflatten(2, x.shape[2:]) + layer.bias(x)[..., None, None]


def test_lagconv_is_the_published_formula():
    torch.manual_seed(0)
    layer, x = LAGConv(3, 5), torch.randn(2, 3, 6, 7)
    torch.testing.assert_close(layer(x), _lagconv(layer, x, layer.weight), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernels", [1, 2])
def test_lagconv_takes_a_kernel_per_sample(kernels):
    torch.manual_seed(0)
    layer, x, weight = LAGConv(3, 5), torch.randn(2, 3, 6, 7), torch.randn(kernels, 5, 3, 3, 3)
    rows = [_lagconv(layer, x[b : b + 1], weight[b % kernels]) for b in range(2)]
    modulated = modulate(layer, LAGConv)
    torch.testing.assert_close(
        modulated(x, kernels=[weight]), torch.cat(rows), rtol=1e-4, atol=1e-4
    )

import pytest
import torch
import torch.nn.functional as F

from ksdiff.models.backbones import BACKBONES

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

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ksdiff.models.layers import PatchConv2d, UnpatchConv2d, from_patches

layouts = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])


@layouts
@pytest.mark.parametrize("side", [1, 2, 4])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_patch_convolution_is_a_convolution_of_the_unshuffled_image(side, size, layout):
    torch.manual_seed(0)
    layer = PatchConv2d(3, 5, side, size)
    peer = nn.Conv2d(side**2 * 3, 5, size, padding=size // 2)
    peer.load_state_dict(layer.state_dict())
    x = torch.rand(2, 3, 8, 16).to(memory_format=layout)
    first, second = layer(x), peer(F.pixel_unshuffle(x, side))
    assert first.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
    weights = torch.rand_like(second)
    for ours, theirs in zip(
        torch.autograd.grad((first * weights).sum(), list(layer.parameters())),
        torch.autograd.grad((second * weights).sum(), list(peer.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@layouts
@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize("height", [1, 5, 16, 37])
def test_unpatching_shuffles_what_the_convolution_gives_with_gradients_or_without(
    side, height, layout
):
    torch.manual_seed(0)
    layer = UnpatchConv2d(6, 5, side)
    peer = nn.Conv2d(6, 5 * side**2, 1)
    peer.load_state_dict(layer.state_dict())
    x = torch.rand(2, 6, height, 7).to(memory_format=layout)
    expected = F.pixel_shuffle(peer(x), side)
    torch.testing.assert_close(layer(x), expected)
    with torch.inference_mode():
        without = layer(x)
    torch.testing.assert_close(without, expected)
    assert without.is_contiguous()


def test_unpatching_obeys_autocast():
    layer, x = UnpatchConv2d(6, 5, 2), torch.rand(1, 6, 8, 8, dtype=torch.bfloat16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16


@layouts
@pytest.mark.parametrize("side", [2, 4])
def test_from_patches_shuffles_pixels_into_whole_planes(side, layout):
    x = torch.rand(2, 3 * side**2, 4, 6).to(memory_format=layout)
    image = from_patches(x, side)
    assert torch.equal(image, F.pixel_shuffle(x, side))
    assert image.is_contiguous()

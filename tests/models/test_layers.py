import pytest
import torch
import torch.nn.functional as F

from ksdiff.models.layers import from_patches, to_patches


@pytest.mark.parametrize("side", [2, 4])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_patches_are_pixel_unshuffle_and_back_in_the_layouts_that_readers_want(side, layout):
    x = torch.rand(2, 3, 8, 16).to(memory_format=layout)
    patches = to_patches(x, side)
    assert torch.equal(patches, F.pixel_unshuffle(x, side))
    assert patches.is_contiguous(memory_format=torch.channels_last)
    back = from_patches(patches, side)
    assert torch.equal(back, x)
    assert back.is_contiguous()

import pytest
import torch

from ksdiff.models.kernels import layer_weight
from ksdiff.models.unet import ConvNeXtBlock


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("batch, size", [(1, (8, 8)), (1, (150, 100)), (2, (70, 90))])
def test_a_block_gives_the_same_with_gradients_or_without(batch, size, layout):
    torch.manual_seed(0)
    block = ConvNeXtBlock(16, 2)
    x = torch.randn(batch, 16, *size).to(memory_format=layout)
    kernels = [
        layer_weight(layer)[None] * (1 + 0.1 * torch.randn(1, 1, 1, 1, 1))
        for layer in (block.depthwise, block.expand, block.project)
    ]
    given = x.clone()
    with torch.no_grad():
        ours = block(x, iter(kernels))
    assert x.equal(given)
    torch.testing.assert_close(ours, block(x, iter(kernels)).detach(), rtol=1e-5, atol=1e-5)

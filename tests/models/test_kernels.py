import pytest
import torch
import torch.nn.functional as F

from ksdiff.config import KernelConfig
from ksdiff.models.kernels import KernelGenerator, LayerShape, ModulatedConv2d, layer_shape

SHAPES = [LayerShape((6, 4, 3, 3), (3, 2, 2, 2)), LayerShape((5, 1, 7, 7), (4, 1, 2, 2))]


def _generator() -> KernelGenerator:
    torch.manual_seed(0)
    return KernelGenerator(8, 5, SHAPES, KernelConfig(width=16, heads=2))


@pytest.mark.parametrize(("size", "groups"), [(1, 1), (3, 1), (7, 4), (1, 4)])
@pytest.mark.parametrize("kernels", [1, 3])
def test_each_sample_meets_its_own_kernel(size, groups, kernels):
    torch.manual_seed(0)
    layer = ModulatedConv2d(4, 8, size, groups=groups)
    x, weight = torch.randn(3, 4, 9, 11), torch.randn(kernels, 8, 4 // groups, size, size)
    rows = [
        F.conv2d(x[b : b + 1], weight[b % kernels], layer.bias, padding=size // 2, groups=groups)
        for b in range(3)
    ]
    torch.testing.assert_close(layer(x, weight), torch.cat(rows), rtol=1e-4, atol=1e-5)


def test_kernels_are_the_tucker_product_times_the_base():
    generator = _generator()
    z, tokens = torch.randn(2, 4, 8), torch.randn(2, 64, 16)
    base = [torch.randn(shape.modes) for shape in SHAPES]
    cores, factors = generator.core(z), generator.factor.factors(tokens)
    for kernel, core, factor, weight in zip(
        generator(z, tokens, base), cores, factors, base, strict=True
    ):
        product = torch.einsum("bpqrs,bop,biq,bhr,bws->boihw", core, *factor)
        torch.testing.assert_close(kernel, product * weight, rtol=1e-4, atol=1e-5)


def test_kernels_start_near_the_base():
    generator = _generator()
    base = [torch.ones(shape.modes) for shape in SHAPES]
    for kernel in generator(torch.randn(2, 4, 8), torch.randn(2, 64, 16), base):
        assert (kernel - 1).abs().mean() < 0.5
        assert kernel.mean().item() == pytest.approx(1.0, abs=0.2)


def test_the_core_sees_the_prior_and_the_factors_the_image():
    generator = _generator()
    base = [torch.ones(shape.modes) for shape in SHAPES]
    z, tokens = torch.randn(1, 4, 8), torch.randn(1, 64, 16)
    first = generator(z, tokens, base)[0]
    assert not torch.allclose(first, generator(z + 1, tokens, base)[0])
    assert not torch.allclose(first, generator(z, tokens + torch.randn(1, 64, 16), base)[0])


def test_ranks_are_cut_to_the_kernel():
    layer = ModulatedConv2d(8, 8, 3, groups=8)
    shape = layer_shape(layer, (4, 4, 2, 2))
    assert shape == LayerShape((8, 1, 3, 3), (4, 1, 2, 2))

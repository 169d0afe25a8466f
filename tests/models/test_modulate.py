import copy
import runpy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ksdiff
from ksdiff.config import KernelConfig
from ksdiff.models.backbones import BACKBONES
from ksdiff.models.kernels import KernelGenerator


class Net(nn.Module):
    """Strides, groups, dilation, paddings of every kind, a layer used twice, a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")
        self.body = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding="same", dilation=2, groups=4), nn.BatchNorm2d(8)
        )
        self.down = nn.Conv2d(8, 6, (4, 2), stride=2, padding=(1, 0), bias=False)
        self.tail = nn.Conv2d(6, 2, 1, padding="valid")

    def forward(self, x, scale=1.0):
        return scale * self.tail(self.down(self.body(self.body(self.stem(x).relu()))))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def test_an_untouched_network_computes_what_it_did_before(net):
    x, before = torch.randn(2, 3, 12, 10), copy.deepcopy(net)
    modulated = ksdiff.modulate(net)
    assert torch.equal(modulated(x), before(x))
    assert torch.equal(net(x, scale=2.0), before(x, scale=2.0))
    assert net.state_dict().keys() == before.state_dict().keys()
    net.load_state_dict(before.state_dict())


def test_base_kernels_given_as_kernels_change_nothing(net):
    x = torch.randn(2, 3, 12, 10)
    modulated = ksdiff.modulate(net)
    for batch in (1, 2):
        kernels = [
            layer.weight.expand(batch, -1, -1, -1, -1) for layer in modulated.modulated_layers()
        ]
        torch.testing.assert_close(modulated(x, kernels=kernels), net(x), rtol=1e-4, atol=1e-5)


def test_every_sample_meets_its_own_kernels(net):
    x, separate = torch.randn(3, 3, 12, 10), copy.deepcopy(net)
    modulated = ksdiff.modulate(net)
    kernels = [torch.randn(3, *shape.modes) for shape in modulated.shapes]
    together = modulated(x, kernels=kernels)
    layers = dict(separate.named_modules())
    for sample in range(3):
        for name, kernel in zip(modulated.names, kernels, strict=True):
            layers[name].weight.data = kernel[sample]
        alone = separate(x[sample : sample + 1])
        torch.testing.assert_close(together[sample : sample + 1], alone, rtol=1e-4, atol=1e-4)


def test_kernels_hold_for_one_call_and_learn(net):
    x, modulated = torch.randn(1, 3, 12, 10), ksdiff.modulate(net)
    before = modulated(x)
    kernels = [torch.randn(1, *shape.modes, requires_grad=True) for shape in modulated.shapes]
    modulated(x, kernels=kernels).square().sum().backward()
    assert all(kernel.grad.any() for kernel in kernels)
    assert torch.equal(modulated(x), before)
    with pytest.raises(RuntimeError):
        modulated(torch.randn(1, 5, 12, 10), kernels=kernels)
    assert torch.equal(modulated(x), before)


def test_the_shapes_feed_a_kernel_generator_that_starts_at_the_base_network():
    torch.manual_seed(0)
    modulated = ksdiff.modulate(BACKBONES["fusionnet"](4))
    assert len(modulated.shapes) == 10
    assert modulated.shapes[0].modes == (32, 4, 3, 3)
    generator = KernelGenerator(8, 5, modulated.shapes, KernelConfig(width=16, heads=2))
    base = [layer.weight for layer in modulated.modulated_layers()]
    kernels = generator(torch.randn(2, 4, 8), torch.randn(2, 64, 16), base)
    pan, lms = torch.rand(2, 1, 16, 16), torch.rand(2, 4, 16, 16)
    fused = modulated(pan, lms, kernels=kernels)
    torch.testing.assert_close(fused, modulated(pan, lms), rtol=0, atol=0.3)
    fused.square().mean().backward()
    assert all(layer.weight.grad.any() for layer in modulated.modulated_layers())


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        (nn.Conv2d, ("stem", "body.0", "down", "tail")),
        ("body.*", ("body.0",)),
        (["t*", "stem"], ("stem", "tail")),
    ],
)
def test_layers_are_chosen_by_type_or_name(net, layers, names):
    modulated = ksdiff.modulate(net, layers, ranks=(16, 4, 1, 3))
    assert modulated.names == names
    for shape in modulated.shapes:
        assert shape.ranks == tuple(map(min, (16, 4, 1, 3), shape.modes))


def test_a_network_that_is_one_convolution():
    modulated = ksdiff.modulate(nn.Conv2d(2, 3, 3))
    x, kernel = torch.randn(1, 2, 7, 7), torch.randn(1, 3, 2, 3, 3)
    expected = F.conv2d(x, kernel[0], modulated.module.bias)
    torch.testing.assert_close(modulated(x, kernels=[kernel]), expected)


def test_it_compiles_whole(net):
    modulated = ksdiff.modulate(net)
    x, kernels = torch.randn(1, 3, 12, 10), [torch.randn(1, *s.modes) for s in modulated.shapes]
    compiled = torch.compile(modulated, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, kernels=kernels), modulated(x, kernels=kernels))


class OwnConv(nn.Conv2d):
    def forward(self, x):
        return super().forward(2 * x)


def _tied() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3))
    net[1].weight = net[0].weight
    return net


@pytest.mark.parametrize(
    ("module", "options", "error", "message"),
    [
        (nn.Linear(2, 2), {}, ValueError, "fits no convolution; there are none at all"),
        (Net(), {"layers": "head*"}, ValueError, r"'head\*' fits no convolution; .* 'stem'"),
        (Net(), {"ranks": (4, 4, 0, 2)}, ValueError, "ranks: expected four positive integers"),
        (nn.Sequential(OwnConv(2, 2, 3)), {}, TypeError, "'0' is a OwnConv"),
        (_tied(), {}, ValueError, "'0' and '1' share one weight"),
        (
            nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 3))),
            {},
            TypeError,
            "'0' is a Parametrized",
        ),
    ],
)
def test_what_cannot_be_modulated_says_why(module, options, error, message):
    with pytest.raises(error, match=message):
        ksdiff.modulate(module, **options)


def test_kernels_that_do_not_fit_are_named(net):
    modulated = ksdiff.modulate(net, "tail")
    with pytest.raises(ValueError, match="kernels: expected 1, one for each"):
        modulated(torch.randn(1, 3, 12, 10), kernels=[])
    with pytest.raises(ValueError, match=r"layer 'tail' expects \[B or 1, 2, 6, 1, 1\], got"):
        modulated(torch.randn(1, 3, 12, 10), kernels=[torch.randn(1, 2, 6, 3, 3)])


def test_the_example_modulates_a_network_of_its_own():
    path = Path(__file__).parents[2] / "examples" / "modulate_your_network.py"
    example = runpy.run_path(str(path))
    network = example["EDSR"](4)
    state = copy.deepcopy(network.state_dict())
    model = example["kernel_space"](network)
    assert model.network.names == tuple(f"body.{i}.conv{k}" for i in range(3) for k in (1, 2))
    inputs, gt = example["random_images"](2)
    prior = model.target_prior(inputs, gt)
    kernels = model.kernels(prior, model.local_tokens(inputs)).layers
    assert not torch.allclose(kernels[0][0], kernels[0][1])
    assert model(inputs, prior).shape == gt.shape
    network.load_state_dict(state)

"""Layers of published networks, each against its formula, written with `F.unfold`."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import ksdiff_ops
from ksdiff_ops.nn import CARAFE, DDF, FAC, PAC, Involution, KPNHead, LAGConv, SeparableHead

pytestmark = pytest.mark.usefixtures("seeded")
every_backend = pytest.mark.parametrize("backend", ["cpu", "reference"])


def patches(x, k, stride=1, dilation=1):
    """[B, C, k, k, Ho, Wo] of an odd kernel, zeros outside."""
    padding = dilation * (k // 2)
    rows = (x.shape[2] - 1) // stride + 1
    unfolded = F.unfold(x, k, dilation, padding, stride)
    return unfolded.unflatten(1, (-1, k, k)).unflatten(4, (rows, -1))


def assert_layer(layer, inputs, formula):
    """Values, and gradients of inputs and parameters."""
    layer = layer.double()
    inputs = [i.double().requires_grad_() for i in inputs]
    everything = [*inputs, *layer.parameters()]
    got, expected = layer(*inputs), formula(layer, *inputs)
    torch.testing.assert_close(got, expected)
    upstream = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(got, everything, upstream),
        torch.autograd.grad(expected, everything, upstream),
    )


@every_backend
@pytest.mark.parametrize("stride", [1, 2])
def test_ddf(backend, stride):
    def formula(layer, x):
        spatial, channel = layer.filters(x)
        for filters, axes in ((spatial, (1, 2)), (channel, (3, 4))):
            torch.testing.assert_close(filters.mean(axes), torch.zeros_like(filters.mean(axes)))
        weight = spatial[:, None] * channel.flatten(1, 2)[..., None, None]
        return (patches(x, 3, stride) * weight).sum((2, 3))

    layer = DDF(4, stride=stride, backend=backend)
    assert_layer(layer, [torch.randn(2, 4, 7, 6)], formula)


@every_backend
@pytest.mark.parametrize("stride", [1, 2])
def test_involution(backend, stride):
    def formula(layer, x):
        pooled = F.avg_pool2d(x, stride, ceil_mode=True) if stride > 1 else x
        kernels = layer.span(layer.reduce(pooled)).unflatten(1, (2, 1, 3, 3))
        return (patches(x, 3, stride).unflatten(1, (2, 4)) * kernels).sum((3, 4)).flatten(1, 2)

    layer = Involution(8, 3, stride=stride, group_channels=4, backend=backend).eval()
    assert_layer(layer, [torch.randn(2, 8, 8, 6)], formula)


@every_backend
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_carafe(backend, scale):
    def formula(layer, x):
        kernels = layer.kernels(x)
        near = patches(x, 3).flatten(1, 3)
        near = F.interpolate(near, scale_factor=scale, mode="nearest").unflatten(1, (-1, 3, 3))
        return (near * kernels).sum((2, 3))

    layer = CARAFE(3, scale, 3, hidden=4, backend=backend)
    assert_layer(layer, [torch.randn(2, 3, 4, 5)], formula)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_carafe_with_groups_of_channels(groups):
    x = torch.randn(2, 4, 3, 4, dtype=torch.float64)
    weight = torch.randn(2, groups, 3, 3, 6, 8, dtype=torch.float64)
    repeated = F.interpolate(x, scale_factor=2, mode="nearest")
    expected = ksdiff_ops.dynamic_conv(repeated, weight, dilation=2)
    torch.testing.assert_close(ksdiff_ops.carafe(x, weight), expected)


@every_backend
def test_fac(backend):
    def formula(layer, x, filters):
        edge = F.pad(x, (1, 1, 1, 1), mode="replicate")
        near = F.unfold(edge, 3).unflatten(1, (4, 9)).unflatten(3, x.shape[2:])
        return (near * filters.unflatten(1, (4, 9))).sum(2)

    inputs = [torch.randn(2, 4, 5, 6), torch.randn(2, 36, 5, 6)]
    assert_layer(FAC(3, backend=backend), inputs, formula)


@every_backend
def test_lagconv(backend):
    def formula(layer, x):
        scaled = patches(x, 3) * layer.attention(x).unflatten(1, (1, 3, 3))
        return (
            torch.einsum("bcijhw,ocij->bohw", scaled, layer.weight) + layer.bias(x)[..., None, None]
        )

    assert_layer(LAGConv(3, 4, backend=backend), [torch.randn(2, 3, 5, 6)], formula)


@every_backend
@pytest.mark.parametrize(("dilation", "groups"), [(1, 1), (2, 1), (1, 2)])
def test_pac(backend, dilation, groups):
    def formula(layer, x, guide):
        near, own = patches(guide, 3, dilation=dilation), guide[:, :, None, None]
        attention = (-0.5 * (near - own).square().sum(1, keepdim=True)).exp()
        scaled = (patches(x, 3, dilation=dilation) * attention).unflatten(1, (groups, -1))
        weight = layer.weight.unflatten(0, (groups, -1))
        y = torch.einsum("bgcijhw,gocij->bgohw", scaled, weight).flatten(1, 2)
        return y + layer.bias[:, None, None]

    layer = PAC(4, 6, dilation=dilation, groups=groups, backend=backend)
    assert_layer(layer, [torch.randn(2, 4, 5, 6), torch.randn(2, 2, 5, 6)], formula)


@every_backend
def test_kpn_head(backend):
    def formula(layer, features, noisy):
        weights = layer.predict(features).softmax(1).unflatten(1, (1, 3, 3))
        return (patches(noisy, 3) * weights).sum((2, 3))

    inputs = [torch.randn(2, 4, 5, 6), torch.randn(2, 3, 5, 6)]
    assert_layer(KPNHead(4, 3, backend=backend), inputs, formula)


@every_backend
@pytest.mark.parametrize("k", [3, 4, 9])
def test_separable_head(backend, k):
    def formula(layer, features, frame):
        before, after = (k - 1) // 2, k // 2
        edge = F.pad(frame, (before, after, before, after), mode="replicate")
        near = F.unfold(edge, k).unflatten(1, (3, k, k)).unflatten(4, frame.shape[2:])
        vertical, horizontal = layer.vertical(features), layer.horizontal(features)
        return torch.einsum("bcijhw,bihw,bjhw->bchw", near, vertical, horizontal)

    inputs = [torch.randn(2, 2, 5, 6), torch.randn(2, 3, 5, 6)]
    assert_layer(SeparableHead(2, k, backend=backend), inputs, formula)


@pytest.mark.parametrize(("kernel", "dilation"), [((3, 5), 1), ((4, 2), (2, 1)), ((25, 1), 1)])
def test_separable_kernels_are_products(kernel, dilation):
    x = torch.randn(2, 4, 6, 7, dtype=torch.float64)
    vertical, horizontal = (torch.randn(2, 2, k, 6, 7, dtype=torch.float64) for k in kernel)
    weight = vertical[:, :, :, None] * horizontal[:, :, None]
    expected = ksdiff_ops.dynamic_conv(x, weight, dilation=dilation)
    got = ksdiff_ops.separable_dynamic_conv(x, vertical, horizontal, dilation=dilation)
    torch.testing.assert_close(got, expected)


@every_backend
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("padding", ["same", "symmetric", 2])
def test_adaptive_conv2d_with_a_window_and_groups(backend, own, padding):
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    weight = torch.randn(*((2,) if own else ()), 6, 2, 3, 3, dtype=torch.float64)
    kernels = weight if own else weight.expand(2, -1, -1, -1, -1)
    window = {"stride": (2, 1), "padding": padding, "dilation": (1, 2)}
    # With attention 1 it is the convolution.
    expected = ksdiff_ops.batched_conv2d(x, kernels, groups=2, **window)
    attention = torch.ones(2, 3, 3, *expected.shape[2:], dtype=torch.float64)
    got = ksdiff_ops.adaptive_conv2d(x, attention, weight, groups=2, backend=backend, **window)
    torch.testing.assert_close(got, expected)


def test_symmetric_padding_differs_from_same_at_stride_2():
    x, weight = torch.randn(1, 1, 6, 6), torch.randn(1, 1, 3, 3, 3, 3)
    half = ksdiff_ops.dynamic_conv(x, weight, stride=2, padding=1)
    assert torch.equal(ksdiff_ops.dynamic_conv(x, weight, stride=2, padding="symmetric"), half)
    assert not torch.allclose(ksdiff_ops.dynamic_conv(x, weight, stride=2), half)


X, ONES = torch.zeros(2, 4, 6, 6), torch.ones(2, 3, 3, 6, 6)


@every_backend
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda **b: ksdiff_ops.dynamic_conv(X, torch.zeros(2, 36, 6, 6), **b),
            r"weight: expected 6 axes .*given as weight.unflatten\(1, \(G, kh, kw\)\)",
        ),
        (
            lambda **b: ksdiff_ops.adaptive_conv2d(
                X, torch.zeros(2, 9, 6, 6), torch.zeros(4, 4, 3, 3), **b
            ),
            r"attention: expected 5 axes .*given as attention.unflatten\(1, \(kh, kw\)\)",
        ),
        (
            lambda **b: ksdiff_ops.adaptive_conv2d(X, ONES, torch.zeros(4, 1, 3, 3), groups=3, **b),
            r"groups: expected a number of groups that divides x's 4 channels, got 3",
        ),
        (
            lambda **b: ksdiff_ops.adaptive_conv2d(X, ONES, torch.zeros(4, 4, 3, 3), stride=2, **b),
            r"attention: expected .* = \[2, 3, 3, 3, 3\], got shape \[2, 3, 3, 6, 6\]",
        ),
        (
            lambda **b: ksdiff_ops.dynamic_conv(
                X, torch.zeros(2, 1, 2, 3, 6, 6), padding="symmetric", **b
            ),
            r'padding: expected odd kernels for "symmetric", got 2 x 3',
        ),
        (
            lambda **b: ksdiff_ops.carafe(X, torch.zeros(2, 1, 3, 3, 12, 13), **b),
            r"weight: expected .* = \[2, 1, 3, 3, 12, 12\], got shape",
        ),
        (
            lambda **b: ksdiff_ops.carafe(X, torch.zeros(2, 1, 3, 3, 12, 12), 0, **b),
            r"scale: expected at least 1, got 0",
        ),
        (
            lambda **b: ksdiff_ops.separable_dynamic_conv(
                X, torch.zeros(2, 3, 5, 6, 6), torch.zeros(2, 3, 5, 6, 6), **b
            ),
            r"vertical: .*groups that divides x's 4 channels, got 3",
        ),
    ],
)
def test_wrong_arguments_are_named(call, words, backend):
    with pytest.raises(ValueError, match=words):
        call(backend=backend)


def test_a_layer_of_each_kind_is_a_module_that_trains():
    layer = nn.Sequential(DDF(4), nn.ReLU(), CARAFE(4, hidden=4))
    layer(torch.randn(1, 4, 5, 5)).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())

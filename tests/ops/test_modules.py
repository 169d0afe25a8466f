"""The layers of `ksdiff_ops`: their functional forms, with parameters that torch can handle."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import ksdiff_ops


def adaptive(**kind) -> nn.Module:
    return ksdiff_ops.AdaptiveConv2d(3, 4, (3, 1), **kind)


def lowrank(**kind) -> nn.Module:
    return ksdiff_ops.LowRankDynamicConv(3, (3, 5), 2, stride=2, dilation=(1, 2), **kind)


def adaptive_function(layer, x, attention):
    return ksdiff_ops.adaptive_conv2d(x, attention, layer.weight, layer.bias)


def lowrank_function(layer, x, coeff):
    return ksdiff_ops.lowrank_dynamic_conv(x, coeff, layer.basis, stride=2, dilation=(1, 2))


CASES = [
    (adaptive, [(2, 3, 7, 9), (2, 3, 1, 7, 9)], adaptive_function),
    (lowrank, [(2, 4, 8, 9), (2, 2, 3, 4, 5)], lowrank_function),
]
every_layer = pytest.mark.parametrize(
    ("make", "shapes", "function"), CASES, ids=["AdaptiveConv2d", "LowRankDynamicConv"]
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(4)


@every_layer
def test_values_are_those_of_the_function(make, shapes, function):
    layer, inputs = make(), [torch.randn(shape) for shape in shapes]
    assert torch.equal(layer(*inputs), function(layer, *inputs))


@every_layer
def test_takes_the_backend_asked_for(make, shapes, function):
    layer, inputs = make(backend="reference"), [torch.randn(shape) for shape in shapes]
    torch.testing.assert_close(layer(*inputs), function(layer, *inputs))
    with pytest.raises(ValueError, match=r"backend: expected one of .*, got 'gpu'"):
        make(backend="gpu")(*inputs)


@every_layer
def test_gradients_are_right_for_parameters_and_inputs(make, shapes, function):
    layer = make(dtype=torch.float64)
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def call(*tensors):
        state = dict(zip(names, tensors[len(inputs) :], strict=True))
        return torch.func.functional_call(layer, state, tensors[: len(inputs)])

    assert torch.autograd.gradcheck(call, (*inputs, *parameters))


@every_layer
def test_state_goes_from_layer_to_layer(make, shapes, function):
    first, second = make(), make()
    inputs = [torch.randn(shape) for shape in shapes]
    assert not torch.equal(first(*inputs), second(*inputs))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(*inputs), second(*inputs))


@every_layer
def test_a_deep_copy_has_parameters_of_its_own(make, shapes, function):
    layer, inputs = make(), [torch.randn(shape) for shape in shapes]
    before = layer(*inputs)
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(*inputs), before)
    nn.init.zeros_(next(twin.parameters()))
    assert torch.equal(layer(*inputs), before)
    assert not torch.equal(twin(*inputs), before)


@every_layer
def test_compiles_as_one_graph(make, shapes, function):
    layer, inputs = make(), [torch.randn(shape) for shape in shapes]
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), layer(*inputs))
    compiled(*inputs).sum().backward()
    assert all(parameter.grad.any() for parameter in layer.parameters())


@every_layer
def test_is_made_on_the_device_and_in_the_dtype_asked_for(make, shapes, function):
    layer = make(device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.bfloat16)}


def test_says_what_it_is():
    assert repr(ksdiff_ops.AdaptiveConv2d(3, 5, 3)) == "AdaptiveConv2d(3, 5, kernel_size=(3, 3))"
    assert repr(ksdiff_ops.AdaptiveConv2d(3, 5, (1, 3), bias=False)) == (
        "AdaptiveConv2d(3, 5, kernel_size=(1, 3), bias=False)"
    )
    assert repr(ksdiff_ops.LowRankDynamicConv(4, 5)) == (
        "LowRankDynamicConv(rank=4, kernel_size=(5, 5))"
    )
    assert repr(ksdiff_ops.LowRankDynamicConv(4, 5, 2, stride=2, dilation=3)) == (
        "LowRankDynamicConv(rank=4, kernel_size=(5, 5), groups=2, stride=(2, 2), dilation=(3, 3))"
    )


@settings(max_examples=20)
@given(
    inputs=st.integers(1, 5),
    outputs=st.integers(1, 5),
    kernel=st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3, 5])),
    bias=st.booleans(),
)
def test_adaptive_convolution_without_attention_is_the_convolution_drawn_alike(
    inputs, outputs, kernel, bias
):
    torch.manual_seed(0)
    layer = ksdiff_ops.AdaptiveConv2d(inputs, outputs, kernel, bias)
    torch.manual_seed(0)
    peer = nn.Conv2d(inputs, outputs, kernel, padding="same", bias=bias)
    torch.testing.assert_close(layer.state_dict(), peer.state_dict())
    x = torch.randn(2, inputs, 6, 7)
    torch.testing.assert_close(layer(x, torch.ones(2, *kernel, 6, 7)), peer(x))


@pytest.mark.parametrize("shape", [(4,), (2, 4)])
def test_a_bias_may_come_with_the_call(shape):
    layer, bias = ksdiff_ops.AdaptiveConv2d(3, 4, 3), torch.randn(shape)
    x, attention = torch.randn(2, 3, 5, 6), torch.rand(2, 3, 3, 5, 6)
    expected = ksdiff_ops.adaptive_conv2d(x, attention, layer.weight, bias)
    assert torch.equal(layer(x, attention, bias), expected)


def test_mixtures_of_one_basis_kernel_are_that_kernel_scaled():
    layer = ksdiff_ops.LowRankDynamicConv(2, 3)
    x, coeff = torch.randn(1, 4, 6, 7), torch.zeros(1, 1, 2, 6, 7)
    coeff[:, :, 1] = 2.0
    kernel = layer.basis[0, 1].expand(4, 1, 3, 3)
    torch.testing.assert_close(layer(x, coeff), 2 * F.conv2d(x, kernel, padding=1, groups=4))


def test_basis_kernels_begin_so_that_their_mixture_is_of_order_one():
    basis = ksdiff_ops.LowRankDynamicConv(8, 5, groups=30).basis
    bound = (8 * 5 * 5) ** -0.5
    assert basis.abs().max() <= bound
    assert basis.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: ksdiff_ops.AdaptiveConv2d(0, 4, 3), ValueError, "in_channels: .* least 1, got 0"),
        (lambda: ksdiff_ops.AdaptiveConv2d(3, 4.0, 3), TypeError, "out_channels: .* int, got 4.0"),
        (lambda: ksdiff_ops.AdaptiveConv2d(3, 4, (3, 0)), ValueError, "kernel_size: .* least 1"),
        (lambda: ksdiff_ops.LowRankDynamicConv(True, 3), TypeError, "rank: .* an int, got True"),
        (lambda: ksdiff_ops.LowRankDynamicConv(2, 3, 0), ValueError, "groups: .* least 1, got 0"),
        (lambda: ksdiff_ops.LowRankDynamicConv(2, 3, stride=0), ValueError, "stride: .* least 1"),
        (lambda: ksdiff_ops.LowRankDynamicConv(2, "3"), TypeError, "kernel_size: .* got '3'"),
    ],
)
def test_wrong_arguments_are_named(make, error, words):
    with pytest.raises(error, match=words):
        make()

"""The operators under PyTorch's tools: ONNX export, tracing, counting of flops."""

import io

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import ksdiff_ops
from ksdiff_ops import (
    adaptive_conv2d,
    batched_conv2d,
    dynamic_conv,
    lowrank_dynamic_conv,
    tucker_kernel,
)

pytestmark = pytest.mark.usefixtures("seeded")


class Calls(nn.Module):
    """All five operators."""

    def forward(self, x, weight, coeff, basis, core, factors, attention):
        y = dynamic_conv(x, weight)
        y = lowrank_dynamic_conv(y, coeff, basis, stride=2)
        y = batched_conv2d(y, tucker_kernel(core, factors), dilation=2)
        return adaptive_conv2d(y, attention, torch.ones(3, 2, 1, 2))


def inputs(batch, height, width):
    factors = [torch.randn(batch, size, 1) for size in (2, 2, 2, 1)]
    return (
        torch.randn(batch, 2, 2 * height, 2 * width),
        torch.randn(batch, 1, 1, 2, 2 * height, 2 * width),
        torch.randn(batch, 2, 1, height, width),
        torch.randn(2, 1, 2, 1),
        torch.randn(batch, 1, 1, 1, 1),
        factors,
        torch.randn(batch, 1, 2, height, width),
    )


@pytest.mark.filterwarnings("ignore")
def test_exported_to_onnx_all_five_give_the_same_for_any_size():
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    auto = torch.export.Dim.AUTO
    image, planes = {0: auto, 2: auto, 3: auto}, {0: auto, 4: auto, 5: auto}
    five = {0: auto, 3: auto, 4: auto}
    each = {0: auto}
    shapes = (image, planes, five, None, each, [each] * 4, five)
    program = torch.onnx.export(
        Calls(), inputs(2, 3, 4), dynamo=True, dynamic_shapes=shapes, verbose=False
    )
    stored = io.BytesIO()
    program.save(stored)
    session = runtime.InferenceSession(stored.getvalue(), providers=["CPUExecutionProvider"])
    for size in ((2, 3, 4), (3, 5, 6)):
        args = inputs(*size)
        flat = [*args[:5], *args[5], args[6]]
        names = [given.name for given in session.get_inputs()]
        fed = {name: value.numpy() for name, value in zip(names, flat, strict=True)}
        got = torch.from_numpy(session.run(None, fed)[0])
        torch.testing.assert_close(got, Calls()(*args), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_torch_jit_trace_is_refused_in_words_and_takes_the_reference():
    x, weight = torch.randn(1, 2, 5, 5), torch.randn(1, 1, 3, 3, 5, 5)
    with pytest.raises(RuntimeError, match=r"dynamic_conv: torch.jit.trace cannot .*'reference'"):
        torch.jit.trace(dynamic_conv, (x, weight))
    traced = torch.jit.trace(lambda *a: dynamic_conv(*a, backend="reference"), (x, weight))
    torch.testing.assert_close(traced(x, weight), dynamic_conv(x, weight))


def test_torch_fx_traces_a_call_as_one_node():
    traced = torch.fx.symbolic_trace(Calls())
    called = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    for operator in (dynamic_conv, lowrank_dynamic_conv, tucker_kernel, adaptive_conv2d):
        assert operator in called
    args = inputs(2, 3, 4)
    torch.testing.assert_close(traced(*args), Calls()(*args))


class Marked(torch.Tensor):
    pass


def test_tensor_subclasses_stay_what_they_are():
    x, weight = torch.randn(1, 2, 5, 5), torch.randn(1, 1, 3, 3, 5, 5)
    y = dynamic_conv(x.as_subclass(Marked), weight)
    assert type(y) is Marked
    assert torch.equal(y.as_subclass(torch.Tensor), dynamic_conv(x, weight))


def flops(call, *args):
    with FlopCounterMode(display=False) as counter:
        call(*args)
    return counter.get_total_flops()


def test_flops_are_those_of_the_sums():
    x, base = torch.randn(2, 4, 6, 5), torch.randn(2, 8, 4, 3, 3)
    as_pytorch = flops(nn.functional.conv2d, x, base[0], None, 1, "same")
    assert flops(batched_conv2d, x, base) == as_pytorch
    assert flops(adaptive_conv2d, x, torch.randn(2, 3, 3, 6, 5), base[0]) == as_pytorch
    pixels = 2 * 6 * 5
    planes, coeff = torch.randn(2, 2, 3, 3, 6, 5), torch.randn(2, 2, 7, 6, 5)
    assert flops(dynamic_conv, x, planes) == 2 * pixels * 4 * 9
    basis = torch.randn(2, 7, 3, 3)
    assert flops(lowrank_dynamic_conv, x, coeff, basis) == 2 * pixels * 9 * (4 + 2 * 7)
    factors = [torch.randn(2, size, 2) for size in (8, 4, 3, 3)]
    chain = 2 * 2 * (16 * 3 + 8 * 9 + 4 * 4 * 9 + 2 * 8 * 4 * 9)
    assert flops(tucker_kernel, torch.randn(2, 2, 2, 2, 2), factors) == chain


def test_gradients_cost_as_much_each_as_the_forward_pass():
    x = torch.randn(2, 4, 6, 5, requires_grad=True)
    planes = torch.randn(2, 2, 3, 3, 6, 5, requires_grad=True)
    forward = flops(dynamic_conv, x, planes)
    assert flops(lambda: dynamic_conv(x, planes).sum().backward()) == 3 * forward


def test_integers_may_be_numpy_s():
    x, weight = torch.randn(1, 4, 6, 6), torch.randn(1, 4, 2, 3, 3)
    two = np.int64(2)
    got = batched_conv2d(x, weight, stride=(two, 1), dilation=two, groups=two)
    assert torch.equal(got, batched_conv2d(x, weight, stride=(2, 1), dilation=2, groups=2))
    assert ksdiff_ops.LowRankDynamicConv(two, np.int32(3)).basis.shape == (1, 2, 3, 3)
    with pytest.raises(TypeError, match="stride: expected an int or two"):
        batched_conv2d(x, weight, stride=np.float64(2), groups=2)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_an_absurd_dilation_is_an_error(backend):
    x, weight = torch.randn(1, 1, 6, 6), torch.randn(1, 1, 3, 3, 6, 6)
    words = r"dilation: expected .* at most 4096 pixels of an image of 6, got 2000001"
    with pytest.raises(ValueError, match=words):
        dynamic_conv(x, weight, dilation=10**6, backend=backend)
    kept = dynamic_conv(x, weight, dilation=500, backend=backend)
    torch.testing.assert_close(kept, x * weight[:, :, 1, 1])

"""What every operator promises beside its values: gradients of every order, shapes for tracing,
compilation, autocast, strides, empty batches, the same bits again."""

from functools import partial

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import ksdiff_ops
from ksdiff_ops import (
    adaptive_conv2d,
    batched_conv2d,
    dynamic_conv,
    lowrank_dynamic_conv,
    tucker_kernel,
)

WINDOW = ([2, 1], [1, 1], [1, 2])  # stride, padding, dilation


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def tucker(core, u1, u2, u3, u4, base=None):
    return tucker_kernel(core, (u1, u2, u3, u4), base)


def strided_dynamic_conv():
    return partial(dynamic_conv, stride=(2, 1)), (double(2, 4, 5, 4), double(2, 2, 3, 2, 3, 4))


def dilated_lowrank_dynamic_conv():
    inputs = double(2, 4, 4, 3), double(2, 2, 2, 4, 3), double(2, 2, 3, 2)
    return partial(lowrank_dynamic_conv, dilation=(2, 1)), inputs


def tucker_kernel_with_base():
    factors = double(2, 3, 2), double(2, 2, 2), double(2, 3, 2), double(2, 2, 1)
    return tucker, (double(2, 2, 2, 2, 1), *factors, double(3, 2, 3, 2))


def tucker_kernel_without_base():
    operator, inputs = tucker_kernel_with_base()
    return operator, inputs[:-1]


def strided_batched_conv2d():
    inputs = double(2, 4, 5, 4), double(2, 6, 2, 3, 2)
    return partial(batched_conv2d, stride=(2, 1), groups=2), inputs


def small_adaptive_conv2d():
    inputs = double(2, 3, 4, 5), double(2, 3, 2, 4, 5), double(4, 3, 3, 2)
    return adaptive_conv2d, inputs


CASES = (
    strided_dynamic_conv,
    dilated_lowrank_dynamic_conv,
    tucker_kernel_with_base,
    tucker_kernel_without_base,
    strided_batched_conv2d,
    small_adaptive_conv2d,
)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
pytestmark = pytest.mark.usefixtures("seeded")


@every_case
def test_gradients_are_those_of_finite_differences(case):
    assert gradcheck(*case(), check_forward_ad=True, check_batched_grad=True)


@every_case
def test_second_gradients_are_those_of_finite_differences(case):
    assert gradgradcheck(*case(), check_fwd_over_rev=True, check_batched_grad=True)


@every_case
def test_third_gradients_exist(case):
    operator, inputs = case()
    value = operator(*inputs).sin().sum()
    for _ in range(3):
        gradient = torch.autograd.grad(value, inputs[0], create_graph=True)[0]
        value = gradient.square().sum()
    assert value.isfinite()


LOW_LEVEL = {
    "dynamic_conv": ((2, 4, 7, 6), (2, 2, 3, 2, 4, 6), *WINDOW),
    "dynamic_conv_grad_input": ((2, 4, 4, 6), (2, 2, 3, 2, 4, 6), [7, 6], *WINDOW),
    "dynamic_conv_grad_weight": ((2, 4, 4, 6), (2, 4, 7, 6), 2, [3, 2], *WINDOW),
    "lowrank_dynamic_conv": ((2, 4, 7, 6), (2, 2, 3, 4, 6), (2, 2, 3, 3, 2), *WINDOW),
    "lowrank_dynamic_conv_grad_input": (
        *((2, 4, 4, 6), (2, 2, 3, 4, 6), (2, 2, 3, 3, 2), [7, 6]),
        *WINDOW,
    ),
    "lowrank_dynamic_conv_grad_coeff": (
        *((2, 4, 4, 6), (2, 4, 7, 6), (2, 2, 3, 3, 2)),
        *WINDOW,
    ),
    "lowrank_dynamic_conv_grad_basis": (
        *((2, 4, 4, 6), (2, 4, 7, 6), (2, 2, 3, 4, 6), [3, 2]),
        *WINDOW,
    ),
    "tucker_kernel": (
        *((2, 4, 3, 2, 1), (2, 5, 4), (2, 3, 3), (2, 3, 2), (2, 2, 1)),
        (5, 3, 3, 2),
    ),
    "tucker_kernel_backward": (
        *((2, 5, 3, 3, 2), (2, 4, 3, 2, 1), (2, 5, 4), (2, 3, 3), (2, 3, 2), (2, 2, 1)),
        (5, 3, 3, 2),
    ),
    "batched_conv2d": ((2, 4, 7, 6), (2, 6, 2, 3, 2), [4, 6], *WINDOW, 2),
    "batched_conv2d_grad_input": ((2, 6, 4, 6), (2, 6, 2, 3, 2), [7, 6], *WINDOW, 2),
    "batched_conv2d_grad_weight": ((2, 6, 4, 6), (2, 4, 7, 6), [3, 2], *WINDOW, 2),
    "adaptive_conv2d": ((2, 3, 4, 5), (2, 3, 2, 4, 5), (6, 3, 3, 2)),
    "adaptive_conv2d_grad_input": ((2, 6, 4, 5), (2, 3, 2, 4, 5), (6, 3, 3, 2)),
    "adaptive_conv2d_grad_attention": ((2, 6, 4, 5), (2, 3, 4, 5), (6, 3, 3, 2)),
    "adaptive_conv2d_grad_weight": ((2, 6, 4, 5), (2, 3, 4, 5), (2, 3, 2, 4, 5)),
}


@pytest.mark.parametrize("name", LOW_LEVEL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_level_operators_pass_opcheck(name, dtype):
    args = [
        torch.randn(arg, dtype=dtype, requires_grad=True) if isinstance(arg, tuple) else arg
        for arg in LOW_LEVEL[name]
    ]
    torch.library.opcheck(getattr(torch.ops.ksdiff_ops, name).default, args)


def test_tucker_kernel_passes_opcheck_without_a_base():
    shapes = LOW_LEVEL["tucker_kernel_backward"][:-1]
    grad, *args = (torch.randn(shape, requires_grad=True) for shape in shapes)
    torch.library.opcheck(torch.ops.ksdiff_ops.tucker_kernel.default, (*args, None))
    torch.library.opcheck(torch.ops.ksdiff_ops.tucker_kernel_backward.default, (grad, *args, None))


def three_operators(x, weight, coeff, basis, core, factors, base):
    y = dynamic_conv(x, weight, stride=2)
    y = lowrank_dynamic_conv(y, coeff, basis)
    kernel = tucker_kernel(core, factors, base)
    return torch.nn.functional.conv2d(y, kernel[0], padding="same")


def three_operators_inputs(height, width):
    ho, wo = (height + 1) // 2, (width + 1) // 2
    shapes = (2, 4, height, width), (2, 2, 3, 3, ho, wo), (2, 4, 2, ho, wo), (4, 2, 5, 5)
    factors = [double(1, size, 2) for size in (5, 4, 3, 3)]
    tensors = [double(*shape) for shape in shapes]
    return (*tensors, double(1, 2, 2, 2, 2), factors, double(5, 4, 3, 3))


def leaves(args):
    return [*args[:5], *args[5], args[6]]


@pytest.mark.parametrize("dynamic", [False, True])
def test_all_trace_into_one_graph_forward_and_backward(dynamic):
    torch.compiler.reset()
    traced = torch.compile(three_operators, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for height, width in ((10, 12), (9, 15)):
        args = three_operators_inputs(height, width)
        expected, got = three_operators(*args), traced(*args)
        torch.testing.assert_close(got, expected)
        upstream = torch.randn_like(expected)
        for mine, theirs in zip(
            torch.autograd.grad(got, leaves(args), upstream),
            torch.autograd.grad(expected, leaves(args), upstream),
            strict=True,
        ):
            torch.testing.assert_close(mine, theirs)


def test_compiles_between_other_code():
    def layer(x, weight):
        return dynamic_conv(x.relu(), weight.sigmoid()).square()

    torch.compiler.reset()
    inputs = double(1, 4, 6, 7), double(1, 2, 3, 3, 6, 7)
    expected, got = layer(*inputs), torch.compile(layer, fullgraph=True)(*inputs)
    torch.testing.assert_close(got, expected)
    for mine, theirs in zip(
        torch.autograd.grad(got.sum(), inputs),
        torch.autograd.grad(expected.sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_call_gives_the_same_bits(case, dtype):
    operator, inputs = case()
    inputs = [t.detach().to(dtype).requires_grad_() for t in inputs]
    results = []
    for _ in range(2):
        output = operator(*inputs)
        results.append([output, *torch.autograd.grad(output.square().sum(), inputs)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def sliced(tensor):
    roomy = torch.full([2 * size + 1 for size in tensor.shape], float("nan"), dtype=tensor.dtype)
    view = roomy[tuple(slice(1, None, 2) for _ in tensor.shape)]
    return view.copy_(tensor)


def transposed(tensor):
    return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)


def channels_last(tensor):
    return tensor.movedim(1, -1).contiguous().movedim(-1, 1)


@every_case
@pytest.mark.parametrize("layout", [sliced, transposed, channels_last])
def test_strides_do_not_matter(case, layout):
    operator, inputs = case()
    plain = [t.detach().requires_grad_() for t in inputs]
    strided = [layout(t.detach()).requires_grad_() for t in inputs]
    expected, got = operator(*plain), operator(*strided)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    assert got.is_contiguous() or case is strided_batched_conv2d
    upstream = torch.randn_like(expected)
    for mine, theirs in zip(
        torch.autograd.grad(got, strided, layout(upstream)),
        torch.autograd.grad(expected, plain, upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@every_case
def test_expanded_inputs_and_gradients_are_read_right(case):
    operator, inputs = case()
    # The gradient that a sum sends back is one number, expanded.
    expanded = [t.detach()[:1].expand_as(t).requires_grad_() for t in inputs]
    copied = [t.detach().clone().requires_grad_() for t in expanded]
    operator(*copied).backward(torch.ones_like(operator(*copied)))
    grads = torch.autograd.grad(operator(*expanded).sum(), expanded)
    assert all(torch.equal(g, c.grad) for g, c in zip(grads, copied, strict=True))


@every_case
def test_only_the_gradients_that_are_wanted_are_made(case):
    operator, inputs = case()
    for wanted in range(len(inputs)):
        some = [t.detach().requires_grad_(i == wanted) for i, t in enumerate(inputs)]
        grad = torch.autograd.grad(operator(*some).sum(), some[wanted])[0]
        every = torch.autograd.grad(operator(*inputs).sum(), inputs)[wanted]
        assert torch.equal(grad, every)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_empty_batches_give_empty_outputs_and_zero_gradients(backend):
    x = torch.randn(0, 4, 5, 6, requires_grad=True)
    weight = torch.randn(0, 2, 3, 3, 5, 6, requires_grad=True)
    y = dynamic_conv(x, weight, backend=backend)
    assert y.shape == (0, 4, 5, 6)
    assert [g.shape for g in torch.autograd.grad(y.sum(), (x, weight))] == [x.shape, weight.shape]
    basis = torch.randn(2, 3, 3, 3, requires_grad=True)
    y = lowrank_dynamic_conv(x, torch.randn(0, 2, 3, 5, 6), basis, backend=backend)
    assert torch.equal(torch.autograd.grad(y.sum(), basis)[0], torch.zeros_like(basis))
    base = torch.randn(5, 4, 3, 3, requires_grad=True)
    factors = [torch.randn(0, size, 2) for size in (5, 4, 3, 3)]
    kernel = tucker_kernel(torch.randn(0, 2, 2, 2, 2), factors, base, backend=backend)
    assert kernel.shape == (0, 5, 4, 3, 3)
    assert torch.equal(torch.autograd.grad(kernel.sum(), base)[0], torch.zeros_like(base))
    mixer = torch.randn(6, 4, 3, 3, requires_grad=True)
    y = adaptive_conv2d(x, torch.randn(0, 3, 3, 5, 6), mixer, backend=backend)
    assert y.shape == (0, 6, 5, 6)
    assert torch.equal(torch.autograd.grad(y.sum(), mixer)[0], torch.zeros_like(mixer))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_autocast_lowers_convolutions_and_raises_kernels_to_float32(backend):
    x, weight = torch.randn(1, 4, 5, 6), torch.randn(1, 2, 3, 3, 5, 6).bfloat16()
    coeff, basis = torch.randn(1, 2, 3, 5, 6), torch.randn(2, 3, 3, 3)
    core, base = torch.randn(1, 2, 2, 2, 2).bfloat16(), torch.randn(5, 4, 3, 3)
    factors = [torch.randn(1, size, 2) for size in (5, 4, 3, 3)]
    x.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        dense = dynamic_conv(x, weight, backend=backend)
        mixed = lowrank_dynamic_conv(x, coeff, basis, backend=backend)
        kernel = tucker_kernel(core, factors, base, backend=backend)
        with pytest.raises(TypeError, match="weight"):
            dynamic_conv(x.double(), weight, backend=backend)
    assert (dense.dtype, mixed.dtype) == (torch.bfloat16, torch.bfloat16)
    assert kernel.dtype == torch.float32
    assert torch.autograd.grad(dense.sum() + mixed.sum(), x)[0].dtype == torch.float32
    assert torch.equal(dense, dynamic_conv(x.bfloat16(), weight, backend=backend))


def test_autocast_lowers_convolutions_with_bias():
    x, bias = torch.randn(2, 4, 5, 6, requires_grad=True), torch.randn(3)
    with torch.autocast("cpu", torch.bfloat16):
        own = batched_conv2d(x, torch.randn(2, 3, 4, 3, 3), bias)
        scaled = adaptive_conv2d(x, torch.randn(2, 3, 3, 5, 6), torch.randn(3, 4, 3, 3), bias)
    assert (own.dtype, scaled.dtype) == (torch.bfloat16, torch.bfloat16)
    assert torch.autograd.grad(own.sum() + scaled.sum(), x)[0].dtype == torch.float32


def test_meta_tensors_give_shapes():
    x, weight = torch.empty(2, 4, 9, 8, device="meta"), torch.empty(2, 1, 3, 3, 5, 4, device="meta")
    y = ksdiff_ops.dynamic_conv(x, weight, stride=2)
    assert y.device.type == "meta"
    assert y.shape == (2, 4, 5, 4)

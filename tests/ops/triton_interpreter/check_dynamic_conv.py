"""Values and gradients of dynamic_conv's Triton kernels."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_accuracy import assert_as_accurate_as_pytorch, with_gradients
from pytorchs_rules import assert_operators_keep_pytorchs_rules
from second_derivatives import assert_second_derivatives

from ksdiff_ops import dynamic_conv
from ksdiff_ops.arguments import resolve_window

pytestmark = pytest.mark.usefixtures("poisoned", "seeded")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
as_accurate = partial(assert_as_accurate_as_pytorch, backend="triton")


def tensors(batch, channels, groups, size, kernel, dtype=torch.float32, **window):
    settings = {"stride": 1, "padding": "same", "dilation": 1, **window}
    _, out = resolve_window(size, kernel, **settings)
    x = torch.randn(batch, channels, *size, dtype=dtype)
    return x, torch.randn(batch, groups, *kernel, *out, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype):
    as_accurate(dynamic_conv, tensors(1, 2, 1, (5, 7), (3, 3), dtype))


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (1, 5), (4, 3)])
def test_kernel_sizes_and_groups(kernel, programs):
    as_accurate(dynamic_conv, tensors(1, 2, 2, (6, 19), kernel))


@pytest.mark.parametrize("size", [5, 7])
def test_large_kernels(size):
    as_accurate(dynamic_conv, tensors(1, 2, 1, (4, 18), (size, size)))


@pytest.mark.parametrize("size", [(1, 1), (1, 129), (151, 1)])
def test_odd_image_sizes(size):
    as_accurate(dynamic_conv, tensors(1, 1, 1, size, (1, 3)))


def test_tiles_inside_the_image_are_read_without_masks(programs):
    as_accurate(dynamic_conv, tensors(1, 1, 1, (50, 18), (3, 1)))


@pytest.mark.parametrize(
    "window",
    [
        {"stride": 2},
        {"stride": (1, 3), "dilation": (2, 1), "padding": (3, 0)},
        {"dilation": 2, "padding": 0},
        {"padding": 9},
        {"stride": (4, 1), "dilation": (3, 1), "padding": 4},
    ],
)
def test_strides_dilations_and_paddings(window, programs):
    inputs = tensors(1, 2, 1, (7, 9), (3, 2), **window)
    as_accurate(partial(dynamic_conv, **window), inputs)


@pytest.mark.parametrize("window", [{}, {"stride": (2, 1), "dilation": (1, 2)}])
@pytest.mark.parametrize("channels", [1, 5])
def test_kernels_larger_than_the_registers(window, channels, few_registers):
    inputs = tensors(1, channels, 1, (6, 5), (3, 2), **window)
    as_accurate(partial(dynamic_conv, **window), inputs)


def test_shares_of_a_groups_channels():
    # 17 channels of one small image: two programs, one with a channel less.
    as_accurate(dynamic_conv, tensors(1, 17, 1, (2, 3), (1, 1)))


@settings(deadline=None, max_examples=4)
@given(data=st.data())
def test_random_arguments(data):
    whole = partial(st.integers, 1)
    groups = data.draw(whole(2), "groups")
    window = {
        "stride": data.draw(st.tuples(whole(3), whole(3)), "stride"),
        "dilation": data.draw(st.tuples(whole(2), whole(2)), "dilation"),
        "padding": data.draw(
            st.just("same") | st.tuples(st.integers(4, 6), st.integers(4, 6)), "padding"
        ),
    }
    inputs = tensors(
        data.draw(whole(2), "batch"),
        groups * data.draw(whole(2), "channels per group"),
        groups,
        data.draw(st.tuples(whole(9), whole(36)), "size"),
        data.draw(st.tuples(whole(3), whole(3)), "kernel"),
        data.draw(st.sampled_from(DTYPES), "dtype"),
        **window,
    )
    as_accurate(partial(dynamic_conv, **window), inputs)


@pytest.mark.parametrize("shape", [(0, 2), (1, 0)])
def test_empty_batches_and_channels(shape):
    x = torch.randn(*shape, 3, 4)
    weight = torch.randn(shape[0], 1, 3, 3, 3, 4)
    as_accurate(dynamic_conv, (x, weight))


def test_any_strides_of_inputs_and_gradients():
    x, weight = tensors(1, 2, 1, (4, 6), (3, 1))
    plain = with_gradients(dynamic_conv, (x, weight), "triton")
    sliced = torch.randn(1, 4, 8, 12)[:, ::2, ::2, ::2].copy_(x)
    last = weight.movedim(1, -1).contiguous().movedim(-1, 1)
    strided = with_gradients(dynamic_conv, (sliced, last), "triton")
    for got, expected in zip(strided, plain, strict=True):
        assert torch.equal(got, expected)

    x.requires_grad_()
    dynamic_conv(x, weight, backend="triton").sum().backward()
    expanded = x.grad
    x.grad = None
    dynamic_conv(x, weight, backend="reference").sum().backward()
    torch.testing.assert_close(expanded, x.grad)


def test_the_same_input_gives_the_same_bits():
    inputs = tensors(1, 3, 1, (5, 9), (3, 3))
    first = with_gradients(dynamic_conv, inputs, "triton")
    again = with_gradients(dynamic_conv, inputs, "triton")
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_values_that_are_not_finite_stay_in_their_windows():
    x, weight = tensors(1, 1, 1, (6, 20), (3, 3))
    x[0, 0, 0, 0] = torch.inf
    got = dynamic_conv(x, weight, backend="triton")
    expected = dynamic_conv(x, weight, backend="reference")
    torch.testing.assert_close(got, expected, equal_nan=True)


def test_second_derivatives_equal_the_references():
    window = {"stride": (2, 1), "dilation": (1, 2)}
    inputs = tensors(1, 2, 1, (3, 3), (2, 2), torch.float64, **window)
    assert_second_derivatives(partial(dynamic_conv, **window), inputs)


def test_operators_keep_pytorchs_rules():
    ops = torch.ops.ksdiff_ops_triton
    x, weight = (t.requires_grad_() for t in tensors(1, 1, 1, (2, 3), (1, 2)))
    window = ([1, 1], [0, 0], [1, 1])
    grad = torch.randn(1, 1, 2, 3, requires_grad=True)
    assert_operators_keep_pytorchs_rules(
        (ops.dynamic_conv, (x, weight, *window)),
        (ops.dynamic_conv_grad_input, (grad, weight, [2, 3], *window)),
        (ops.dynamic_conv_grad_weight, (grad, x, 1, [1, 2], *window)),
    )


def test_wrong_shapes_are_refused_before_the_launch():
    import ksdiff_ops.triton  # noqa: F401

    ops = torch.ops.ksdiff_ops_triton
    x, weight = tensors(1, 2, 1, (3, 4), (2, 2))
    window = ([1, 1], [0, 0], [1, 1])
    with pytest.raises(ValueError, match=r"weight: expected \[B, G, kh, kw, Ho, Wo\] = \[2, "):
        ops.dynamic_conv(torch.cat([x, x]), weight, *window)
    with pytest.raises(ValueError, match="weight: expected a number of groups that divides"):
        ops.dynamic_conv(x, weight.expand(-1, 3, -1, -1, -1, -1), *window)
    with pytest.raises(TypeError, match="weight: expected the dtype of x"):
        ops.dynamic_conv(x, weight.double(), *window)
    with pytest.raises(ValueError, match="weight: expected"):
        ops.dynamic_conv_grad_input(x, weight[..., :3], (3, 4), *window)
    with pytest.raises(ValueError, match="x: expected"):
        ops.dynamic_conv_grad_weight(x, x[:, :1], 1, (2, 2), *window)

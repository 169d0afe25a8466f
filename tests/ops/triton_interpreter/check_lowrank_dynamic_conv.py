"""Values and gradients of lowrank_dynamic_conv's Triton kernels."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_accuracy import assert_as_accurate_as_pytorch, with_gradients
from pytorchs_rules import assert_operators_keep_pytorchs_rules
from second_derivatives import assert_second_derivatives

from ksdiff_ops import lowrank_dynamic_conv
from ksdiff_ops.arguments import resolve_window

pytestmark = pytest.mark.usefixtures("poisoned", "seeded")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
as_accurate = partial(assert_as_accurate_as_pytorch, backend="triton")


def tensors(batch, channels, groups, rank, size, kernel, dtype=torch.float32, **window):
    settings = {"stride": 1, "padding": "same", "dilation": 1, **window}
    _, out = resolve_window(size, kernel, **settings)
    return (
        torch.randn(batch, channels, *size, dtype=dtype),
        torch.randn(batch, groups, rank, *out, dtype=dtype),
        torch.randn(batch, groups, rank, *kernel, dtype=dtype),
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype):
    as_accurate(lowrank_dynamic_conv, tensors(1, 2, 1, 2, (5, 7), (3, 3), dtype))


@pytest.mark.parametrize(("kernel", "rank"), [((1, 1), 1), ((3, 3), 3), ((2, 5), 2)])
def test_kernel_sizes_ranks_and_groups(kernel, rank, programs):
    as_accurate(lowrank_dynamic_conv, tensors(1, 2, 2, rank, (5, 19), kernel))


@pytest.mark.parametrize("size", [(1, 129), (67, 1)])
def test_odd_image_sizes(size):
    as_accurate(lowrank_dynamic_conv, tensors(1, 1, 1, 1, size, (1, 3)))


@pytest.mark.parametrize("window", [{"stride": 2}, {"stride": (1, 3), "dilation": 2, "padding": 2}])
def test_strides_dilations_and_paddings(window, programs):
    inputs = tensors(1, 2, 1, 2, (7, 9), (3, 2), **window)
    as_accurate(partial(lowrank_dynamic_conv, **window), inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_and_ranks_larger_than_the_registers(dtype, few_registers):
    as_accurate(lowrank_dynamic_conv, tensors(1, 2, 1, 3, (4, 5), (3, 2), dtype))


def test_one_basis_for_all_samples():
    x, coeff, basis = tensors(2, 1, 1, 2, (4, 5), (3, 1))
    as_accurate(lowrank_dynamic_conv, (x, coeff, basis[0]))


@settings(deadline=None, max_examples=3)
@given(data=st.data())
def test_random_arguments(data):
    whole = partial(st.integers, 1)
    groups = data.draw(whole(2), "groups")
    window = {
        "stride": data.draw(st.tuples(whole(2), whole(2)), "stride"),
        "dilation": data.draw(st.tuples(whole(2), whole(2)), "dilation"),
    }
    inputs = tensors(
        data.draw(whole(2), "batch"),
        groups * data.draw(whole(2), "channels per group"),
        groups,
        data.draw(whole(3), "rank"),
        data.draw(st.tuples(whole(6), whole(34)), "size"),
        data.draw(st.tuples(whole(3), whole(3)), "kernel"),
        data.draw(st.sampled_from(DTYPES), "dtype"),
        **window,
    )
    as_accurate(partial(lowrank_dynamic_conv, **window), inputs)


@pytest.mark.parametrize(("batch", "rank"), [(0, 2), (1, 0)])
def test_empty_batches_and_ranks(batch, rank):
    as_accurate(lowrank_dynamic_conv, tensors(batch, 2, 1, rank, (3, 4), (3, 1)))


def test_the_same_input_gives_the_same_bits():
    inputs = tensors(1, 2, 1, 2, (9, 9), (3, 1))
    first = with_gradients(lowrank_dynamic_conv, inputs, "triton")
    again = with_gradients(lowrank_dynamic_conv, inputs, "triton")
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_image_pixels_that_no_window_reads_may_be_nan():
    window = {"stride": 3, "padding": 0}
    x, coeff, basis = tensors(1, 1, 1, 1, (4, 4), (2, 2), **window)
    x[..., 3, :] = x[..., 3] = torch.nan
    as_accurate(partial(lowrank_dynamic_conv, **window), (x, coeff, basis))


def test_second_derivatives_equal_the_references():
    window = {"stride": (2, 1), "dilation": (1, 2)}
    inputs = tensors(1, 2, 1, 2, (3, 3), (2, 2), torch.float64, **window)
    assert_second_derivatives(partial(lowrank_dynamic_conv, **window), inputs)


def test_operators_keep_pytorchs_rules():
    ops = torch.ops.ksdiff_ops_triton
    x, coeff, basis = (t.requires_grad_() for t in tensors(1, 1, 1, 2, (2, 3), (2, 1)))
    window = ([1, 1], [0, 0], [1, 1])
    grad = torch.randn(1, 1, 2, 3, requires_grad=True)
    assert_operators_keep_pytorchs_rules(
        (ops.lowrank_dynamic_conv, (x, coeff, basis, *window)),
        (ops.lowrank_dynamic_conv_grad_input, (grad, coeff, basis, [2, 3], *window)),
        (ops.lowrank_dynamic_conv_grad_coeff, (grad, x, basis, *window)),
        (ops.lowrank_dynamic_conv_grad_basis, (grad, x, coeff, [2, 1], *window)),
    )


def test_wrong_shapes_are_refused_before_the_launch():
    import ksdiff_ops.triton  # noqa: F401

    ops = torch.ops.ksdiff_ops_triton
    x, coeff, basis = tensors(1, 2, 1, 2, (3, 4), (2, 1))
    window = ([1, 1], [0, 0], [1, 1])
    with pytest.raises(ValueError, match="basis: expected"):
        ops.lowrank_dynamic_conv(x, coeff, basis[:, :, :1], *window)
    with pytest.raises(ValueError, match="coeff: expected"):
        ops.lowrank_dynamic_conv_grad_input(x, coeff[..., :3], basis, (3, 4), *window)
    with pytest.raises(ValueError, match="x: expected"):
        ops.lowrank_dynamic_conv_grad_coeff(x, x[:, :1], basis, *window)
    with pytest.raises(ValueError, match="coeff: expected"):
        ops.lowrank_dynamic_conv_grad_basis(x, x, coeff[..., :3], (2, 1), *window)

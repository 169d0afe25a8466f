"""Values and gradients of adaptive_conv2d's Triton kernels."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_accuracy import assert_as_accurate_as_pytorch, with_gradients
from pytorchs_rules import assert_operators_keep_pytorchs_rules
from second_derivatives import assert_second_derivatives

from ksdiff_ops import adaptive_conv2d

pytestmark = pytest.mark.usefixtures("poisoned", "seeded")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
as_accurate = partial(assert_as_accurate_as_pytorch, backend="triton")


def tensors(batch, inputs, outputs, size, kernel, dtype=torch.float32):
    return (
        torch.randn(batch, inputs, *size, dtype=dtype),
        torch.randn(batch, *kernel, *size, dtype=dtype),
        torch.randn(outputs, inputs, *kernel, dtype=dtype),
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype):
    as_accurate(adaptive_conv2d, tensors(2, 3, 4, (5, 7), (3, 3), dtype))


@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "kernel"),
    [
        (1, 1, (1, 1), (1, 1)),
        (7, 17, (3, 65), (1, 5)),
        (70, 40, (6, 5), (4, 1)),
        (2, 3, (2, 3), (5, 3)),
    ],
)
def test_sizes_that_fill_no_tile(inputs, outputs, size, kernel):
    as_accurate(adaptive_conv2d, tensors(1, inputs, outputs, size, kernel))


@pytest.mark.parametrize("dtype", DTYPES)
def test_channels_that_fill_vectors(dtype):
    as_accurate(adaptive_conv2d, tensors(2, 16, 32, (5, 7), (3, 2), dtype))


def test_gradients_of_kernels_are_summed_in_parts_and_the_same_every_time():
    from ksdiff_ops.triton import adaptive_conv2d as kernels

    inputs = tensors(3, 2, 3, (9, 11), (1, 1))
    grad = torch.randn(3, 3, 9, 11)
    assert kernels.grad_weight_launch(grad, inputs[0], inputs[1])[1].shape[0] > 1
    as_accurate(adaptive_conv2d, inputs)
    first = with_gradients(adaptive_conv2d, inputs, "triton")
    again = with_gradients(adaptive_conv2d, inputs, "triton")
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_large_images_are_tiled_as_on_a_full_gpu(monkeypatch):
    from ksdiff_ops.triton import plan

    monkeypatch.setattr(plan, "PROGRAMS", 1)
    as_accurate(adaptive_conv2d, tensors(1, 2, 3, (9, 33), (1, 3)))


@settings(deadline=None, max_examples=3)
@given(data=st.data())
def test_random_arguments(data):
    whole = partial(st.integers, 1)
    inputs = tensors(
        data.draw(whole(2), "batch"),
        data.draw(whole(5), "inputs"),
        data.draw(whole(5), "outputs"),
        data.draw(st.tuples(whole(7), whole(34)), "size"),
        data.draw(st.tuples(whole(3), whole(3)), "kernel"),
        data.draw(st.sampled_from(DTYPES), "dtype"),
    )
    as_accurate(adaptive_conv2d, inputs)


@pytest.mark.parametrize(("batch", "inputs"), [(0, 2), (1, 0)])
def test_empty_batches_and_images_without_channels(batch, inputs):
    as_accurate(adaptive_conv2d, tensors(batch, inputs, 2, (3, 4), (3, 1)))


def test_any_strides():
    x, attention, weight = tensors(2, 3, 4, (5, 7), (3, 1))
    plain = with_gradients(adaptive_conv2d, (x, attention, weight), "triton")
    turned = (
        x.contiguous(memory_format=torch.channels_last),
        attention.movedim(1, 4).contiguous().movedim(4, 1),
        weight.mT.contiguous().mT,
    )
    strided = with_gradients(adaptive_conv2d, turned, "triton")
    assert all(torch.equal(a, b) for a, b in zip(strided, plain, strict=True))


def test_products_too_large_for_a_half_add_up_where_the_sum_is_not():
    import ksdiff_ops.triton  # noqa: F401

    x = torch.zeros(1, 1, 4, 4, dtype=torch.float16)
    x[..., 0, 0] = 0.5
    large = torch.full_like(x, 256.0)
    got = torch.ops.ksdiff_ops_triton.adaptive_conv2d_grad_weight(large, x, large[:, None])
    assert got.item() == 256 * 256 / 2


def test_second_derivatives_equal_the_references():
    assert_second_derivatives(adaptive_conv2d, tensors(2, 2, 3, (3, 3), (2, 1), torch.float64))


def test_operators_keep_pytorchs_rules():
    import ksdiff_ops.triton  # noqa: F401

    ops = torch.ops.ksdiff_ops_triton
    x, attention, weight = (t.requires_grad_() for t in tensors(1, 2, 2, (2, 3), (1, 2)))
    grad = torch.randn(1, 2, 2, 3, requires_grad=True)
    assert_operators_keep_pytorchs_rules(
        (ops.adaptive_conv2d, (x, attention, weight)),
        (ops.adaptive_conv2d_grad_input, (grad, attention, weight)),
        (ops.adaptive_conv2d_grad_attention, (grad, x, weight)),
        (ops.adaptive_conv2d_grad_weight, (grad, x, attention)),
    )


def test_wrong_shapes_are_refused_before_the_launch():
    import ksdiff_ops.triton  # noqa: F401

    ops = torch.ops.ksdiff_ops_triton
    x, attention, weight = tensors(1, 2, 4, (3, 4), (2, 2))
    with pytest.raises(ValueError, match="weight: expected"):
        ops.adaptive_conv2d(x, attention, weight[:, :1])
    with pytest.raises(ValueError, match="attention: expected"):
        ops.adaptive_conv2d(x, attention[..., :3], weight)
    with pytest.raises(ValueError, match="weight: expected"):
        ops.adaptive_conv2d_grad_input(x, attention, weight)
    with pytest.raises(ValueError, match="x: expected"):
        ops.adaptive_conv2d_grad_attention(x, x[..., :3], weight)
    with pytest.raises(TypeError, match="attention: expected the dtype of grad"):
        ops.adaptive_conv2d_grad_weight(x, x, attention.double())

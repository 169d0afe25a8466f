"""Values and gradients of batched_conv2d's Triton kernels."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_accuracy import assert_as_accurate_as_pytorch, with_gradients
from pytorchs_rules import assert_operators_keep_pytorchs_rules
from second_derivatives import assert_second_derivatives

from ksdiff_ops import batched_conv2d
from ksdiff_ops.arguments import Window

pytestmark = pytest.mark.usefixtures("poisoned", "seeded")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
as_accurate = partial(assert_as_accurate_as_pytorch, backend="triton")


def tensors(batch, inputs, outputs, size, kernel, groups=1, dtype=torch.float32):
    x = torch.randn(batch, inputs, *size, dtype=dtype)
    return x, torch.randn(batch, outputs, inputs // groups, *kernel, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype):
    as_accurate(batched_conv2d, tensors(2, 3, 4, (5, 7), (3, 3), dtype=dtype))


@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "kernel"),
    [
        (1, 1, (1, 1), (1, 1)),
        (7, 17, (3, 129), (1, 5)),
        (40, 70, (6, 5), (4, 3)),
    ],
)
def test_sizes_that_fill_no_tile(inputs, outputs, size, kernel):
    as_accurate(batched_conv2d, tensors(1, inputs, outputs, size, kernel))


@pytest.mark.parametrize(
    ("groups", "window"),
    [
        (2, {}),
        (6, {"stride": 2}),
        (1, {"stride": (1, 3), "dilation": (2, 1), "padding": (3, 0)}),
        (2, {"padding": 4}),
    ],
)
def test_groups_strides_dilations_and_paddings(groups, window):
    inputs = tensors(1, 6, 12, (7, 9), (3, 2), groups)
    as_accurate(partial(batched_conv2d, groups=groups, **window), inputs)


@pytest.mark.parametrize(
    ("dtype", "inputs", "outputs", "groups", "stride"),
    [
        (torch.bfloat16, 16, 32, 1, 1),
        (torch.float32, 32, 32, 2, 1),
        (torch.float64, 16, 16, 1, (1, 2)),  # whose image alone has pixels enough
    ],
)
def test_channels_that_fill_vectors(dtype, inputs, outputs, groups, stride, monkeypatch):
    from ksdiff_ops.triton import batched_conv2d as kernels

    monkeypatch.setattr(kernels, "_LEAST_PIXELS", 60)
    x, weight = tensors(2, inputs, outputs, (7, 9), (3, 2), groups, dtype)
    assert kernels._vector_length(x, inputs // groups) > 1
    as_accurate(partial(batched_conv2d, groups=groups, stride=stride), (x, weight))


def test_gradients_of_kernels_are_summed_in_parts_and_the_same_every_time():
    from ksdiff_ops.triton import batched_conv2d as kernels

    inputs = tensors(1, 2, 3, (20, 9), (1, 1))
    window = Window((1, 1), (0, 0), (1, 1))
    grad = torch.randn(1, 3, 20, 9)
    assert kernels.grad_weight_launch(grad, inputs[0], 1, (1, 1), window)[1].shape[0] > 1
    as_accurate(batched_conv2d, inputs)
    first = with_gradients(batched_conv2d, inputs, "triton")
    again = with_gradients(batched_conv2d, inputs, "triton")
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_large_images_are_tiled_as_on_a_full_gpu(monkeypatch):
    from ksdiff_ops.triton import plan

    monkeypatch.setattr(plan, "PROGRAMS", 1)
    as_accurate(batched_conv2d, tensors(1, 2, 3, (20, 33), (3, 3)))


@settings(deadline=None, max_examples=4)
@given(data=st.data())
def test_random_arguments(data):
    whole = partial(st.integers, 1)
    pair = st.tuples(whole(2), whole(2))
    groups = data.draw(whole(2), "groups")
    inputs = tensors(
        data.draw(whole(2), "batch"),
        groups * data.draw(whole(5), "inputs"),
        groups * data.draw(whole(5), "outputs"),
        data.draw(st.tuples(whole(9), whole(34)), "size"),
        data.draw(st.tuples(whole(3), whole(3)), "kernel"),
        groups,
        data.draw(st.sampled_from(DTYPES), "dtype"),
    )
    window = {"stride": data.draw(pair, "stride"), "dilation": data.draw(pair, "dilation")}
    as_accurate(partial(batched_conv2d, groups=groups, **window), inputs)


@pytest.mark.parametrize(("batch", "inputs", "size"), [(0, 2, (3, 4)), (1, 0, (3, 4))])
def test_empty_batches_and_images_without_channels(batch, inputs, size):
    as_accurate(batched_conv2d, tensors(batch, inputs, 2, size, (3, 1)))


def test_any_strides_and_kernels_that_all_samples_share():
    x, weight = tensors(2, 3, 4, (5, 7), (3, 3))
    weight = weight[:1].expand(2, -1, -1, -1, -1)
    plain = with_gradients(batched_conv2d, (x, weight.contiguous()), "triton")
    last = x.contiguous(memory_format=torch.channels_last)
    for image in (last, x.mT.contiguous().mT):
        strided = with_gradients(batched_conv2d, (image, weight), "triton")
        for got, expected in zip(strided, plain, strict=True):
            torch.testing.assert_close(got, expected)
    y = batched_conv2d(last, weight, backend="triton")
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_kernels_that_all_samples_share_in_vectors_at_any_address(monkeypatch):
    from ksdiff_ops.triton import batched_conv2d as kernels

    monkeypatch.setattr(kernels, "_LEAST_PIXELS", 1)
    x, weight = tensors(2, 16, 16, (4, 5), (3, 1))
    shared = weight[:1].expand(2, -1, -1, -1, -1)
    plain = with_gradients(batched_conv2d, (x, shared.contiguous()), "triton")
    memory = torch.empty(x.numel() + 1)[1:]  # at an address that is no vector's
    moved = memory.view(2, 4, 5, 16).movedim(3, 1).copy_(x)
    strided = with_gradients(batched_conv2d, (moved, shared), "triton")
    for got, expected in zip(strided, plain, strict=True):
        torch.testing.assert_close(got, expected)


def test_second_derivatives_equal_the_references():
    window = {"stride": (2, 1), "dilation": (1, 2), "groups": 2}
    inputs = tensors(2, 4, 2, (3, 3), (2, 2), 2, torch.float64)
    assert_second_derivatives(partial(batched_conv2d, **window), inputs)


def test_operators_keep_pytorchs_rules():
    import ksdiff_ops.triton  # noqa: F401

    ops = torch.ops.ksdiff_ops_triton
    x, weight = (t.requires_grad_() for t in tensors(1, 2, 2, (2, 3), (1, 2)))
    grad = torch.randn(1, 2, 2, 3, requires_grad=True)
    window = ([1, 1], [0, 0], [1, 1], 1)
    assert_operators_keep_pytorchs_rules(
        (ops.batched_conv2d, (x, weight, [2, 3], *window)),
        (ops.batched_conv2d_grad_input, (grad, weight, [2, 3], *window)),
        (ops.batched_conv2d_grad_weight, (grad, x, [1, 2], *window)),
    )


def test_wrong_shapes_are_refused_before_the_launch():
    import ksdiff_ops.triton  # noqa: F401

    ops = torch.ops.ksdiff_ops_triton
    x, weight = tensors(1, 2, 4, (3, 4), (2, 2))
    window = ([1, 1], [0, 0], [1, 1])
    with pytest.raises(ValueError, match="x: expected a number of channels that 3 groups divide"):
        ops.batched_conv2d(x, weight, [3, 4], *window, 3)
    with pytest.raises(ValueError, match="weight: expected"):
        ops.batched_conv2d(x, weight, [3, 4], *window, 2)
    with pytest.raises(ValueError, match="weight: expected"):
        ops.batched_conv2d_grad_input(x, weight, [3, 4], *window, 1)
    with pytest.raises(TypeError, match="x: expected the dtype of grad"):
        ops.batched_conv2d_grad_weight(x, x.double(), [2, 2], *window, 1)

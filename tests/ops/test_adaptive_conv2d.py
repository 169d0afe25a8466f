"""Values and gradients of adaptive_conv2d on the CPU."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_accuracy import assert_as_accurate_as_pytorch, with_gradients
from torch.nn import functional as F

from ksdiff_ops import adaptive_conv2d, shared_product

pytestmark = pytest.mark.usefixtures("poisoned", "seeded")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def tensors(batch, channels, size, kernel, dtype=torch.float32):
    into, out = channels
    x = torch.randn(batch, into, *size, dtype=dtype)
    attention = torch.randn(batch, *kernel, *size, dtype=dtype)
    return x, attention, torch.randn(out, into, *kernel, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 5), (4, 3), (1, 5)])
@pytest.mark.parametrize("channels", [(6, 13), (33, 8), (1, 1)])
def test_kernel_sizes_channels_and_dtypes(dtype, kernel, channels):
    inputs = tensors(2, channels, (9, 19), kernel, dtype)
    assert_as_accurate_as_pytorch(adaptive_conv2d, inputs)


@pytest.mark.parametrize("size", [(1, 1), (1, 129), (151, 1), (3, 151), (2, 300), (70, 33)])
def test_odd_image_sizes(size):
    assert_as_accurate_as_pytorch(adaptive_conv2d, tensors(1, (4, 5), size, (5, 3)))


def test_wide_images_and_many_channels_take_several_tiles_and_tasks():
    assert_as_accurate_as_pytorch(adaptive_conv2d, tensors(1, (130, 3), (20, 120), (3, 3)))
    assert_as_accurate_as_pytorch(adaptive_conv2d, tensors(2, (2, 3), (40, 1100), (3, 3)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("batch", "size", "kernel"), [(2, (5, 7), (3, 3)), (2, (1, 3), (4, 3)), (3, (24, 40), (3, 3))]
)
def test_large_kernels_for_small_planes(batch, size, kernel, dtype):
    inputs = tensors(batch, (98, 95), size, kernel, dtype)
    assert_as_accurate_as_pytorch(adaptive_conv2d, inputs)


@settings(deadline=None, max_examples=20)
@given(
    batch=st.integers(0, 3),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 12), st.integers(1, 70)),
    kernel=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    dtype=st.sampled_from(DTYPES),
)
def test_random_arguments(batch, channels, size, kernel, dtype):
    inputs = tensors(batch, channels, size, kernel, dtype)
    assert_as_accurate_as_pytorch(adaptive_conv2d, inputs)


def test_same_bits_for_every_number_of_threads():
    inputs = tensors(2, (6, 20), (65, 70), (3, 3))
    first = with_gradients(adaptive_conv2d, inputs, "cpu")
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            again = with_gradients(adaptive_conv2d, inputs, "cpu")
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("bias", [(), (4,), (2, 4)])
@pytest.mark.parametrize("backend", [None, "reference"])
def test_is_a_matrix_product_with_scaled_patches(bias, backend):
    x, attention, weight = tensors(2, (3, 4), (6, 7), (3, 5), torch.float64)
    patches = F.unfold(x, (3, 5), padding=(1, 2)).view(2, 3, 15, 42)
    scaled = (patches * attention.view(2, 1, 15, 42)).flatten(1, 2)
    expected = (weight.flatten(1) @ scaled).view(2, 4, 6, 7)
    shift = torch.randn(bias, dtype=torch.float64) if bias else None
    if bias:
        expected = expected + shift.view(-1, 4, 1, 1)
    got = adaptive_conv2d(x, attention, weight, shift, backend=backend)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("backend", [None, "reference"])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kernel", [(3, 3), (2, 4), (1, 6)])
def test_attention_of_one_gives_an_ordinary_convolution(kernel, backend):
    x, _, weight = tensors(2, (3, 4), (9, 10), kernel, torch.float64)
    attention = torch.ones(2, *kernel, 9, 10, dtype=torch.float64)
    expected = F.conv2d(x, weight, padding="same")
    got = adaptive_conv2d(x, attention, weight, backend=backend)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("kernel_learns", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_gradients_that_share_a_product_are_the_references(batch, kernel_learns):
    x, attention, weight = tensors(batch, (48, 60), (4, 5), (3, 5), torch.float64)
    assert shared_product.serves(x, weight)
    leaves = [x.requires_grad_(), attention.requires_grad_()]
    leaves += [weight.requires_grad_()] if kernel_learns else []

    def derivatives(backend):
        y = adaptive_conv2d(x, attention, weight, backend=backend)
        first = torch.autograd.grad(y.sin().sum(), leaves, create_graph=True)
        return y, *first, *torch.autograd.grad(sum(g.square().sum() for g in first), leaves)

    mine = derivatives(None)
    torch.testing.assert_close(mine, derivatives("reference"))
    with torch.no_grad():
        assert torch.equal(adaptive_conv2d(x, attention, weight), mine[0])


def test_batches_of_gradients_go_around_the_shared_product():
    inputs = tensors(2, (48, 60), (4, 5), (3, 5), torch.float64)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    upstreams = torch.randn(3, 2, 60, 4, 5, dtype=torch.float64)

    def gradients(backend):
        y = adaptive_conv2d(*inputs, backend=backend)
        grad = functools.partial(torch.autograd.grad, y, inputs, retain_graph=True)
        return grad(upstreams, is_grads_batched=True), torch.vmap(grad)(upstreams)

    torch.testing.assert_close(gradients(None), gradients("reference"))


def test_transforms_go_around_the_shared_product():
    x, attention, weight = tensors(1, (48, 60), (4, 5), (3, 5), torch.float64)

    def tangent(backend):
        def call(x):
            return adaptive_conv2d(x, attention, weight, backend=backend).sin().sum()

        return torch.func.jvp(torch.func.grad(call), (x,), (x.cos(),))

    attention.requires_grad_()
    torch.testing.assert_close(tangent(None), tangent("reference"))

"""Values and gradients of lowrank_dynamic_conv on the compiled CPU backend."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_accuracy import assert_as_accurate_as_pytorch, with_gradients
from torch.nn import functional as F

from ksdiff_ops import dynamic_conv, lowrank_dynamic_conv
from ksdiff_ops.arguments import resolve_window

pytestmark = pytest.mark.usefixtures("poisoned", "seeded")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def tensors(
    batch, channels, groups, rank, size, kernel, dtype=torch.float32, shared=False, **window
):
    settings = {"stride": 1, "padding": "same", "dilation": 1, **window}
    _, out = resolve_window(size, kernel, **settings)
    x = torch.randn(batch, channels, *size, dtype=dtype)
    coeff = torch.randn(batch, groups, rank, *out, dtype=dtype)
    lead = () if shared else (batch,)
    return x, coeff, torch.randn(*lead, groups, rank, *kernel, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 5), (7, 7), (4, 3), (1, 5)])
@pytest.mark.parametrize(("channels", "groups", "rank"), [(6, 1, 3), (4, 4, 4), (6, 2, 1)])
def test_kernel_sizes_groups_ranks_and_dtypes(dtype, kernel, channels, groups, rank):
    inputs = tensors(2, channels, groups, rank, (9, 19), kernel, dtype)
    assert_as_accurate_as_pytorch(lowrank_dynamic_conv, inputs)


@pytest.mark.parametrize("size", [(1, 1), (1, 129), (151, 1), (3, 151), (2, 300), (70, 33)])
@pytest.mark.parametrize("shared", [True, False])
def test_odd_image_sizes_and_shared_bases(size, shared):
    inputs = tensors(2, 4, 2, 3, size, (5, 5), shared=shared)
    assert_as_accurate_as_pytorch(lowrank_dynamic_conv, inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stride", [2, (1, 3), (4, 1)])
@pytest.mark.parametrize("dilation", [1, (2, 3)])
@pytest.mark.parametrize("padding", ["same", 0, (3, 1), 9])
def test_strides_dilations_and_paddings(dtype, stride, dilation, padding):
    window = {"stride": stride, "dilation": dilation, "padding": padding}
    inputs = tensors(2, 4, 2, 2, (13, 17), (3, 4), dtype, **window)
    assert_as_accurate_as_pytorch(partial(lowrank_dynamic_conv, **window), inputs)


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_random_arguments(data):
    whole = partial(st.integers, 1)
    groups = data.draw(whole(4), "groups")
    window = {
        "stride": data.draw(st.tuples(whole(4), whole(4)), "stride"),
        "dilation": data.draw(st.tuples(whole(3), whole(3)), "dilation"),
        "padding": data.draw(
            st.just("same") | st.tuples(st.integers(8, 12), st.integers(8, 12)), "padding"
        ),
    }
    inputs = tensors(
        data.draw(st.integers(0, 2), "batch"),
        groups * data.draw(whole(5), "channels per group"),
        groups,
        data.draw(st.integers(0, 5), "rank"),
        data.draw(st.tuples(whole(12), whole(70)), "size"),
        data.draw(st.tuples(whole(6), whole(6)), "kernel"),
        data.draw(st.sampled_from(DTYPES), "dtype"),
        data.draw(st.booleans(), "shared basis"),
        **window,
    )
    assert_as_accurate_as_pytorch(partial(lowrank_dynamic_conv, **window), inputs)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_is_a_mixture_of_depthwise_convolutions(backend):
    x, coeff, basis = tensors(2, 6, 3, 4, (11, 9), (3, 5), torch.float64, shared=True)
    expected = sum(
        coeff[:, :, r].repeat_interleave(2, 1)
        * F.conv2d(x, basis[:, r].repeat_interleave(2, 0)[:, None], padding="same", groups=6)
        for r in range(4)
    )
    torch.testing.assert_close(lowrank_dynamic_conv(x, coeff, basis, backend=backend), expected)


def test_equals_dynamic_conv_with_the_kernels_written_out():
    window = {"stride": 2, "dilation": (1, 2)}
    x, coeff, basis = tensors(2, 6, 3, 4, (11, 9), (3, 5), torch.float64, **window)
    weight = torch.einsum("bgrhw,bgrij->bgijhw", coeff, basis)
    expected = dynamic_conv(x, weight, **window)
    torch.testing.assert_close(lowrank_dynamic_conv(x, coeff, basis, **window), expected)


def test_the_gradient_of_the_basis_keeps_its_digits_over_many_pixels():
    inputs = tensors(1, 2, 1, 2, (200, 210), (3, 3))
    inputs = [t + 1 for t in inputs]
    assert_as_accurate_as_pytorch(lowrank_dynamic_conv, inputs)


@pytest.mark.parametrize("groups", [1, 6])
def test_same_bits_for_every_number_of_threads(groups):
    inputs = tensors(2, 6, groups, 3, (65, 70), (5, 5))
    first = with_gradients(lowrank_dynamic_conv, inputs, "cpu")
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            again = with_gradients(lowrank_dynamic_conv, inputs, "cpu")
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    finally:
        torch.set_num_threads(threads)

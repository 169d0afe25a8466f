"""Values and gradients of dynamic_conv on the compiled CPU backend."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_accuracy import assert_as_accurate_as_pytorch, with_gradients
from torch.nn import functional as F

from ksdiff_ops import dynamic_conv
from ksdiff_ops.arguments import resolve_window

pytestmark = pytest.mark.usefixtures("poisoned", "seeded")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def tensors(batch, channels, groups, size, kernel, dtype=torch.float32, **window):
    settings = {"stride": 1, "padding": "same", "dilation": 1, **window}
    _, out = resolve_window(size, kernel, **settings)
    x = torch.randn(batch, channels, *size, dtype=dtype)
    return x, torch.randn(batch, groups, *kernel, *out, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 5), (7, 7), (1, 5), (4, 3), (2, 2)])
@pytest.mark.parametrize(("channels", "groups"), [(6, 1), (6, 2), (5, 5), (13, 1)])
def test_kernel_sizes_groups_and_dtypes(dtype, kernel, channels, groups):
    inputs = tensors(2, channels, groups, (9, 19), kernel, dtype)
    assert_as_accurate_as_pytorch(dynamic_conv, inputs)


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 129), (151, 1), (5, 129), (3, 151), (2, 16), (2, 300)]
)
@pytest.mark.parametrize("groups", [1, 4])
def test_odd_image_sizes(size, groups):
    assert_as_accurate_as_pytorch(dynamic_conv, tensors(1, 4, groups, size, (5, 5)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stride", [2, (1, 3), (4, 1)])
@pytest.mark.parametrize("dilation", [1, (2, 3)])
@pytest.mark.parametrize("padding", ["same", 0, (3, 1), 9])
def test_strides_dilations_and_paddings(dtype, stride, dilation, padding):
    window = {"stride": stride, "dilation": dilation, "padding": padding}
    inputs = tensors(2, 6, 2, (13, 17), (3, 4), dtype, **window)
    assert_as_accurate_as_pytorch(partial(dynamic_conv, **window), inputs)


def test_many_channels_and_rows_take_several_tiles_and_tasks():
    assert_as_accurate_as_pytorch(dynamic_conv, tensors(1, 13, 1, (30, 120), (7, 7)))


# One tap on its own pixel is a factor: planes are scaled a span at a time.
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "groups"), [(20, 1), (20, 2), (4, 4)])
@pytest.mark.parametrize("size", [(1, 1), (41, 67)])
def test_kernels_of_one_tap_scale_the_image(size, channels, groups, dtype):
    inputs = tensors(2, channels, groups, size, (1, 1), dtype)
    assert_as_accurate_as_pytorch(dynamic_conv, inputs)


# With few channels to a kernel, the rows of a small plane are taken as one.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("channels", [3, 6])
@pytest.mark.parametrize(
    ("size", "kernel", "dilation", "padding"),
    [
        ((7, 7), (3, 3), 1, "same"),
        ((14, 14), (5, 7), 1, "same"),
        ((12, 3), (3, 9), 1, "same"),
        ((9, 40), (4, 2), 1, "same"),
        ((6, 5), (3, 3), 2, "same"),
        ((5, 8), (1, 3), (1, 3), (0, 3)),
        ((4, 6), (5, 5), 1, (4, 2)),
    ],
)
def test_rows_of_small_planes(dtype, channels, size, kernel, dilation, padding):
    window = {"dilation": dilation, "padding": padding}
    inputs = tensors(2, channels, 3, size, kernel, dtype, **window)
    assert_as_accurate_as_pytorch(partial(dynamic_conv, **window), inputs)


# With few channels to a kernel, kernels are read in place, a band of rows at a time.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("channels", [3, 6])
@pytest.mark.parametrize(
    ("size", "kernel", "dilation", "padding"),
    [
        ((70, 130), (7, 7), 1, "same"),
        ((40, 16), (11, 2), 1, "same"),
        ((9, 200), (3, 5), (2, 3), 0),
        ((5, 33), (3, 3), (4, 1), (9, 12)),
        ((3, 20), (5, 3), 1, (4, 0)),
        ((2, 5), (9, 12), 1, "same"),
        ((1, 1), (3, 3), 1, 1),
    ],
)
def test_kernels_of_their_own_for_one_or_two_channels(
    dtype, channels, size, kernel, dilation, padding
):
    window = {"dilation": dilation, "padding": padding}
    inputs = tensors(2, channels, 3, size, kernel, dtype, **window)
    assert_as_accurate_as_pytorch(partial(dynamic_conv, **window), inputs)


def test_results_large_enough_for_large_pages():
    x, weight = tensors(1, 2, 2, (500, 700), (3, 3))
    assert weight.nbytes > 2**24
    y, *gradients = with_gradients(dynamic_conv, (x, weight), "cpu")
    for mine, theirs in zip(
        (y, *gradients), with_gradients(dynamic_conv, (x, weight), "reference"), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


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
        groups * data.draw(whole(7), "channels per group"),
        groups,
        data.draw(st.tuples(whole(12), whole(70)), "size"),
        data.draw(st.tuples(whole(6), whole(6)), "kernel"),
        data.draw(st.sampled_from(DTYPES), "dtype"),
        **window,
    )
    assert_as_accurate_as_pytorch(partial(dynamic_conv, **window), inputs)


@pytest.mark.parametrize("stride", [1, 2, (3, 1)])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_equal_kernels_everywhere_are_a_depthwise_convolution(stride, dilation, backend):
    x = torch.randn(2, 6, 11, 14, dtype=torch.float64)
    kernels = torch.randn(3, 3, 5, dtype=torch.float64)
    window = {"stride": stride, "dilation": dilation, "padding": (2, 4)}
    _, size = resolve_window((11, 14), (3, 5), **window)
    weight = kernels[None, :, :, :, None, None].expand(2, -1, -1, -1, *size)
    expected = F.conv2d(x, kernels.repeat_interleave(2, 0)[:, None], groups=6, **window)
    torch.testing.assert_close(dynamic_conv(x, weight, backend=backend, **window), expected)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kernel", [(3, 3), (2, 4), (1, 6)])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_same_padding_is_that_of_pytorch(kernel, backend):
    x = torch.randn(1, 3, 9, 10, dtype=torch.float64)
    weight = torch.randn(kernel, dtype=torch.float64)
    everywhere = weight[None, None, :, :, None, None].expand(1, 1, *kernel, 9, 10)
    expected = F.conv2d(x, weight[None, None].expand(3, -1, -1, -1), groups=3, padding="same")
    torch.testing.assert_close(dynamic_conv(x, everywhere, backend=backend), expected)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_equals_unfold_and_einsum(backend):
    x = torch.randn(2, 6, 12, 13, dtype=torch.float64)
    weight = torch.randn(2, 2, 3, 5, 5, 5, dtype=torch.float64)
    columns = F.unfold(x, (3, 5), dilation=(2, 1), padding=(1, 0), stride=(2, 2))
    columns = columns.reshape(2, 2, 3, 3, 5, 5, 5)
    expected = torch.einsum("bgcijhw,bgijhw->bgchw", columns, weight).flatten(1, 2)
    got = dynamic_conv(x, weight, stride=2, dilation=(2, 1), padding=(1, 0), backend=backend)
    torch.testing.assert_close(got, expected)


def test_infinite_pixels_stay_with_the_outputs_that_read_them():
    x = torch.zeros(1, 2, 9, 40)
    x[0, 0, 4, 20] = float("inf")
    y = dynamic_conv(x, torch.ones(1, 1, 3, 3, 9, 40))
    spoiled = torch.zeros(1, 2, 9, 40, dtype=torch.bool)
    spoiled[0, 0, 3:6, 19:22] = True
    assert torch.equal(y.isfinite(), ~spoiled)


@pytest.mark.parametrize("groups", [1, 4])
def test_infinite_kernels_outside_the_image_do_not_spoil_the_gradient(groups):
    x = torch.randn(1, 4, 6, 20, requires_grad=True)
    weight = torch.zeros(1, groups, 3, 3, 6, 20)
    weight[0, :, 1, 1, 2, 19] = float("inf")
    grad = torch.autograd.grad(dynamic_conv(x, weight).sum(), x)[0]
    spoiled = torch.zeros(1, 4, 6, 20, dtype=torch.bool)
    spoiled[:, :, 2, 19] = True
    assert torch.equal(grad.isfinite(), ~spoiled)


@pytest.mark.parametrize("groups", [1, 6])
def test_same_bits_for_every_number_of_threads(groups):
    inputs = tensors(2, 6, groups, (65, 70), (5, 5))
    first = with_gradients(dynamic_conv, inputs, "cpu")
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            again = with_gradients(dynamic_conv, inputs, "cpu")
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_borders_are_those_of_a_padded_image(mode, backend, data):
    height, width = (data.draw(st.integers(6, 9)) for _ in range(2))
    kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride, dilation = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))
    pads = data.draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    x = torch.randn(2, 2, height, width, dtype=torch.float64, requires_grad=True)
    padded = F.pad(x, (pads[1],) * 2 + (pads[0],) * 2, mode=mode)
    size = [
        (padded.shape[2 + axis] - dilation * (kernel[axis] - 1) - 1) // stride + 1
        for axis in range(2)
    ]
    weight = torch.randn(2, 1, *kernel, *size, dtype=torch.float64)
    window = {"stride": stride, "dilation": dilation, "backend": backend}
    y = dynamic_conv(x, weight, **window, padding=pads, padding_mode=mode)
    expected = dynamic_conv(padded, weight, **window, padding=0)
    torch.testing.assert_close(y, expected)
    upstream = torch.randn_like(y)
    found, wanted = (torch.autograd.grad(z, x, upstream)[0] for z in (y, expected))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("mode", "size", "words"),
    [
        ("mirror", 4, "padding_mode: expected .* got 'mirror'"),
        (None, 4, "padding_mode: expected .* got None"),
        ("reflect", 2, "at most 1 pixels around a width of 2 for 'reflect', got 2"),
        ("circular", 1, "at most 1 pixels around a width of 1 for 'circular', got 2"),
    ],
)
def test_unknown_borders_and_ones_wider_than_the_image_are_refused(mode, size, words):
    x, weight = torch.ones(1, 1, size, size), torch.ones(1, 1, 5, 5, size, size)
    with pytest.raises(ValueError, match=words):
        dynamic_conv(x, weight, padding_mode=mode)

"""Values and gradients of batched_conv2d on the CPU."""

import subprocess
import sys
from functools import partial

import pytest
import torch
from ops_accuracy import assert_as_accurate_as_pytorch, with_gradients
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from ksdiff_ops import batched_conv2d

pytestmark = pytest.mark.usefixtures("poisoned", "seeded")


def tensors(batch, channels, groups, size, kernel, dtype=torch.float32):
    into, out = channels
    x = torch.randn(batch, into, *size, dtype=dtype)
    return x, torch.randn(batch, out, into // groups, *kernel, dtype=dtype)


@pytest.mark.parametrize(
    "window",
    [
        {"stride": 2, "padding": (2, 1), "dilation": (1, 2)},
        {"padding": 0},
        {"stride": (1, 3), "padding": (0, 4)},
    ],
)
@pytest.mark.parametrize("backend", [None, "reference"])
def test_every_sample_is_convolved_as_pytorch_does(window, backend):
    x, weight = tensors(3, (4, 6), 2, (9, 12), (3, 5), torch.float64)
    bias = torch.randn(6, dtype=torch.float64)
    pairs = zip(x.split(1), weight, strict=True)
    expected = torch.cat([F.conv2d(one, w, bias, groups=2, **window) for one, w in pairs])
    got = batched_conv2d(x, weight, bias, groups=2, backend=backend, **window)
    torch.testing.assert_close(got, expected)


DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
DEPTHWISE, DENSE, POINTWISE = (17, 17, 17), (6, 4, 2), (7, 9, 1)  # Cin, Cout, groups
WINDOWS = {
    "same": {},
    "strided": {"stride": (2, 1)},
    "dilated and padded": {"dilation": (2, 1), "padding": (1, 3)},
    "unpadded": {"padding": 0},
}


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [DEPTHWISE, DENSE, POINTWISE])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 2])
def test_forms_layouts_and_dtypes(batch, dtype, channels, memory_format, window):
    into, out, groups = channels
    kernel = (1, 1) if channels is POINTWISE else (3, 4)
    x, weight = tensors(batch, (into, out), groups, (33, 35), kernel, dtype)
    operator = partial(batched_conv2d, groups=groups, **window)

    def convolve(x, weight, backend):
        return operator(x.contiguous(memory_format=memory_format), weight, backend=backend)

    assert_as_accurate_as_pytorch(convolve, (x, weight))
    y = operator(x.contiguous(memory_format=memory_format), weight)
    assert y.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_long_sums_of_dense_kernels(dtype, shared, groups, kernel, memory_format):
    x, weight = tensors(3, (192, 8), groups, (48, 41), kernel, dtype)

    def convolve(x, weight, backend):
        x = x.contiguous(memory_format=memory_format)
        kernels = weight[:1].expand_as(weight) if shared else weight
        return batched_conv2d(x, kernels, groups=groups, backend=backend)

    assert_as_accurate_as_pytorch(convolve, (x, weight))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_many_kernels_for_few_pixels(dtype, window, memory_format):
    x, weight = tensors(2, (160, 192), 1, (5, 6), (3, 2), dtype)

    def convolve(x, weight, backend):
        x = x.contiguous(memory_format=memory_format)
        return batched_conv2d(x, weight, backend=backend, **window)

    assert_as_accurate_as_pytorch(convolve, (x, weight))


@pytest.mark.parametrize(
    "channels, groups, size, kernel, window",
    [
        ((3, 300), 1, (9, 10), (3, 3), {}),  # few channels, and more than one task takes
        ((300, 3), 1, (9, 10), (3, 3), {"padding": 4}),
        ((36, 12), 2, (3, 500), (3, 5), {}),  # rows of several blocks
        ((12, 9), 1, (41, 29), (2, 3), {"padding": (0, 3), "dilation": (2, 3)}),
        ((70, 80), 1, (8, 8), (5, 5), {}),  # fewer pixels than outputs
        ((40, 20), 1, (16, 16), (3, 3), {}),  # one block, which fills vectors
        ((33, 36), 1, (17, 16), (3, 3), {}),  # one that PyTorch's grouped convolution takes
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_of_dense_kernels(channels, groups, size, kernel, window, dtype):
    inputs = tensors(2, channels, groups, size, kernel, dtype)
    assert_as_accurate_as_pytorch(partial(batched_conv2d, groups=groups, **window), inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "channels, size, kernel, window",
    [
        ((40, 36), (90, 81), (3, 3), {}),  # images of two samples at once, and a rest of one
        ((64, 33), (90, 81), (3, 2), {"stride": 2}),  # of one at once
        ((300, 280), (12, 13), (3, 3), {}),  # many kernels
    ],
)
def test_several_samples_at_once(channels, size, kernel, window, dtype):
    x, weight = tensors(5, channels, 1, size, kernel, dtype)
    assert_as_accurate_as_pytorch(partial(batched_conv2d, **window), (x, weight))


# Where the CPU has bfloat16 units, PyTorch's own convolution gives garbage for the gradient of the
# first one's kernels, and crashes in the second.
@pytest.mark.parametrize(
    "channels, size, kernel, window",
    [
        ((6, 4, 2), (33, 35), (3, 4), {"dilation": (2, 1), "padding": (1, 3)}),
        ((17, 4, 1), (41, 1), (3, 1), {"stride": (1, 2), "dilation": (1, 2), "padding": (2, 1)}),
    ],
)
def test_windows_that_pytorch_gets_wrong_in_bfloat16(channels, size, kernel, window):
    into, out, groups = channels
    x, weight = tensors(1, (into, out), groups, size, kernel, torch.bfloat16)

    def convolve(x, weight, backend):
        x = x.contiguous(memory_format=torch.channels_last)
        return batched_conv2d(x, weight, groups=groups, backend=backend, **window)

    assert_as_accurate_as_pytorch(convolve, (x, weight))


def test_bfloat16_is_summed_in_float32_where_pytorch_does_not():
    # In a process of its own: what PyTorch does is found out once.
    code = """if True:
        import torch, ksdiff_ops
        torch.backends.mkldnn.enabled = False
        x = torch.ones(1, 1, 1, 3, dtype=torch.bfloat16, requires_grad=True)
        weight = torch.tensor([1, 256, 1]).bfloat16().expand(1, 2, 1, 1, 3)
        y = ksdiff_ops.batched_conv2d(x, weight, backend="cpu")
        y[:, :1].sum().backward()
        assert x.grad[0, 0, 0, 1] == 258, x.grad
    """
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(1, 1), (7, 7), (14, 14), (1, 129), (151, 1), (3, 300), (70, 33)])
def test_depthwise_kernels_at_odd_sizes(size, memory_format):
    x, weight = tensors(7, (20, 20), 20, size, (7, 7))

    def convolve(x, weight, backend):
        x = x.contiguous(memory_format=memory_format)
        return batched_conv2d(x, weight, groups=20, backend=backend)

    assert_as_accurate_as_pytorch(convolve, (x, weight))


@pytest.mark.parametrize("channels", [DEPTHWISE, DENSE, POINTWISE])
def test_one_kernel_for_all_samples_is_an_ordinary_convolution(channels):
    into, out, groups = channels
    x = torch.randn(3, into, 9, 12, dtype=torch.float64)
    weight = torch.randn(out, into // groups, 3, 3, dtype=torch.float64, requires_grad=True)
    got = batched_conv2d(x, weight.expand(3, -1, -1, -1, -1), groups=groups)
    expected = F.conv2d(x, weight, padding=1, groups=groups)
    torch.testing.assert_close(got, expected)
    upstream = torch.randn_like(got)
    torch.testing.assert_close(
        torch.autograd.grad(got, weight, upstream), torch.autograd.grad(expected, weight, upstream)
    )


@pytest.mark.parametrize("kernel", [(3, 3), (3, 4)])
def test_one_sample_has_second_gradients_and_keeps_its_layout(kernel):
    x, weight = tensors(1, (4, 6), 2, (5, 4), kernel, torch.float64)
    weight = weight.movedim(1, -1).contiguous().movedim(-1, 1)
    bias = torch.randn(6, dtype=torch.float64)
    inputs = [t.requires_grad_() for t in (x, weight, bias)]
    assert batched_conv2d(*inputs, groups=2).is_contiguous()
    assert gradcheck(partial(batched_conv2d, groups=2), inputs)
    assert gradgradcheck(partial(batched_conv2d, groups=2), inputs)


def test_same_bits_of_depthwise_kernels_for_every_number_of_threads():
    inputs = tensors(2, (20, 20), 20, (65, 70), (3, 3))
    operator = partial(batched_conv2d, groups=20)
    first = with_gradients(operator, inputs, "cpu")
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            again = with_gradients(operator, inputs, "cpu")
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    finally:
        torch.set_num_threads(threads)

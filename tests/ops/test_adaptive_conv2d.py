"""Values and gradients of adaptive_conv2d on the CPU."""

import pytest
import torch
from torch.nn import functional as F

from ksdiff_ops import adaptive_conv2d

pytestmark = pytest.mark.usefixtures("poisoned", "seeded")


def tensors(batch, channels, size, kernel, dtype=torch.float32):
    into, out = channels
    x = torch.randn(batch, into, *size, dtype=dtype)
    attention = torch.randn(batch, *kernel, *size, dtype=dtype)
    return x, attention, torch.randn(out, into, *kernel, dtype=dtype)


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

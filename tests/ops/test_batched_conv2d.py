"""Values and gradients of batched_conv2d on the CPU."""

import pytest
import torch
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

"""dynamic_conv_transpose is the adjoint of dynamic_conv, on the CPU and in the reference."""

import pytest
import torch

from ksdiff_ops import dynamic_conv, dynamic_conv_transpose
from ksdiff_ops.arguments import resolve_window

pytestmark = pytest.mark.usefixtures("poisoned", "seeded")
every_backend = pytest.mark.parametrize("backend", ["cpu", "reference"])
# size of the image, kernel, and how it is walked over
WINDOWS = (
    ((6, 7), (3, 4), {}),
    ((6, 8), (3, 5), {"stride": 2, "padding": "symmetric"}),
    ((7, 8), (2, 3), {"stride": (2, 1), "dilation": (1, 2)}),
    ((6, 9), (3, 2), {"stride": (1, 3), "padding": (2, 0)}),
)


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@every_backend
@pytest.mark.parametrize(("size", "kernel", "window"), WINDOWS)
def test_it_is_the_adjoint_and_has_gradients(size, kernel, window, backend):
    given = {"stride": 1, "padding": "same", "dilation": 1} | window
    _, (ho, wo) = resolve_window(size, kernel, **given)
    image = double(2, 4, *size)
    weight, x = double(2, 2, *kernel, ho, wo), double(2, 4, ho, wo)
    spread = dynamic_conv_transpose(x, weight, size=size, backend=backend, **window)
    assert spread.shape == image.shape
    torch.testing.assert_close(
        (spread * image).sum(), (dynamic_conv(image, weight, **window) * x).sum()
    )
    leaves = [x.requires_grad_(), weight.requires_grad_()]
    assert torch.autograd.gradcheck(
        lambda x, w: dynamic_conv_transpose(x, w, size=size, backend=backend, **window), leaves
    )


@every_backend
@pytest.mark.parametrize(
    ("window", "size"),
    [({}, (5, 4)), ({"stride": (2, 3)}, (10, 12)), ({"padding": (1, 0), "stride": 2}, (9, 9))],
)
def test_the_size_is_known_where_it_is_not_given(window, size, backend):
    x, weight = torch.randn(1, 2, 5, 4), torch.randn(1, 1, 3, 3, 5, 4)
    assert dynamic_conv_transpose(x, weight, backend=backend, **window).shape[2:] == size


def test_a_mask_before_the_sum_differs_from_one_after():
    """With kernels that only look right, a pixel is given to its right neighbour."""
    x, weight = torch.arange(1.0, 5).view(1, 1, 1, 4), torch.zeros(1, 1, 1, 3, 1, 4)
    weight[..., 2, :, :2] = 1  # the first two pixels alone
    assert dynamic_conv(x, weight).flatten().tolist() == [2, 3, 0, 0]
    assert dynamic_conv_transpose(x, weight).flatten().tolist() == [0, 1, 2, 0]


@every_backend
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": (5, 5)}, r"size: expected one from which x's 5 x 4 pixels come, got 5 x 5"),
        ({"size": (9, 8, 1)}, r"size: expected an int or two, got 3 values"),
        ({"padding": "valid"}, r'padding: expected "same", "symmetric", an int or two'),
    ],
)
def test_wrong_arguments_are_named(options, words, backend):
    x, weight = torch.zeros(1, 2, 5, 4), torch.zeros(1, 1, 3, 3, 5, 4)
    with pytest.raises(ValueError, match=words):
        dynamic_conv_transpose(x, weight, backend=backend, **options)
    with pytest.raises(ValueError, match=r"weight: expected .* = \[1, 1, 3, 3, 5, 4\]"):
        dynamic_conv_transpose(x, weight[..., :3], backend=backend)

"""What Triton's batched_conv2d hands to PyTorch's own convolutions on a GPU, run on the CPU."""

import pytest
import torch

from ksdiff_ops.arguments import Window

grouped = pytest.importorskip("ksdiff_ops.triton.grouped", reason="triton is not installed")

pytestmark = pytest.mark.usefixtures("seeded")
OPERATORS = torch.ops.ksdiff_ops
# batch, Cin, Cout, groups, kernel, image, output, window, whether samples share a kernel
CASES = (
    (3, 4, 4, 4, (3, 5), (6, 7), (6, 7), Window((1, 1), (1, 2), (1, 1)), False),
    (3, 4, 4, 4, (3, 3), (7, 9), (4, 5), Window((2, 2), (1, 1), (1, 1)), True),
    (1, 4, 6, 2, (3, 2), (6, 7), (3, 7), Window((2, 1), (2, 1), (2, 2)), False),
    (2, 4, 6, 1, (1, 3), (5, 6), (5, 6), Window((1, 1), (0, 1), (1, 1)), True),
)


@pytest.mark.parametrize("case", CASES)
def test_convolutions_of_pytorch_give_the_same(case):
    batch, inputs, outputs, groups, kernel, image, size, window, shared = case
    x = torch.randn(batch, inputs, *image, dtype=torch.float64)
    weight = torch.randn(batch, outputs, inputs // groups, *kernel, dtype=torch.float64)
    if shared:
        weight = weight[:1].expand(batch, -1, -1, -1, -1)
    grad = torch.randn(batch, outputs, *size, dtype=torch.float64)
    assert grouped.serves(x.shape, weight.shape, grad.shape, window, groups, shared)
    got = (
        grouped.forward(x, weight, window, groups, shared),
        grouped.grad_input(grad, weight, image, window, groups, shared),
        grouped.grad_weight(grad, x, kernel, window, groups),
    )
    expected = (
        OPERATORS.batched_conv2d(x, weight, size, *window, groups),
        OPERATORS.batched_conv2d_grad_input(grad, weight, image, *window, groups),
        OPERATORS.batched_conv2d_grad_weight(grad, x, kernel, *window, groups),
    )
    torch.testing.assert_close(got, expected)
    assert all(tensor.is_contiguous() for tensor in got)
    assert not torch.backends.cudnn.deterministic


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"weight": (3, 8, 1, 3, 3)}, "two output channels a group are left to Triton"),
        ({"weight": (3, 4, 4, 3, 3), "groups": 1}, "so are dense kernels of every sample's own"),
        ({"out": (3, 4, 7, 7)}, "and what has more zeros on one side"),
        ({"x": (0, 4, 6, 7), "weight": (0, 4, 1, 3, 3), "out": (0, 4, 6, 7)}, "and nothing at all"),
    ],
)
def test_all_else_is_tritons(changed, why):
    sizes = {"x": (3, 4, 6, 7), "weight": (3, 4, 1, 3, 3), "out": (3, 4, 6, 7), "groups": 4}

    def served(x, weight, out, groups):
        sizes = map(torch.Size, (x, weight, out))
        return grouped.serves(*sizes, Window((1, 1), (1, 1), (1, 1)), groups)

    assert served(**sizes)
    assert not served(**sizes | changed), why

"""The forms of PyTorch's that stand for batched_conv2d on a CPU."""

from functools import partial

import pytest
import torch
from ops_accuracy import assert_as_accurate_as_pytorch

from ksdiff_ops import batched_conv2d, native, plain_convolution
from ksdiff_ops.arguments import Window

pytestmark = pytest.mark.usefixtures("poisoned", "seeded")
GROUPED, ONE_BY_ONE = plain_convolution._grouped, plain_convolution._one_by_one
PRODUCT = plain_convolution._product
# batch, Cin, Cout, groups, side, kernel: the form without gradients, and with them.
FLOAT32 = {
    (1, 6, 4, 2, 9, 3): (GROUPED, GROUPED),
    (3, 6, 10, 2, 9, 1): (PRODUCT, PRODUCT),
    (3, 64, 64, 64, 7, 5): (GROUPED, None),
    (3, 64, 64, 64, 9, 5): (None, None),
    (2, 40, 36, 1, 9, 3): (None, None),
}
BFLOAT16 = {
    (1, 6, 4, 2, 9, 3): (None, None),
    (3, 6, 10, 2, 9, 1): (PRODUCT, PRODUCT),
    (3, 64, 64, 64, 9, 3): (GROUPED, GROUPED),
    (3, 64, 64, 64, 9, 5): (GROUPED, None),
    (2, 40, 36, 1, 9, 3): (ONE_BY_ONE, ONE_BY_ONE),
    (2, 40, 36, 1, 8, 3): (ONE_BY_ONE, None),
    (2, 32, 16, 2, 15, 3): (GROUPED, None),
    (2, 32, 48, 2, 15, 3): (GROUPED, GROUPED),
    (2, 32, 48, 8, 15, 3): (None, None),
}


def assert_forms(shape, dtype, expected):
    batch, into, out, groups, side, k = shape
    x = torch.randn(batch, into, side, side, dtype=dtype)
    weight = torch.randn(batch, out, into // groups, k, k, dtype=dtype)
    window = Window((1, 1), (k // 2, k // 2), (1, 1))
    found = plain_convolution.forms(x, weight, window, (side, side), groups)
    assert tuple(form and form.func for form in found) == expected
    operator = partial(batched_conv2d, groups=groups)
    assert_as_accurate_as_pytorch(operator, (x, weight))
    with torch.no_grad():
        own = operator(x, weight).double()
    reference = operator(x.double(), weight.double(), backend="reference")
    assert (own - reference).norm() < 4 * torch.finfo(dtype).eps * reference.norm()


@pytest.mark.parametrize("shape", FLOAT32)
def test_in_float32(shape):
    assert_forms(shape, torch.float32, FLOAT32[shape])


@pytest.mark.skipif(not native.multiplies_bfloat16(), reason="the CPU has no units for bfloat16")
@pytest.mark.parametrize("shape", BFLOAT16)
def test_in_bfloat16(shape):
    assert_forms(shape, torch.bfloat16, BFLOAT16[shape])


@pytest.mark.skipif(not native.multiplies_bfloat16(), reason="the CPU has no units for bfloat16")
def test_windows_that_pytorch_gets_wrong_in_bfloat16_are_left_to_the_operator():
    x, weight = torch.ones(2, 40, 9, 9).bfloat16(), torch.ones(2, 40, 40, 3, 3).bfloat16()
    forms = partial(plain_convolution.forms, x, weight, groups=1)
    assert forms(window=Window((1, 1), (2, 2), (2, 2)), size=(9, 9)) == (None, None)
    assert forms(window=Window((2, 2), (1, 1), (1, 1)), size=(5, 5)) == (None, None)


def test_other_layouts_and_shared_kernels_are_left_to_the_operator(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("called")

    monkeypatch.setattr(plain_convolution, "_product", fail)
    x, weight = torch.randn(2, 3, 4, 5), torch.randn(2, 7, 3, 1, 1)
    with pytest.raises(AssertionError, match="called"):
        batched_conv2d(x, weight)
    y = batched_conv2d(x.contiguous(memory_format=torch.channels_last), weight)
    assert y.is_contiguous(memory_format=torch.channels_last)
    batched_conv2d(x, weight[:1].expand(2, -1, -1, -1, -1))

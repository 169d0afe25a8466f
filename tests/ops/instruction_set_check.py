"""Compares the kernels for one instruction set with the reference; run by itself, for a lower one.

The instruction set is chosen once in a process, so another one needs another process.
"""

import sys

import torch

import ksdiff_ops
from ksdiff_ops import (
    adaptive_conv2d,
    batched_conv2d,
    convnext_block,
    dynamic_conv,
    lowrank_dynamic_conv,
    tucker_kernel,
)


def _tucker(core, u1, u2, u3, u4, base=None, *, backend):
    return tucker_kernel(core, (u1, u2, u3, u4), base, backend=backend)


def _check_operators(dtype: torch.dtype) -> None:
    def random(*shape):
        return torch.randn(shape, dtype=dtype, requires_grad=True)

    factors = random(2, 9, 3), random(2, 5, 2), random(2, 3, 2), random(2, 3, 1)
    pointwise = random(2, 23, 5), random(2, 19, 4), random(2, 1, 1), random(2, 1, 1)
    for operator, *inputs in (
        (dynamic_conv, random(2, 6, 9, 37), random(2, 1, 5, 3, 9, 37)),
        (lowrank_dynamic_conv, random(2, 6, 9, 37), random(2, 2, 3, 9, 37), random(2, 2, 3, 3, 5)),
        (adaptive_conv2d, random(2, 6, 9, 37), random(2, 5, 3, 9, 37), random(7, 6, 5, 3)),
        (batched_conv2d, random(2, 6, 9, 37), random(2, 7, 6, 3, 5)),
        (_tucker, random(2, 3, 2, 2, 1), *factors),
        (_tucker, random(2, 5, 4, 1, 1), *pointwise, random(23, 19, 1, 1)),
        (dynamic_conv, random(2, 3, 9, 37), random(2, 3, 5, 3, 9, 37)),
        (dynamic_conv, random(2, 4, 5, 3), random(2, 2, 3, 3, 5, 3)),
        (lowrank_dynamic_conv, random(2, 3, 9, 37), random(2, 3, 5, 9, 37), random(2, 3, 5, 3, 5)),
    ):
        results = []
        for backend in ("cpu", "reference"):
            y = operator(*inputs, backend=backend)
            results.append([y, *torch.autograd.grad(y.square().mean(), inputs)])
        for mine, theirs in zip(*results, strict=True):
            # Terms that nearly cancel leave what was rounded of the large ones.
            rounding = torch.finfo(dtype).eps * theirs.abs().max().item()
            tolerances = (
                {"rtol": 2 * torch.finfo(dtype).eps, "atol": rounding}
                if dtype.itemsize == 2
                else {}
            )
            torch.testing.assert_close(mine, theirs, **tolerances)


def _check_rounding(dtype: torch.dtype) -> None:
    """Every number of 16 bits, and many products that must be rounded to one, as PyTorch does."""
    weight = torch.ones(1, 1, 1, 1, 256, 256, dtype=dtype)
    for channels in (1, 3):  # with few to a group, other functions read and round
        every = torch.arange(65536).to(torch.int16).view(dtype).view(1, 1, 256, 256)
        every = every.expand(-1, channels, -1, -1)
        same = dynamic_conv(every, weight)
        assert torch.equal(same.isnan(), every.isnan())
        assert torch.equal(same.nan_to_num(7), every.nan_to_num(7))
        numbers = every.nan_to_num(7)
        for factor in (0.9995, 1.0005, 1.3, 2**-14, 2**-20, 3 * 2**-12):
            expected = numbers * torch.tensor(factor, dtype=dtype)
            assert torch.equal(dynamic_conv(numbers, weight * factor), expected)


def _check_block() -> None:
    x = torch.randn(1, 32, 9, 75).contiguous(memory_format=torch.channels_last)
    vectors = [torch.randn(size) for size in (32, 32, 32, 48, 32, 32)]
    depthwise_bias, norm_weight, norm_bias, expand_bias, project_bias, scale = vectors
    expand, project = torch.randn(48, 32), torch.randn(32, 48)
    weights = (
        *(torch.randn(32, 1, 7, 7), depthwise_bias, norm_weight, norm_bias),
        *(expand, expand_bias, project, project_bias, scale),
    )
    double = convnext_block(x.double(), *(weight.double() for weight in weights))
    error = (convnext_block(x, *weights) - double).abs().max()
    assert error <= 1e-6 * double.abs().max()


def check() -> None:
    torch.manual_seed(0)
    _check_block()
    for dtype in ksdiff_ops.arguments.DTYPES:
        _check_operators(dtype)
    for dtype in (torch.float16, torch.bfloat16):
        _check_rounding(dtype)


if __name__ == "__main__":
    assert ksdiff_ops.build_info()["cpu_instruction_set"] == sys.argv[1]
    check()

"""Every CUDA kernel once, on shapes small enough for compute-sanitizer; see gpu.sh."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

import ksdiff_ops

# Channels and groups that make the plan stage, split and stream; sizes off the tiles' multiples.
CHANNELS = ((5, 1), (6, 2), (3, 3))
KERNELS = ((3, 3), (5, 5), (7, 7), (2, 3))
SIZE = (11, 70)
RANK = 3


def main() -> None:
    for (channels, groups), kernel in itertools.product(CHANNELS, KERNELS):
        for dtype in (torch.float32, torch.bfloat16):
            convolve(channels, groups, kernel, dtype)
    convolve(4, 2, (3, 3), torch.float64)
    for sizes, ranks in (
        ((10, 13, 3, 3), (3, 4, 2, 3)),
        ((2, 1, 7, 7), (180, 2, 7, 7)),
        ((2, 1, 7, 7), (1200, 2, 1, 1)),
    ):
        factors = [draw(2, n, r) for n, r in zip(sizes, ranks, strict=True)]
        leaves = [draw(2, *ranks), *factors, draw(*sizes)]
        run(lambda core, *rest: ksdiff_ops.tucker_kernel(core, rest[:4], rest[4]), leaves)
    torch.cuda.synchronize()


def convolve(channels: int, groups: int, kernel: tuple[int, int], dtype: torch.dtype) -> None:
    x = draw(2, channels, *SIZE, dtype=dtype)
    weight = draw(2, groups, *kernel, *SIZE, dtype=dtype)
    coeff = draw(2, groups, RANK, *SIZE, dtype=dtype)
    basis = draw(2, groups, RANK, *kernel, dtype=dtype)
    run(ksdiff_ops.dynamic_conv, [x, weight])
    run(ksdiff_ops.lowrank_dynamic_conv, [x, coeff, basis])


def run(operator: Callable[..., Tensor], leaves: list[Tensor]) -> None:
    output = operator(*leaves)
    torch.autograd.grad(output, leaves, torch.ones_like(output))


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, device="cuda", dtype=dtype, requires_grad=True)


if __name__ == "__main__":
    main()

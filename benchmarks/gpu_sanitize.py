"""Every kernel once, on shapes small enough for compute-sanitizer: `... gpu_sanitize cuda|triton`.

See gpu.sh. Each call is made on contiguous tensors and on views at odd offsets and strides, so
that both paths of every kernel run, the one of vectors and the one of single numbers.
"""

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

import ksdiff_ops
from benchmarks.ops import cases

# Channels and groups that make the plan stage, split and stream; the second width is off the
# tiles' and vectors' multiples.
CHANNELS = ((5, 1), (6, 2), (3, 3))
KERNELS = ((3, 3), (5, 5), (7, 7), (2, 3))
SIZES = ((11, 72), (11, 67))
HALVES = ("float32", "bfloat16")
RANK = 3
# Modes and ranks, of which there may be more.
TUCKER = (
    ((10, 13, 3, 3), (3, 4, 2, 3)),
    ((2, 1, 7, 7), (180, 2, 7, 7)),
    ((2, 1, 7, 7), (1200, 2, 1, 1)),
)

Call = tuple[Callable[..., Tensor], list[Tensor]]


def calls(backend: str, device: str) -> Iterator[Call]:
    """Operators, forced to `backend`, with their operands."""
    for case in itertools.chain(_pixelwise(), _dense() if backend == "triton" else ()):
        yield partial(case.ours, backend=backend), case.draw(device)
    draw = partial(torch.randn, device=device)
    x, weight = draw(2, 4, 12, 22), draw(2, 2, 3, 3, 6, 11)
    yield partial(ksdiff_ops.dynamic_conv, stride=2, backend=backend), [x, weight]
    for sizes, ranks in TUCKER:
        factors = [draw(2, n, r) for n, r in zip(sizes, ranks, strict=True)]
        yield partial(cases.kernel_of, backend=backend), [draw(2, *ranks), *factors, draw(*sizes)]


def _pixelwise() -> Iterator[cases.Case]:
    axes = itertools.product(CHANNELS, KERNELS, SIZES, HALVES)
    for (channels, groups), kernel, size, dtype in (*axes, ((4, 2), (3, 3), SIZES[0], "float64")):
        shape = (2, channels, *size)
        yield replace(cases.dynamic_conv(shape, kernel, groups), dtype=dtype)
        yield replace(cases.lowrank_dynamic_conv(shape, kernel, groups, RANK), dtype=dtype)


def _dense() -> Iterator[cases.Case]:
    for dtype, size in itertools.product(HALVES, SIZES):
        shape = (2, 6, *size)
        grouped = cases.batched_conv2d(shape, 10, groups=2)
        strided = replace(grouped, ours=partial(grouped.ours, stride=2))
        for case in (cases.batched_conv2d(shape, 10), strided, cases.adaptive_conv2d(shape, 9)):
            yield replace(case, dtype=dtype)


def _off_by_one(tensor: Tensor) -> Tensor:
    """The same numbers at an address that is no multiple of a vector."""
    return torch.cat([tensor.new_zeros(1), tensor.flatten()])[1:].view(tensor.shape)


def _turned(tensor: Tensor) -> Tensor:
    return tensor.transpose(0, -1).contiguous().transpose(0, -1)


def run(operator: Callable[..., Tensor], operands: list[Tensor]) -> None:
    for layout in (Tensor.detach, _off_by_one, _turned):
        leaves = [layout(operand).requires_grad_() for operand in operands]
        output = operator(*leaves)
        torch.autograd.grad(output, leaves, torch.ones_like(output))


def main(backend: str) -> None:
    for operator, operands in calls(backend, "cuda"):
        run(operator, operands)
    torch.cuda.synchronize()


if __name__ == "__main__":
    main(sys.argv[1])

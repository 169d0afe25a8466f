"""Every kernel once, on shapes small enough for compute-sanitizer: `... gpu_sanitize cuda|triton`.

See gpu.sh. Each call is made on contiguous tensors and on views at odd offsets and strides, so
that both paths of every kernel run, the one of vectors and the one of single numbers.
"""

import itertools
import sys
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

import ksdiff_ops

# Channels and groups that make the plan stage, split and stream; the second width is off the
# tiles' and vectors' multiples.
CHANNELS = ((5, 1), (6, 2), (3, 3))
KERNELS = ((3, 3), (5, 5), (7, 7), (2, 3))
SIZES = ((11, 72), (11, 67))
RANK = 3
TUCKER = (
    ((10, 13, 3, 3), (3, 4, 2, 3)),
    ((2, 1, 7, 7), (180, 2, 7, 7)),
    ((2, 1, 7, 7), (1200, 2, 1, 1)),
)

Call = tuple[Callable[..., Tensor], list[Tensor]]


def calls(backend: str, device: str) -> Iterator[Call]:
    """Operators, forced to `backend`, with their operands."""
    draw = partial(torch.randn, device=device)
    for (channels, groups), kernel, size in itertools.product(CHANNELS, KERNELS, SIZES):
        for dtype in (torch.float32, torch.bfloat16):
            yield from _pixelwise(
                backend, partial(draw, dtype=dtype), channels, groups, kernel, size
            )
    double = partial(draw, dtype=torch.float64)
    yield from _pixelwise(backend, double, 4, 2, (3, 3), SIZES[0])
    x, weight = draw(2, 4, 12, 22), draw(2, 2, 3, 3, 6, 11)
    yield partial(ksdiff_ops.dynamic_conv, stride=2, backend=backend), [x, weight]
    for sizes, ranks in TUCKER:
        factors = [draw(2, n, r) for n, r in zip(sizes, ranks, strict=True)]
        yield partial(_tucker_kernel, backend), [draw(2, *ranks), *factors, draw(*sizes)]
    if backend == "triton":
        yield from _dense(backend, draw)


def _pixelwise(backend, draw, channels, groups, kernel, size) -> Iterator[Call]:
    x = draw(2, channels, *size)
    weight = draw(2, groups, *kernel, *size)
    mixture = draw(2, groups, RANK, *size), draw(2, groups, RANK, *kernel)
    yield partial(ksdiff_ops.dynamic_conv, backend=backend), [x, weight]
    yield partial(ksdiff_ops.lowrank_dynamic_conv, backend=backend), [x, *mixture]


def _dense(backend, draw) -> Iterator[Call]:
    for dtype, size in itertools.product((torch.float32, torch.bfloat16), SIZES):
        draw_typed = partial(draw, dtype=dtype)
        for window in ({}, {"stride": 2, "groups": 2}):
            kernels = draw_typed(2, 10, 6 // window.get("groups", 1), 3, 3)
            batched = partial(ksdiff_ops.batched_conv2d, backend=backend, **window)
            yield batched, [draw_typed(2, 6, *size), kernels]
        attention, kernel = draw_typed(2, 3, 3, *size), draw_typed(9, 6, 3, 3)
        adaptive = partial(ksdiff_ops.adaptive_conv2d, backend=backend)
        yield adaptive, [draw_typed(2, 6, *size), attention, kernel]


def _tucker_kernel(backend: str, core: Tensor, *rest: Tensor) -> Tensor:
    return ksdiff_ops.tucker_kernel(core, rest[:4], rest[4], backend=backend)


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

"""Every kernel once, on shapes small enough for compute-sanitizer: `... gpu_sanitize cuda|triton`.

See gpu.sh. Each call is made on contiguous tensors and on views at odd offsets and strides, so
that both paths of every kernel run, the one of vectors and the one of single numbers.
"""

import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from benchmarks.ops import cases, measure

# Channels and groups that make the plan stage, split and stream; the second width is off the
# tiles' and vectors' multiples.
CHANNELS = ((5, 1), (6, 2), (3, 3))
KERNELS = ((3, 3), (5, 5), (7, 7), (2, 3))
SIZES = ((11, 72), (11, 67))
HALVES = ("float32", "bfloat16")
# Kernels, and ranks of which there may be more.
TUCKER = (
    ((10, 13, 3, 3), (3, 4, 2, 3)),
    ((2, 1, 7, 7), (180, 2, 7, 7)),
    ((2, 1, 7, 7), (1200, 2, 1, 1)),
)


def calls(backend: str) -> Iterator[cases.Case]:
    """The cases whose kernels a backend has."""
    axes = itertools.product(CHANNELS, KERNELS, SIZES, HALVES)
    for (channels, groups), kernel, size, dtype in (*axes, ((4, 2), (3, 3), SIZES[0], "float64")):
        shape = (2, channels, *size)
        yield replace(cases.dynamic_conv(shape, kernel, groups), dtype=dtype)
        yield replace(cases.lowrank_dynamic_conv(shape, kernel, groups, 3), dtype=dtype)
    yield _strided(cases.dynamic_conv((2, 4, 12, 22), 3, 2), (2, 2, 3, 3, 6, 11))
    for sizes, ranks in TUCKER:
        factors = ((2, *pair) for pair in zip(sizes, ranks, strict=True))
        yield replace(cases.tucker_kernel((2, *sizes)), shapes=((2, *ranks), *factors, sizes))
    if backend == "triton":
        for dtype, size in itertools.product(HALVES, SIZES):
            shape = (2, 6, *size)
            grouped = cases.batched_conv2d(shape, 10, groups=2)
            whole = cases.batched_conv2d(shape, 10), cases.adaptive_conv2d(shape, 9)
            for case in (*whole, _strided(grouped, grouped.shapes[1])):
                yield replace(case, dtype=dtype)


def _strided(case: cases.Case, weight: cases.Shape) -> cases.Case:
    return replace(case, ours=partial(case.ours, stride=2), shapes=(case.shapes[0], weight))


def _off_by_one(tensor: Tensor) -> Tensor:
    """The same numbers at an address that is no multiple of a vector."""
    return torch.cat([tensor.new_zeros(1), tensor.flatten()])[1:].view(tensor.shape)


def _turned(tensor: Tensor) -> Tensor:
    return tensor.transpose(0, -1).contiguous().transpose(0, -1)


def main(backend: str, device: str = "cuda") -> None:
    for case in calls(backend):
        operator = partial(case.ours, backend=backend)
        gradient = torch.ones(case.output, dtype=case.torch_dtype, device=device)
        for layout in (Tensor.detach, _off_by_one, _turned):
            operands = [layout(each.detach()).requires_grad_() for each in case.draw(device)]
            measure.run(operator, gradient, operands)
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main(sys.argv[1])

"""Shapes that together reach every variant that a launch plan can choose, and their tensors."""

from dataclasses import dataclass

import torch
from torch import Tensor

Pair = tuple[int, int]


@dataclass(frozen=True)
class ConvCase:
    """A per-pixel convolution; the output's size is free, as for the low-level operators."""

    batch: int
    channels: int
    groups: int
    size: Pair
    kernel: Pair
    out: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    rank: int = 3

    @property
    def window(self) -> tuple[Pair, Pair, Pair]:
        return self.stride, self.padding, self.dilation

    def __str__(self) -> str:
        parts = [self.batch, self.channels, *self.size]
        text = "x".join(map(str, parts)) + f"-g{self.groups}-k{self.kernel[0]}x{self.kernel[1]}"
        if self.stride != (1, 1) or self.dilation != (1, 1):
            text += f"-s{self.stride[0]}{self.stride[1]}-d{self.dilation[0]}{self.dilation[1]}"
        return text

    def tensors(self, dtype: torch.dtype, seed: int = 0) -> dict[str, Tensor]:
        """x, weight, coeff, basis and an output gradient, all normal."""
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

        per_image = (self.batch, self.groups)
        return {
            "x": draw(self.batch, self.channels, *self.size),
            "weight": draw(*per_image, *self.kernel, *self.out),
            "coeff": draw(*per_image, self.rank, *self.out),
            "basis": draw(*per_image, self.rank, *self.kernel),
            "grad": draw(self.batch, self.channels, *self.out),
        }


def same(batch, channels, groups, size, kernel, **more) -> ConvCase:
    padding = ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2)
    return ConvCase(batch, channels, groups, size, kernel, out=size, padding=padding, **more)


# Widths off and on the vectors' multiples, over one and several tiles; channels that fill a
# stage of shared memory, leave it part-filled, or are split among blocks.
FAST = (
    same(2, 6, 2, (9, 70), (3, 3)),
    same(1, 9, 1, (5, 64), (3, 3), rank=6),
    same(1, 10, 2, (9, 33), (5, 5)),
    same(1, 3, 1, (17, 68), (5, 5), rank=5),
    same(1, 5, 1, (10, 35), (7, 7)),
    same(1, 2, 1, (3, 2), (7, 7)),
    same(1, 2, 1, (1040, 1), (3, 3), rank=2),  # more tiles than parts that sum them
)
STREAMING = (
    same(1, 3, 3, (9, 35), (3, 3)),
    same(2, 2, 2, (3, 136), (5, 5)),
    same(1, 2, 2, (9, 24), (7, 7)),
    same(1, 1, 1, (1, 129), (3, 3)),
)
# No padding, more padding than the kernel reaches, an output cut short or drawn out.
SHIFTED = (
    ConvCase(1, 4, 2, (8, 12), (3, 3), out=(6, 10)),
    ConvCase(1, 4, 2, (6, 9), (5, 5), out=(14, 17), padding=(6, 6)),
    ConvCase(1, 2, 2, (7, 9), (3, 3), out=(4, 21), padding=(0, 5)),
)
GENERAL = (
    same(1, 5, 1, (6, 41), (1, 1)),
    same(2, 6, 3, (7, 10), (2, 4), rank=9),
    same(1, 3, 3, (9, 34), (3, 5)),
    ConvCase(1, 4, 2, (11, 13), (3, 3), out=(6, 13), stride=(2, 1), padding=(1, 1)),
    ConvCase(1, 2, 1, (9, 8), (3, 3), out=(9, 8), padding=(2, 3), dilation=(2, 3)),
    ConvCase(1, 4, 1, (12, 15), (5, 3), out=(4, 4), stride=(3, 4), padding=(2, 2), dilation=(2, 1)),
    same(1, 2, 1, (4, 5), (9, 9)),
    same(1, 2, 1, (1040, 1), (2, 1), rank=2),
)
EMPTY = (
    same(0, 4, 2, (5, 6), (3, 3)),
    same(1, 0, 1, (5, 6), (3, 3)),
    same(1, 4, 2, (0, 6), (3, 3)),
    ConvCase(1, 4, 2, (5, 6), (3, 3), out=(0, 6)),
    ConvCase(1, 4, 4, (5, 6), (3, 3), out=(5, 0)),
    ConvCase(1, 4, 2, (5, 6), (2, 2), out=(0, 6)),
    same(1, 4, 2, (5, 6), (3, 3), rank=0),
    same(1, 2, 2, (5, 6), (2, 3), rank=0),
)
CONVOLUTIONS = FAST + STREAMING + SHIFTED + GENERAL


@dataclass(frozen=True)
class TuckerCase:
    batch: int
    out: int
    in_: int
    kernel: Pair
    ranks: tuple[int, int, int, int]
    base: bool = True

    def __str__(self) -> str:
        sizes = "x".join(map(str, (self.batch, self.out, self.in_, *self.kernel)))
        return f"{sizes}-r{'x'.join(map(str, self.ranks))}" + ("" if self.base else "-nobase")

    def tensors(self, dtype: torch.dtype, seed: int = 0) -> list[Tensor | None]:
        """core, u1, u2, u3, u4 and base, all normal."""
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

        sizes = (self.out, self.in_, *self.kernel)
        factors = [draw(self.batch, n, r) for n, r in zip(sizes, self.ranks, strict=True)]
        base = draw(*sizes) if self.base else None
        return [draw(self.batch, *self.ranks), *factors, base]


TUCKER = (
    TuckerCase(2, 10, 13, (3, 3), (3, 4, 2, 3)),
    TuckerCase(1, 33, 5, (5, 3), (8, 8, 3, 3), base=False),
    TuckerCase(3, 1, 1, (1, 1), (1, 1, 1, 1)),
    TuckerCase(1, 20, 9, (7, 7), (40, 6, 7, 7)),  # one input channel per block
    TuckerCase(1, 2, 2, (7, 7), (180, 2, 7, 7)),  # more shared memory than the default
    TuckerCase(1, 2, 1, (7, 7), (1200, 2, 1, 1)),  # more than a block can have
)
TUCKER_EMPTY = (
    TuckerCase(0, 4, 3, (3, 3), (2, 2, 2, 2)),
    TuckerCase(1, 0, 3, (3, 3), (2, 2, 2, 2)),
    TuckerCase(1, 4, 0, (3, 3), (2, 2, 2, 2)),
    TuckerCase(1, 4, 3, (3, 3), (2, 0, 2, 2)),
    TuckerCase(1, 4, 3, (3, 3), (0, 2, 2, 0)),
)

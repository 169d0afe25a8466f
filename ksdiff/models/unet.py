"""PanNeXt-U: a U-Net of ConvNeXt blocks whose convolutions take generated kernels."""

import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ksdiff.models.kernels import ModulatedConv2d
from ksdiff.models.layers import ChannelNorm, PatchConv2d, UnpatchConv2d

_PATCH = 2  # PAN pixels per side of a pixel of the first level


class ConvNeXtBlock(nn.Module):
    """x + scale * PW2(GELU(PW1(LN(DW7(x))))) (Liu et al. 2022); all three kernels modulated."""

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        self.depthwise = ModulatedConv2d(channels, channels, 7, groups=channels)
        self.norm = ChannelNorm(channels)
        self.expand = ModulatedConv2d(channels, expansion * channels, 1)
        self.project = ModulatedConv2d(expansion * channels, channels, 1)
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 0.1))

    def forward(self, x: Tensor, kernels: Iterator[Tensor]) -> Tensor:
        y = self.norm(self.depthwise(x, next(kernels)))
        y = F.gelu(self.expand(y, next(kernels)))
        return torch.addcmul(x, self.scale, self.project(y, next(kernels)))


class PanNeXtU(nn.Module):
    """x [B, in_channels, H, W] -> y [B, out_channels, H, W]; H, W multiples of 2 ** levels.

    The first level works on 2x2 patches of the PAN grid, in and out: at PAN resolution itself
    every memory pass costs four times as much, and the detail that is added comes from PAN itself.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        expansion: int,
    ) -> None:
        super().__init__()
        self.stem = PatchConv2d(in_channels, widths[0], _PATCH, 3)
        self.encoder = nn.ModuleList(
            _stage(width, depth, expansion) for width, depth in zip(widths, depths, strict=True)
        )
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairs)
        self.decoder = nn.ModuleList(
            _stage(width, depth, expansion)
            for width, depth in zip(widths[:-1], depths[:-1], strict=True)
        )
        self.head = UnpatchConv2d(widths[0], out_channels, _PATCH)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def modulated_layers(self) -> list[ModulatedConv2d]:
        """The layers in the order in which ``forward`` takes their kernels."""
        stages = [*self.encoder, *reversed(self.decoder)]
        return [
            layer
            for stage in stages
            for block in stage
            for layer in (block.depthwise, block.expand, block.project)
        ]

    def forward(self, x: Tensor, kernels: list[Tensor]) -> Tensor:
        remaining = iter(kernels)
        x = self.stem(x)
        skips = []
        for level, stage in enumerate(self.encoder):
            if level:
                x = self.down[level - 1](x)
            for block in stage:
                x = block(x, remaining)
            skips.append(x)
        for level in reversed(range(len(self.decoder))):
            x = self.up[level](x) + skips[level]
            for block in self.decoder[level]:
                x = block(x, remaining)
        return self.head(x)


def _stage(width: int, depth: int, expansion: int) -> nn.ModuleList:
    return nn.ModuleList(ConvNeXtBlock(width, expansion) for _ in range(depth))

"""PanNeXt-U: a U-Net of ConvNeXt blocks whose convolutions take generated kernels."""

import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ksdiff_ops
from ksdiff.images.piecewise import piecewise
from ksdiff.models.bands import BandHead, BandKernels, MixedStem
from ksdiff.models.kernels import ModulatedConv2d
from ksdiff.models.layers import ChannelNorm, PatchConv2d, UnpatchConv2d, UpConv2d

PATCH = 2  # PAN pixels per side of a pixel of the first level


class ConvNeXtBlock(nn.Module):
    """x + scale * PW2(GELU(PW1(LN(DW7(x))))) (Liu et al. 2022); all three kernels modulated."""

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        self.depthwise = ModulatedConv2d(channels, channels, 7, groups=channels)
        self.norm = ChannelNorm(channels)
        self.expand = ModulatedConv2d(channels, expansion * channels, 1)
        self.project = ModulatedConv2d(expansion * channels, channels, 1)
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 0.1))

    def forward(self, x: Tensor, kernels: Iterator[Tensor], spare: Tensor | None = None) -> Tensor:
        """With memory of x's size that the result may take."""
        depthwise, expand, project = itertools.islice(kernels, 3)
        if expand.dim() == 3 or len(expand) > 1:
            y = self.norm(self.depthwise(x, depthwise))
            y = self.project(F.gelu(self.expand(y, expand)), project)
            return torch.addcmul(x, self.scale, y)
        biases = [layer.bias for layer in (self.depthwise, self.expand, self.project)]
        return ksdiff_ops.convnext_block(
            *(x, depthwise[0], biases[0], self.norm.weight, self.norm.bias),
            *(expand[0].flatten(1), biases[1], project[0].flatten(1), biases[2]),
            self.scale.flatten(),
            eps=self.norm.eps,
            out=spare,
        )


class Stage(nn.ModuleList):
    """The blocks of one level, in one direction."""

    def __init__(self, width: int, depth: int, expansion: int) -> None:
        super().__init__(ConvNeXtBlock(width, expansion) for _ in range(depth))

    def forward(self, x: Tensor, kernels: Iterator[Tensor]) -> Tensor:
        """``x`` is overwritten where no gradients are recorded."""
        spare = None
        for block in self:
            y = block(x, kernels, spare)
            x, spare = y, x if piecewise(x) and x.dtype == y.dtype else None
        return x


class PanNeXtU(nn.Module):
    """x [B, in_channels, H, W] -> y [B, out_channels, H, W]; H, W multiples of 2 ** levels.

    The first level works on 2x2 patches of the PAN grid, in and out: at PAN resolution itself
    every memory pass costs four times as much, and the detail that is added comes from PAN itself.
    """

    def __init__(
        self,
        stem: nn.Module,
        head: nn.Module,
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        expansion: int,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.encoder = nn.ModuleList(
            Stage(width, depth, expansion) for width, depth in zip(widths, depths, strict=True)
        )
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.up = nn.ModuleList(UpConv2d(b, a) for a, b in pairs)
        self.decoder = nn.ModuleList(
            Stage(width, depth, expansion)
            for width, depth in zip(widths[:-1], depths[:-1], strict=True)
        )
        self.head = head

    @classmethod
    def of_bands(
        cls,
        bands: int,
        out_channels: int,
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        expansion: int,
    ) -> "PanNeXtU":
        """For a fixed number of bands: they, PAN and its detail enter, ``out_channels`` leave."""
        stem = PatchConv2d(bands + 2, widths[0], PATCH, 3)
        head = UnpatchConv2d(widths[0], out_channels, PATCH)
        for parameter in head.parameters():
            nn.init.zeros_(parameter)
        return cls(stem, head, widths, depths, expansion)

    @classmethod
    def of_any_bands(
        cls, basis: int, widths: tuple[int, ...], depths: tuple[int, ...], expansion: int
    ) -> "PanNeXtU":
        """For any bands: the kernels of stem and head are given at each call."""
        stem = MixedStem(2, widths[0], PATCH, 3, basis)
        head = BandHead(widths[0], PATCH, basis)
        return cls(stem, head, widths, depths, expansion)

    def modulated_layers(self) -> list[ModulatedConv2d]:
        """The layers in the order in which ``forward`` takes their kernels."""
        stages = [*self.encoder, *reversed(self.decoder)]
        layers = (layer for stage in stages for layer in stage.modules())
        return [layer for layer in layers if isinstance(layer, ModulatedConv2d)]

    def end_kernels(self, stem: Tensor, head: Tensor, gain: Tensor) -> BandKernels:
        """For any bands: the kernels of both ends from mixes [B, C, basis]; gain [B, C]."""
        assert isinstance(self.stem, MixedStem) and isinstance(self.head, BandHead)
        return BandKernels(self.stem.kernel(stem), self.head.kernel(head), gain)

    def forward(self, x: Tensor, kernels: list[Tensor], ends: BandKernels | None = None) -> Tensor:
        """With the modulated layers' kernels and, for any bands, those of the two ends."""
        remaining = iter(kernels)
        x = self.stem(x) if ends is None else self.stem(x, ends.stem)
        skips = []
        for level, stage in enumerate(self.encoder):
            if level:
                x = self.down[level - 1](x)
            x = stage(x, remaining)
            skips.append(x)
        for level in reversed(range(len(self.decoder))):
            x = self.up[level](x, skips.pop(level))
            x = self.decoder[level](x, remaining)
        return self.head(x) if ends is None else self.head(x, ends.head)

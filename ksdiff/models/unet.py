"""PanNeXt-U: a U-Net of ConvNeXt blocks whose convolutions take generated kernels."""

import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ksdiff.models.bands import BandHead, BandKernels, MixedStem
from ksdiff.models.kernels import ModulatedConv2d
from ksdiff.models.layers import ChannelNorm, PatchConv2d, UnpatchConv2d, runs_in_parts

PATCH = 2  # PAN pixels per side of a pixel of the first level
_HIDDEN = 400_000  # values between a block's pointwise convolutions at a time; measured


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
        y = self.depthwise(x, next(kernels))
        expand, project = next(kernels), next(kernels)
        if _overwrites(x, y, expand):
            return self._pixel_by_pixel(x, y, expand[0], project[0])
        y = F.gelu(self.expand(self.norm(y), expand))
        return torch.addcmul(x, self.scale, self.project(y, project))

    def _pixel_by_pixel(self, x: Tensor, y: Tensor, expand: Tensor, project: Tensor) -> Tensor:
        """What follows the depthwise convolution ``y``, which is overwritten: the same values, some
        pixels at a time, so that what becomes of them stays in the cache."""
        assert self.expand.bias is not None and self.project.bias is not None
        scale = self.scale.flatten()
        into, out = expand.flatten(1).t(), project.flatten(1).t() * scale
        shift = self.project.bias * scale
        count = max(_HIDDEN // len(expand), 1)
        pixels = (image.permute(0, 2, 3, 1).flatten(0, 2).split(count) for image in (x, y))
        for source, target in zip(*pixels, strict=True):
            hidden = torch.addmm(self.expand.bias, self.norm.of_last(target), into)
            hidden = torch.ops.aten.gelu_(hidden)
            torch.add(source, shift, out=target).addmm_(hidden, out)
        return y


def _overwrites(x: Tensor, y: Tensor, expand: Tensor) -> bool:
    """Whether a block may overwrite what it computes: on CPUs, without gradients, one plain kernel
    for all samples, channels last."""
    return (
        runs_in_parts(x)
        and len(expand) == 1
        and expand.dim() == 5
        and x.dtype == y.dtype == expand.dtype
        and all(image.is_contiguous(memory_format=torch.channels_last) for image in (x, y))
    )


class Stage(nn.ModuleList):
    """The blocks of one level, in one direction."""

    def __init__(self, width: int, depth: int, expansion: int) -> None:
        super().__init__(ConvNeXtBlock(width, expansion) for _ in range(depth))

    def forward(self, x: Tensor, kernels: Iterator[Tensor]) -> Tensor:
        for block in self:
            x = block(x, kernels)
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
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairs)
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
            x = self.up[level](x).add_(skips.pop(level))
            x = self.decoder[level](x, remaining)
        return self.head(x) if ends is None else self.head(x, ends.head)

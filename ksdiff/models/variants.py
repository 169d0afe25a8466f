"""Replacements of the paper's parts for the ablations."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ksdiff.config import KernelConfig
from ksdiff.models.bands import BandImage
from ksdiff.models.kernels import LayerShape, LocalFeatures
from ksdiff.models.layers import ConvBlock, PatchConv2d

_BLOCKS_PER_LEVEL = 4  # as many parameters as a level of PLFE has


class ConcatEncoder(nn.Module):
    """Replaces PLFE: source and guide concatenated, then convolutions.

    Inputs and output are those of :class:`~ksdiff.models.encoder.PLFE`, ``channels`` those of both
    together; there is no attention and no gate.
    """

    def __init__(
        self,
        channels: int,
        *,
        patch: int,
        width: int,
        levels: int,
        tokens: int,
        out_channels: int,
    ) -> None:
        super().__init__()
        self.grid = math.isqrt(tokens)
        self.stem = PatchConv2d(channels, width, patch)
        self.levels = nn.ModuleList(
            nn.Sequential(*(ConvBlock(width) for _ in range(_BLOCKS_PER_LEVEL)))
            for _ in range(levels)
        )
        self.project = nn.Linear(width, out_channels)

    def forward(self, source: Tensor, guide: Tensor) -> Tensor:
        x = self.stem(torch.cat((source, guide), 1))
        for number, level in enumerate(self.levels):
            if number:
                x = F.avg_pool2d(x, 2, ceil_mode=True)
            x = level(x)
        pooled = F.adaptive_avg_pool2d(x, self.grid)
        return self.project(pooled.flatten(2).transpose(1, 2))


class MLPKernelGenerator(nn.Module):
    """Replaces the Tucker product: every element of W from one MLP, W1 = W0 * W.

    It sees what the Tucker generator sees, the prior and the local features, as their means.
    """

    def __init__(
        self,
        z_channels: int,
        stem: nn.Module | int,
        layers: list[LayerShape],
        config: KernelConfig,
    ) -> None:
        super().__init__()
        self.sizes = [math.prod(layer.modes) for layer in layers]
        self.local = LocalFeatures(stem, config)
        last = nn.Linear(2 * z_channels, sum(self.sizes))
        self.mlp = nn.Sequential(
            nn.Linear(z_channels + config.width, 2 * z_channels), nn.GELU(), last
        )
        with torch.no_grad():
            # W near 1: the network starts as its own base network.
            last.weight.mul_(0.1)
            last.bias.fill_(1.0)

    def tokens(self, features: Tensor | BandImage) -> Tensor:
        return self.local.tokens(features)

    def forward(self, z: Tensor, tokens: Tensor, base: list[Tensor]) -> list[Tensor]:
        products = self.mlp(torch.cat((z.mean(1), tokens.mean(1)), -1)).split(self.sizes, -1)
        return [
            product.unflatten(-1, weight.shape) * weight
            for product, weight in zip(products, base, strict=True)
        ]


class PlainKernels(nn.Module):
    """Replaces the kernel generator: the base kernels themselves, for every sample."""

    def __init__(
        self,
        z_channels: int,
        stem: nn.Module | int,
        layers: list[LayerShape],
        config: KernelConfig,
    ) -> None:
        super().__init__()

    def tokens(self, features: Tensor | BandImage) -> Tensor:
        pixels = features.x if isinstance(features, BandImage) else features
        return pixels.new_zeros(len(pixels), 1, 1)

    def forward(self, z: Tensor, tokens: Tensor, base: list[Tensor]) -> list[Tensor]:
        return [weight[None] for weight in base]


class FeatureModulation(PlainKernels):
    """Replaces the kernel generator: features modulated by the prior, as in DiffIR.

    Every channel of every layer's output gets a scale and a shift, linear in z (Xia et al. 2023),
    [B, 2, C_out] in the place of a kernel; the kernels stay W0, and local features are not used.
    """

    def __init__(
        self,
        z_channels: int,
        stem: nn.Module | int,
        layers: list[LayerShape],
        config: KernelConfig,
    ) -> None:
        super().__init__(z_channels, stem, layers, config)
        self.channels = [layer.modes[0] for layer in layers]
        self.scale_and_shift = nn.Linear(z_channels, 2 * sum(self.channels))
        with torch.no_grad():
            # Near scale 1 and shift 0: the network starts as its own base network.
            self.scale_and_shift.weight.mul_(0.1)
            scale, shift = self.scale_and_shift.bias.chunk(2)
            scale.fill_(1.0)
            shift.zero_()

    def forward(self, z: Tensor, tokens: Tensor, base: list[Tensor]) -> list[Tensor]:
        both = self.scale_and_shift(z.mean(1)).unflatten(-1, (2, -1))
        return list(both.split(self.channels, -1))

"""From prior and local features to convolution kernels: W1 = W0 * (G x1 U1 x2 U2 x3 U3 x4 U4)."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ksdiff_ops
from ksdiff.config import KernelConfig
from ksdiff.models.bands import BandImage
from ksdiff.models.layers import ConvBlock, PatchConv2d

_TOKEN_GRID = 8  # local features are pooled to 8 x 8 tokens


class ModulatedConv2d(nn.Module):
    """A convolution whose kernel is given per sample: y_b = x_b * W1_b + bias.

    The layer holds the base kernel W0 [C_out, C_in / groups, k, k] and the bias; the modulated
    kernel W1 [B or 1, C_out, C_in / groups, k, k] comes from :class:`KernelGenerator`. Padding
    keeps the size. In its place may stand scale and shift [B or 1, 2, C_out] of W0's output.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, groups: int = 1):
        super().__init__()
        like = nn.Conv2d(in_channels, out_channels, kernel_size, groups=groups)
        assert like.bias is not None
        self.weight, self.bias = like.weight, like.bias
        self.groups = groups

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        if kernel.dim() == 3:
            scale, shift = kernel[..., None, None].unbind(1)
            return torch.addcmul(shift, scale, self(x, self.weight[None]))
        if len(kernel) > 1:
            return ksdiff_ops.batched_conv2d(x, kernel, self.bias, groups=self.groups)
        # One kernel for all, as in inference: PyTorch's own is the fastest forward.
        kernel, size = kernel[0], kernel.shape[-1]
        if size == 1 and self.groups == 1:
            # Pointwise: one matrix product over channels_last pixels, which adds the bias, too.
            pixels = x.permute(0, 2, 3, 1)
            return F.linear(pixels, kernel[:, :, 0, 0], self.bias).permute(0, 3, 1, 2)
        return F.conv2d(x, kernel, self.bias, padding=size // 2, groups=self.groups)


class LayerShape(NamedTuple):
    """Kernel modes (C_out, C_in / groups, k_h, k_w) and Tucker ranks of a modulated layer."""

    modes: tuple[int, int, int, int]
    ranks: tuple[int, int, int, int]


class CoreGenerator(nn.Module):
    """Low-rank core tensors from the global prior: mean over the tokens of z, then an MLP.

    z [B, N, C_z] -> one core [B, r1, r2, r3, r4] per layer.
    """

    def __init__(self, channels: int, ranks: list[tuple[int, int, int, int]]) -> None:
        super().__init__()
        self.ranks = ranks
        self.sizes = [math.prod(rank) for rank in ranks]
        last = nn.Linear(2 * channels, sum(self.sizes))
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), last)
        with torch.no_grad():
            # Core (1, 0, 0, ...) with factors whose first column is 1 gives W = 1: the network
            # starts as its own base network.
            last.weight.mul_(0.1)
            last.bias.zero_()
            offsets = torch.tensor([0, *self.sizes[:-1]]).cumsum(0)
            last.bias[offsets] = 1.0

    def forward(self, z: Tensor) -> list[Tensor]:
        cores = self.mlp(z.mean(1)).split(self.sizes, -1)
        return [core.unflatten(-1, rank) for core, rank in zip(cores, self.ranks, strict=True)]


class StructureAwareAttention(nn.Module):
    """One head group of SA-MHA: the factor matrices of one kernel mode, for all layers at once.

    Every row of a factor (an output channel, an input channel, a kernel row or column) has a
    learnt query, its place in the kernel's structure; it attends to the local feature tokens
    [B, L, D] and is mapped to the mode's rank. Gives U [B, d_n, r_n] per layer.
    """

    def __init__(self, width: int, heads: int, dims: list[int], ranks: list[int]) -> None:
        super().__init__()
        self.heads, self.dims, self.ranks = heads, dims, ranks
        self.queries = nn.Parameter(torch.randn(sum(dims), width))
        self.key_value = nn.Linear(width, 2 * width)
        outputs = [nn.Linear(width, rank) for rank in ranks]
        self.outputs = nn.ModuleList(outputs)
        for output in outputs:
            with torch.no_grad():
                output.weight[0] *= 0.1
                output.bias[0] = 1.0

    def forward(self, tokens: Tensor) -> list[Tensor]:
        key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.key_value(tokens).chunk(2, -1)
        )
        query = self.queries.unflatten(-1, (self.heads, -1)).transpose(0, 1)
        query = query.expand(len(tokens), -1, -1, -1)
        attended = F.scaled_dot_product_attention(query, key, value)
        rows = (attended.transpose(1, 2).flatten(2) + self.queries).split(self.dims, 1)
        return [output(row) for output, row in zip(self.outputs, rows, strict=True)]


class LocalFeatures(nn.Module):
    """A light backbone: what ``stem`` takes (local features [B, channels, H, W]) -> tokens."""

    def __init__(self, stem: nn.Module | int, config: KernelConfig) -> None:
        super().__init__()
        if isinstance(stem, int):
            stem = PatchConv2d(stem, config.width, config.patch)
        self.stem = stem
        self.backbone = nn.Sequential(
            ConvBlock(config.width), nn.AvgPool2d(2, ceil_mode=True), ConvBlock(config.width)
        )

    def tokens(self, features: Tensor | BandImage) -> Tensor:
        """Local feature tokens [B, L, D] of one window, L = 64."""
        local = F.adaptive_avg_pool2d(self.backbone(self.stem(features)), _TOKEN_GRID)
        return local.flatten(2).transpose(1, 2)


class FactorGenerator(LocalFeatures):
    """Unified factor generator: one light backbone, one attention head group per kernel mode.

    Local features [B, channels, H, W] -> for each layer its four factors U(n) [B, d_n, r_n].
    """

    def __init__(
        self, stem: nn.Module | int, layers: list[LayerShape], config: KernelConfig
    ) -> None:
        super().__init__(stem, config)
        self.modes = nn.ModuleList(
            StructureAwareAttention(
                config.width,
                config.heads,
                [layer.modes[mode] for layer in layers],
                [layer.ranks[mode] for layer in layers],
            )
            for mode in range(4)
        )

    def factors(self, tokens: Tensor) -> list[tuple[Tensor, ...]]:
        return list(zip(*(mode(tokens) for mode in self.modes), strict=True))


class KernelGenerator(nn.Module):
    """Kernels of all modulated layers from prior z [B, N, C_z] and local tokens [B, L, D].

    ``stem`` brings the local features to ``config.width`` channels at a ``config.patch``-th of
    their size; a number of channels stands for a plain convolution that does.
    """

    def __init__(
        self,
        z_channels: int,
        stem: nn.Module | int,
        layers: list[LayerShape],
        config: KernelConfig,
    ) -> None:
        super().__init__()
        self.core = CoreGenerator(z_channels, [layer.ranks for layer in layers])
        self.factor = FactorGenerator(stem, layers, config)

    def tokens(self, features: Tensor | BandImage) -> Tensor:
        """Local feature tokens [B, L, D] of features [B, C, H, W]."""
        return self.factor.tokens(features)

    def forward(self, z: Tensor, tokens: Tensor, base: list[Tensor]) -> list[Tensor]:
        cores, factors = self.core(z), self.factor.factors(tokens)
        return [
            ksdiff_ops.tucker_kernel(core, factor, weight)
            for core, factor, weight in zip(cores, factors, base, strict=True)
        ]


def layer_shape(layer: nn.Module, ranks: tuple[int, int, int, int]) -> LayerShape:
    """Of a layer with a ``weight`` [C_out, C_in / groups, k, k]; ranks are cut to its modes."""
    outputs, inputs, rows, columns = layer_weight(layer).shape
    modes = (outputs, inputs, rows, columns)
    r1, r2, r3, r4 = (min(pair) for pair in zip(ranks, modes, strict=True))
    return LayerShape(modes, (r1, r2, r3, r4))


def layer_weight(layer: nn.Module) -> Tensor:
    """The ``weight`` of a modulated layer."""
    return layer.get_parameter("weight")

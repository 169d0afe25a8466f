"""PLFE, the pyramid latent fusion encoder: images in, compact prior z [B, N, C_z] out."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ksdiff.models.layers import ConvBlock


class LinearCrossAttention(nn.Module):
    """Cross-attention whose memory is O(d^2), not O((HW)^2).

    Queries x and keys, values y, both [B, C, H, W]. Keys are normalised over pixels and queries
    over channels, so keys and values contract to one d x d matrix per head first.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        query = self.query(x).flatten(2).unflatten(1, (self.heads, -1))  # [B, heads, d, HW]
        key, value = (
            part.flatten(2).unflatten(1, (self.heads, -1)) for part in self.key_value(y).chunk(2, 1)
        )
        context = key.softmax(-1) @ value.transpose(-1, -2)  # [B, heads, d, d]
        attended = context.transpose(-1, -2) @ query.softmax(-2)
        return self.project(attended.flatten(1, 2).unflatten(-1, x.shape[-2:]))


class FusionLevel(nn.Module):
    """One level: F = gate * X + (1 - gate) * Proj(Y) + O (paper, PLFE), then refinement."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, channels, 1)
        self.gate = nn.Conv2d(2 * channels, channels, 1)
        self.attention = LinearCrossAttention(channels, heads)
        self.refine = ConvBlock(channels)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        projected = self.project(y)
        gate = self.gate(torch.cat((x, projected), 1)).sigmoid()
        return self.refine(gate * x + (1 - gate) * projected + self.attention(x, y))


class PLFE(nn.Module):
    """Pyramid latent fusion encoder.

    ``source`` is refined by ``guide``, both brought to [B, width, H / patch, W / patch] by their
    stems, over ``levels`` halvings, and pooled to ``tokens`` tokens of ``out_channels`` channels.
    PLFE1 takes PAN and LRMS as source and the ground truth as guide; PLFE2, half as wide, takes PAN
    as source and LRMS as guide.
    """

    def __init__(
        self,
        source_stem: nn.Module,
        guide_stem: nn.Module,
        *,
        width: int,
        levels: int,
        heads: int,
        tokens: int,
        out_channels: int,
    ) -> None:
        super().__init__()
        self.grid = math.isqrt(tokens)
        self.source_stem, self.guide_stem = source_stem, guide_stem
        self.levels = nn.ModuleList(FusionLevel(width, heads) for _ in range(levels))
        self.guide_blocks = nn.ModuleList(ConvBlock(width) for _ in range(levels))
        self.project = nn.Linear(width, out_channels)

    def forward(self, source: Tensor, guide: Tensor) -> Tensor:
        x = self.source_stem(source)
        y = self.guide_stem(guide)
        for number, (level, block) in enumerate(zip(self.levels, self.guide_blocks, strict=True)):
            if number:
                x, y = (F.avg_pool2d(branch, 2, ceil_mode=True) for branch in (x, y))
            y = block(y)
            x = level(x, y)
        pooled = F.adaptive_avg_pool2d(x, self.grid)
        return self.project(pooled.flatten(2).transpose(1, 2))

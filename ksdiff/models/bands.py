"""Bands as tokens: one set of weights for any number of bands in any order.

Bands matter in two places only: where they enter (stems) and where they leave (head). There a
kernel has one slice per band, and each slice is a mix of a few learnt ones. In the terms of the
paper's Tucker product: the slices' rows of the band mode's factor come from structure-aware
attention whose query is the band's own token in the place of a learnt one, the core comes from the
prior, and the learnt slices stand for the other modes. Permuting bands permutes the result.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ksdiff_ops
from ksdiff.images.descriptors import BAND_FEATURES
from ksdiff.models.layers import unpatch

_HEADS = 4


class BandImage(NamedTuple):
    """Bands, then channels that every scene has; and the bands' tokens."""

    x: Tensor  # [B, C + F, H, W]
    tokens: Tensor  # [B or 1, C, E]

    def bands(self) -> "BandImage":
        """Without the channels that every scene has."""
        return BandImage(self.x[:, : self.tokens.shape[1]], self.tokens)

    def shared(self) -> Tensor:
        """The channels that every scene has, [B, F, H, W]."""
        return self.x[:, self.tokens.shape[1] :]


class BandTokens(nn.Module):
    """Band descriptors [B, C, D] (`ksdiff.images.descriptors`) -> tokens [B, C, E]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(BAND_FEATURES, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, descriptors: Tensor) -> Tensor:
        return self.mlp(descriptors)


class MixedStem(nn.Module):
    """A convolution of stride ``side`` over any number of bands, and ``shared`` further channels.

    Every band's slice of the kernel is a mix of ``basis`` learnt slices. Their sum is scaled to be
    as large with many bands as with one.
    """

    def __init__(
        self, shared: int, out_channels: int, side: int, kernel_size: int = 1, basis: int = 8
    ) -> None:
        super().__init__()
        self.side, self.padding = side, side * (kernel_size // 2)
        taps = side * kernel_size
        fan = taps * taps
        self.basis = nn.Parameter(
            torch.randn(basis, out_channels, taps, taps) * (basis * fan) ** -0.5
        )
        self.shared = nn.Parameter(
            torch.randn(out_channels, shared, taps, taps) * (2 * fan) ** -0.5
        )
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def kernel(self, mix: Tensor) -> Tensor:
        """[B, C_out, C + F, k, k] of mixes [B, C, basis]."""
        bands = torch.einsum("bcm,moyx->bocyx", mix * mix.shape[1] ** -0.5, self.basis)
        return torch.cat((bands, self.shared.expand(len(mix), -1, -1, -1, -1)), 2)

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        """x [B, C + F, H, W], kernel [B or 1, C_out, C + F, k, k] -> [B, C_out, h, w]."""
        if len(kernel) == 1:
            return F.conv2d(x, kernel[0], self.bias, stride=self.side, padding=self.padding)
        return ksdiff_ops.batched_conv2d(
            x, kernel, self.bias, stride=self.side, padding=self.padding
        )


class BandStem(MixedStem):
    """The same where each band's token says how its slice is mixed."""

    def __init__(self, token_width: int, shared: int, out_channels: int, side: int) -> None:
        super().__init__(shared, out_channels, side)
        self.mix = nn.Linear(token_width, len(self.basis))

    def forward(self, image: BandImage) -> Tensor:  # type: ignore[override]
        return super().forward(image.x, self.kernel(self.mix(image.tokens)))


class BandHead(nn.Module):
    """x [B, C_in, h, w] -> [B, C, side h, side w] for any number of bands: a pointwise convolution
    to ``side`` x ``side`` pixels, each band's slice a mix of ``basis`` learnt ones."""

    def __init__(self, in_channels: int, side: int, basis: int) -> None:
        super().__init__()
        self.side = side
        # Zeros: an untrained network adds nothing to the injected detail.
        self.basis = nn.Parameter(torch.zeros(basis, side * side, in_channels + 1))

    def kernel(self, mix: Tensor) -> Tensor:
        """[B, side^2 C, C_in + 1] of mixes [B, C, basis]; the last column is the bias."""
        return torch.einsum("bcm,mpi->bcpi", mix, self.basis).flatten(1, 2)

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        return unpatch(x, kernel[..., :-1], kernel[..., -1], self.side)


class BandKernels(NamedTuple):
    """What the prior and the bands' tokens decide for the fusion network's two ends."""

    stem: Tensor  # [B, C_out, C + F, k, k]
    head: Tensor  # [B, side^2 C, C_in + 1], in units of the band means
    gain: Tensor  # [B, C] of the injected detail


class BandKernelGenerator(nn.Module):
    """Mixes for stem, head and detail gain: rows of the bands' factor times a core of the prior."""

    def __init__(self, z_channels: int, width: int, stem_basis: int, head_basis: int) -> None:
        super().__init__()
        self.sizes = (stem_basis, head_basis, 1)
        self.width = width
        self.key_value = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(width)
        count = sum(self.sizes)
        last = nn.Linear(2 * z_channels, width * count)
        self.core = nn.Sequential(nn.Linear(z_channels, 2 * z_channels), nn.GELU(), last)
        with torch.no_grad():
            last.weight.mul_(0.1)
            start = torch.randn(width, count) * width**-0.5
            start[:, -1] = 0  # a detail gain of 1
            last.bias.copy_(start.flatten())

    def forward(self, z: Tensor, local: Tensor, bands: Tensor) -> tuple[Tensor, ...]:
        """From prior z [B, N, C_z], local tokens [B, L, D] and band tokens [B, C, D]."""
        key, value = (_split(part) for part in self.key_value(local).chunk(2, -1))
        query = _split(bands).expand(len(local), -1, -1, -1)
        rows = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        rows = self.norm(rows + bands)
        core = self.core(z.mean(1)).unflatten(-1, (self.width, -1))
        return (rows @ core).split(self.sizes, -1)


def _split(x: Tensor) -> Tensor:
    """[B, L, D] -> [B, heads, L, D / heads]."""
    return x.unflatten(-1, (_HEADS, -1)).transpose(1, 2)

"""LAGNet: convolutions whose kernel every pixel weighs for itself."""

import torch
from torch import Tensor, nn

import ksdiff_ops

_SIZE = 3


class LAGConv(ksdiff_ops.AdaptiveConv2d):
    """Local-context adaptive convolution with global harmonic bias (Jin et al. 2022).

    Y[o, p] = sum_c sum_j A[j, p] W[o, c, j] X[c, p + d_j] + beta[o]: the attention A over the taps
    comes from the pixel's surroundings, the bias beta from the mean of the whole input, so a
    pixel's result depends a little on the window it is in. ``weight`` [C_out, C_in, 3, 3] may also
    be one per sample, [B or 1, C_out, C_in, 3, 3].
    """

    per_sample_weight = True

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, _SIZE, bias=False)
        taps = _SIZE * _SIZE
        self.attention = nn.Sequential(
            nn.Conv2d(in_channels, taps, _SIZE, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(taps, taps, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(taps, taps, 1),
            nn.Sigmoid(),
        )
        self.harmonic = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        attention = self.attention(x).unflatten(1, (_SIZE, _SIZE))
        bias = self.harmonic(x.mean((2, 3), keepdim=True)).flatten(1)
        if self.weight.dim() == 4:
            return super().forward(x, attention, bias)
        if len(self.weight) == 1:
            return ksdiff_ops.adaptive_conv2d(x, attention, self.weight[0], bias)
        samples = zip(
            x.split(1), attention.split(1), self.weight.unbind(), bias.split(1), strict=True
        )
        return torch.cat([ksdiff_ops.adaptive_conv2d(*sample) for sample in samples])


class LAGNet(nn.Module):
    """LAGNet (Jin et al. 2022): lms + residual blocks of LAGConv on [pan, lms]."""

    modulated = LAGConv  # the layers that kernel space replaces

    def __init__(self, bands: int, width: int = 32, blocks: int = 5) -> None:
        super().__init__()
        self.first = LAGConv(bands + 1, width)
        self.blocks = nn.Sequential(*(_ResidualBlock(width) for _ in range(blocks)))
        self.last = LAGConv(width, bands)

    def forward(self, pan: Tensor, lms: Tensor) -> Tensor:
        """pan [B, 1, H, W], lms [B, C, H, W] -> fused [B, C, H, W]."""
        x = self.first(torch.cat((pan, lms), 1)).relu()
        return lms + self.last(self.blocks(x))


class _ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = LAGConv(width, width)
        self.second = LAGConv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x).relu())

"""LAGNet: convolutions whose kernel every pixel weighs for itself."""

import torch
from torch import Tensor, nn

import ksdiff_ops.nn
from ksdiff_ops import adaptive_conv2d


class LAGConv(ksdiff_ops.nn.LAGConv):
    """`ksdiff_ops.nn.LAGConv` whose ``weight`` may also be one per sample.

    [C_out, C_in, 3, 3] or [B or 1, C_out, C_in, 3, 3]. The bias comes from the mean of the whole
    input, so a pixel's result depends a little on the window it is in.
    """

    per_sample_weight = True

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.dim() == 4:
            return super().forward(x)
        taps, bias = self.taps(x), self.bias(x)
        if len(self.weight) == 1:
            return adaptive_conv2d(x, taps, self.weight[0], bias)
        # One sample at a time: a kernel for each would write the scaled patches to memory.
        samples = zip(x.split(1), taps.split(1), self.weight, bias.split(1), strict=True)
        return torch.cat([adaptive_conv2d(*sample) for sample in samples])


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

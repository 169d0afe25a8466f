"""A decoupled dynamic filter layer (Zhou et al., Decoupled Dynamic Filter Networks, 2021).

The kernel of channel c at pixel p is the product of two predictions, one for all channels and one
for all pixels: w[c, i, p] = spatial[i, p] * channel[c, i], both normalised over their taps. Run
this file to see the layer in place of a depthwise convolution.
"""

import torch
from torch import Tensor, nn

import ksdiff_ops


def normalise(filters: Tensor, axis: int) -> Tensor:
    """Filters with mean 0 and standard deviation 1 over their taps."""
    centred = filters - filters.mean(axis, keepdim=True)
    return centred / (centred.square().mean(axis, keepdim=True) + 1e-5).sqrt()


class DecoupledDynamicFilter(nn.Module):
    """[B, C, H, W] -> [B, C, H, W], each channel filtered with its own kernel at every pixel."""

    def __init__(self, channels: int, kernel: int = 3, squeeze: float = 0.25) -> None:
        super().__init__()
        self.kernel = kernel
        taps = kernel * kernel
        hidden = max(1, int(channels * squeeze))
        self.spatial = nn.Conv2d(channels, taps, 1)
        self.channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, channels * taps, 1),
        )
        self.spatial_gain = nn.Parameter(torch.ones(taps))
        self.channel_gain = nn.Parameter(torch.full((taps,), (2 / taps) ** 0.5))
        self.channel_bias = nn.Parameter(torch.zeros(taps))

    def filters(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Spatial [B, k, k, H, W] and channel filters [B, C, 1, k, k]."""
        size = (self.kernel, self.kernel)
        spatial = normalise(self.spatial(x), 1) * self.spatial_gain[:, None, None]
        channel = normalise(self.channel(x).unflatten(1, (x.shape[1], -1)), 2).flatten(2)
        channel = channel * self.channel_gain + self.channel_bias
        return spatial.unflatten(1, size), channel.unflatten(2, (1, *size))

    def forward(self, x: Tensor) -> Tensor:
        return ksdiff_ops.adaptive_conv2d(x, *self.filters(x), groups=x.shape[1])


def main() -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), DecoupledDynamicFilter(16), nn.ReLU())
    y = layer(torch.randn(2, 3, 40, 40))
    y.mean().backward()
    filter_weights = sum(p.numel() for p in layer[1].parameters())
    print(f"output {list(y.shape)}, {filter_weights} parameters, gradient to the first layer "
          f"{layer[0].weight.grad.norm():.2e}")  # fmt: skip


if __name__ == "__main__":
    main()

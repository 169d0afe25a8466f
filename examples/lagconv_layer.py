"""Local-context adaptive convolution (Jin et al., LAGConv, 2022).

One kernel for the whole image, whose taps are weighted at every pixel by what the pixel sees
around it, and a bias that knows the image's mean. Run this file to see what the scaled patches
would have taken in memory.
"""

import torch
from torch import Tensor, nn

import ksdiff_ops


class LAGConv2d(nn.Module):
    """[B, Cin, H, W] -> [B, Cout, H, W]."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.kernel = kernel
        taps = kernel * kernel
        self.convolve = ksdiff_ops.AdaptiveConv2d(inputs, outputs, kernel, bias=False)
        self.attention = nn.Sequential(
            nn.Conv2d(inputs, taps, kernel, padding="same"),
            nn.ReLU(),
            nn.Conv2d(taps, taps, 1),
            nn.ReLU(),
            nn.Conv2d(taps, taps, 1),
            nn.Sigmoid(),
        )
        self.bias = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(inputs, outputs, 1),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 1),
            nn.Flatten(),
        )

    def forward(self, x: Tensor) -> Tensor:
        attention = self.attention(x).unflatten(1, (self.kernel, self.kernel))
        return self.convolve(x, attention, self.bias(x))


def main() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(LAGConv2d(9, 32), nn.ReLU(), LAGConv2d(32, 8))
    x = torch.randn(1, 9, 96, 96)
    y = network(x)
    y.square().mean().backward()
    patches = 32 * 9 * 96 * 96 * x.element_size()
    print(f"{list(x.shape)} -> {list(y.shape)}; {patches / 2**20:.0f} MiB of patches not written")


if __name__ == "__main__":
    main()

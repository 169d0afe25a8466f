"""FusionNet: residual blocks on the difference of PAN and every band."""

from torch import Tensor, nn


class FusionNet(nn.Module):
    """FusionNet (Deng et al. 2021): lms + a residual network of PAN - lms."""

    modulated = nn.Conv2d  # the layers that kernel space replaces

    def __init__(self, bands: int, width: int = 32, blocks: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(bands, width, 3, padding=1)
        self.blocks = nn.Sequential(*(_ResidualBlock(width) for _ in range(blocks)))
        self.last = nn.Conv2d(width, bands, 3, padding=1)

    def forward(self, pan: Tensor, lms: Tensor) -> Tensor:
        """pan [B, 1, H, W], lms [B, C, H, W] -> fused [B, C, H, W]."""
        return lms + self.last(self.blocks(self.first(pan - lms).relu()))


class _ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x).relu())

"""DiCNN: three convolutions that draw the detail missing in lms."""

import torch
from torch import Tensor, nn


class DiCNN(nn.Module):
    """Detail-injection CNN (He et al. 2019, DiCNN1): lms + three convolutions of [lms, pan]."""

    modulated = nn.Conv2d  # the layers that kernel space replaces

    def __init__(self, bands: int, width: int = 64) -> None:
        super().__init__()
        self.first = nn.Conv2d(bands + 1, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, bands, 3, padding=1)

    def forward(self, pan: Tensor, lms: Tensor) -> Tensor:
        """pan [B, 1, H, W], lms [B, C, H, W] -> fused [B, C, H, W]."""
        x = self.first(torch.cat((lms, pan), 1)).relu()
        return lms + self.last(self.second(x).relu())

"""Upsampling by a dictionary of filters (after Li et al., LAPAR: Linearly-Assembled Pixel-Adaptive
Regression Network, 2020).

The image is enlarged bilinearly; a small network then gives every pixel its own mixture of a few
filters that sharpen it there. The filters are learnt, too, and shared by all pixels. Run this file
to see it beat bilinear upsampling.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ksdiff_ops


class AssembledUpsampler(nn.Module):
    """[B, C, H, W] -> [B, C, scale * H, scale * W]."""

    def __init__(
        self, channels: int, scale: int = 2, rank: int = 6, kernel: int = 5, hidden: int = 16
    ) -> None:
        super().__init__()
        self.scale = scale
        self.filters = ksdiff_ops.LowRankDynamicConv(rank, kernel)
        self.mix = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, scale**2 * rank, 3, padding=1),
            nn.PixelShuffle(scale),
        )

    def enlarge(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self.scale, mode="bilinear")

    def coefficients(self, x: Tensor) -> Tensor:
        """[B, 1, rank, scale * H, scale * W]: the mixture of every pixel of the large image."""
        return self.mix(x)[:, None]

    def forward(self, x: Tensor) -> Tensor:
        large = self.enlarge(x)
        return large + self.filters(large, self.coefficients(x))


def crosses(count: int, size: int) -> Tensor:
    """[count, 1, size, size]: bright bars that cross at random places."""
    axis = torch.linspace(0, 1, size)
    place, width = torch.rand(2, count, 1), 0.05 + 0.2 * torch.rand(2, count, 1)
    down, across = ((axis - place).abs() < width).float().unbind()
    return torch.maximum(down[:, :, None], across[:, None])[:, None]


def train(steps: int, size: int = 32) -> tuple[float, float]:
    """Squared errors of bilinear upsampling and of the trained upsampler, on crosses unseen."""
    upsampler = AssembledUpsampler(1)
    optimiser = torch.optim.Adam(upsampler.parameters(), 1e-2)
    for _ in range(steps):
        truth = crosses(16, size)
        loss = F.mse_loss(upsampler(F.avg_pool2d(truth, 2)), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    truth = crosses(64, size)
    small = F.avg_pool2d(truth, 2)
    with torch.no_grad():
        error = F.mse_loss(upsampler(small), truth).item()
        return F.mse_loss(upsampler.enlarge(small), truth).item(), error


def main() -> None:
    torch.manual_seed(0)
    bilinear, learnt = train(steps=80)
    print(f"squared error: bilinear {bilinear:.4f}, assembled filters {learnt:.4f}")


if __name__ == "__main__":
    main()

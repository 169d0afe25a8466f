"""Content-aware upsampling (Wang et al., CARAFE: Content-Aware ReAssembly of FEatures, 2019).

Every output pixel is a mean of k x k input pixels around its place, with weights predicted from
the content. Run this file to see the layer beat bilinear upsampling.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ksdiff_ops.nn import CARAFE


def discs(count: int, size: int) -> Tensor:
    """[count, 1, size, size]: sharp discs at random places."""
    place = torch.rand(count, 3, 1, 1)
    axis = torch.linspace(0, 1, size)
    distance = (axis[:, None] - place[:, :1]) ** 2 + (axis - place[:, 1:2]) ** 2
    return (distance < (0.1 + 0.3 * place[:, 2:]) ** 2).float()


def train(steps: int, size: int = 32) -> tuple[float, float]:
    """Squared errors of bilinear upsampling and of the trained upsampler, on discs unseen."""
    upsampler = CARAFE(1, scale=2, kernel_size=3, hidden=16)
    optimiser = torch.optim.Adam(upsampler.parameters(), 3e-2)
    for _ in range(steps):
        truth = discs(16, size)
        loss = F.mse_loss(upsampler(F.avg_pool2d(truth, 2)), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    truth = discs(64, size)
    small = F.avg_pool2d(truth, 2)
    with torch.no_grad():
        error = F.mse_loss(upsampler(small), truth).item()
    return F.mse_loss(F.interpolate(small, scale_factor=2, mode="bilinear"), truth).item(), error


def main() -> None:
    torch.manual_seed(0)
    bilinear, learnt = train(steps=80)
    print(f"squared error: bilinear {bilinear:.4f}, content-aware {learnt:.4f}")


if __name__ == "__main__":
    main()

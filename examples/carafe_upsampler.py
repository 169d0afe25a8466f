"""Content-aware upsampling (after Wang et al., CARAFE: Content-Aware ReAssembly of FEatures, 2019).

Every output pixel is a mean of k x k input pixels around its place, with weights predicted from
the content. On the image repeated `scale` times that is a dynamic convolution dilated by `scale`:
its taps then read neighbouring input pixels. Run this file to see it beat bilinear upsampling.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ksdiff_ops


class ContentAwareUpsampler(nn.Module):
    """[B, C, H, W] -> [B, C, scale * H, scale * W]."""

    def __init__(self, channels: int, scale: int = 2, kernel: int = 5, hidden: int = 16) -> None:
        super().__init__()
        self.scale, self.kernel = scale, kernel
        self.compress = nn.Conv2d(channels, hidden, 1)
        self.encode = nn.Conv2d(hidden, (scale * kernel) ** 2, 3, padding=1)

    def kernels(self, x: Tensor) -> Tensor:
        """[B, 1, k, k, scale * H, scale * W], positive, of sum 1 over the taps."""
        logits = F.pixel_shuffle(self.encode(F.silu(self.compress(x))), self.scale)
        return logits.softmax(1).unflatten(1, (1, self.kernel, self.kernel))

    def forward(self, x: Tensor) -> Tensor:
        repeated = F.interpolate(x, scale_factor=self.scale, mode="nearest")
        return ksdiff_ops.dynamic_conv(repeated, self.kernels(x), dilation=self.scale)


def discs(count: int, size: int) -> Tensor:
    """[count, 1, size, size]: sharp discs at random places."""
    place = torch.rand(count, 3, 1, 1)
    axis = torch.linspace(0, 1, size)
    distance = (axis[:, None] - place[:, :1]) ** 2 + (axis - place[:, 1:2]) ** 2
    return (distance < (0.1 + 0.3 * place[:, 2:]) ** 2).float()


def train(steps: int, size: int = 32) -> tuple[float, float]:
    """Squared errors of bilinear upsampling and of the trained upsampler, on discs unseen."""
    upsampler = ContentAwareUpsampler(1, kernel=3)
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

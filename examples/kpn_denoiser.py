"""A kernel-predicting denoiser (after Mildenhall et al., Burst Denoising with Kernel Prediction
Networks, 2018, for one image).

A small network looks at the noisy image and predicts, for every pixel, the k x k weights of a mean
of its neighbours. As the output is such a mean, it cannot invent colours, and training is stable.
Run this file to see the error fall.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ksdiff_ops.nn import KPNHead


class KernelPredictingDenoiser(nn.Module):
    """[B, C, H, W] -> [B, C, H, W]; all channels of a pixel share its kernel."""

    def __init__(self, channels: int = 3, kernel: int = 5, hidden: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
        )
        self.head = KPNHead(hidden, kernel)

    def forward(self, noisy: Tensor) -> Tensor:
        return self.head(self.body(noisy), noisy)


def stripes(count: int, size: int) -> Tensor:
    """[count, 3, size, size]: coloured stripes with sharp edges, at random angles."""
    angle, width = torch.rand(count, 1, 1) * torch.pi, 6 + 10 * torch.rand(count, 1, 1)
    axis = torch.arange(size, dtype=torch.float32)
    along = axis[:, None] * angle.sin() + axis * angle.cos()
    inside = (along / width).floor() % 2
    first, second = torch.rand(2, count, 3, 1, 1)
    return torch.lerp(first, second, inside[:, None])


def train(steps: int, size: int = 32, sigma: float = 0.15) -> list[float]:
    """Squared error of each step, over that of the noisy image itself."""
    denoiser = KernelPredictingDenoiser()
    optimiser = torch.optim.Adam(denoiser.parameters(), 5e-3)
    errors = []
    for _ in range(steps):
        clean = stripes(8, size)
        noisy = clean + sigma * torch.randn_like(clean)
        loss = F.mse_loss(denoiser(noisy), clean)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(loss.item() / sigma**2)
    return errors


def main() -> None:
    torch.manual_seed(0)
    errors = train(steps=60)
    for step in range(0, len(errors), 10):
        mean = sum(errors[step : step + 10]) / 10
        print(f"steps {step:2} to {step + 9}: {mean:.2f} of the noise's power is left")


if __name__ == "__main__":
    main()

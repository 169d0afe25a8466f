"""Kernel-space diffusion for a network that KSDiff does not know: here a small EDSR.

`ksdiff.modulate` turns the convolutions of its residual blocks into kernel-modulated ones. Its
weights become base kernels, under their old names; KSDiff's prior then makes the kernels that it
computes with, one set for every image.
"""

import torch
from torch import Tensor, nn

import ksdiff
from ksdiff.config import DiffusionConfig, KernelConfig, ModelConfig, PriorConfig
from ksdiff.images.inputs import FusionInputs
from ksdiff.models.ksdiff import KSDiff

BANDS = 4


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * self.conv2(self.conv1(x).relu())


class EDSR(nn.Module):
    """Residual blocks without normalisation (Lim et al. 2017), on PAN and the bands."""

    def __init__(self, bands: int, width: int = 24, blocks: int = 3) -> None:
        super().__init__()
        self.head = nn.Conv2d(bands + 1, width, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.tail = nn.Conv2d(width, bands, 3, padding=1)

    def forward(self, pan: Tensor, lms: Tensor) -> Tensor:
        x = self.head(torch.cat((pan, lms), 1))
        return lms + self.tail(x + self.body(x))


def kernel_space(network: nn.Module) -> KSDiff:
    """The network with a prior: the same two stages train it that train KSDiff."""
    modulated = ksdiff.modulate(network, layers="body.*", ranks=(4, 4, 2, 2))
    config = ModelConfig(
        bands=BANDS,
        prior=PriorConfig(tokens=4, channels=16, levels=2, width=16),
        diffusion=DiffusionConfig(width=32, depth=1),
        kernels=KernelConfig(width=16),
    )
    return KSDiff(config, modulated)


def random_images(count: int) -> tuple[FusionInputs, Tensor]:
    """Noise in the places of images, to see what goes where."""
    gt = 1 + 0.3 * torch.randn(count, BANDS, 32, 32)
    pan = gt.mean(1, keepdim=True) - 1
    low = pan.expand(-1, BANDS, -1, -1) * 0.5
    return FusionInputs(pan, low, 1 + 0.5 * (gt - 1), torch.full((count, BANDS), 0.3)), gt


def main() -> None:
    torch.manual_seed(0)
    network = EDSR(BANDS)
    model = kernel_space(network)
    inputs, gt = random_images(3)

    print(f"modulated: {', '.join(model.network.names)}")
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(20):
        fused = model(inputs, model.target_prior(inputs, gt))
        loss = (fused - gt).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step in (0, 19):
            print(f"step {step + 1}: L1 {loss.item():.4f}")

    with torch.no_grad():
        condition, tokens = model.observed(inputs)
        prior = model.sample_prior(condition, torch.randn(3, 4, 16))
        first = model.kernels(prior, tokens).layers[0]
    print(f"kernels of {model.network.names[0]}: {list(first.shape)}, a set for each image")


if __name__ == "__main__":
    main()

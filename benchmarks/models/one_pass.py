"""One-pass networks (FusionNet, DiCNN, ...) on KSDiff's inputs."""

import copy

import torch
from torch import Tensor, nn

from benchmarks.ops.forms import adaptive_unfold
from ksdiff.images.inputs import FusionInputs
from ksdiff.models.backbones import BACKBONES, LAGConv
from ksdiff.models.ksdiff import matched_pan
from ksdiff.training.stages import l1_within


class OnePass(nn.Module):
    """A published backbone; PAN is matched to the mean of the bands, as the units of lms ask."""

    def __init__(self, bands: int, backbone: str, **options: int) -> None:
        super().__init__()
        self.bands = bands
        self.network = BACKBONES[backbone](bands, **options)

    def forward(self, inputs: FusionInputs) -> Tensor:
        """Fused [B, C, H, W] in the units of ``lms``."""
        return self.network(matched_pan(inputs), inputs.lms)

    def loss(self, inputs: FusionInputs, gt: Tensor, margin: int, noise: torch.Generator) -> Tensor:
        """L1(G, H) within the crop's margin, as KSDiff's; nothing is drawn from ``noise``."""
        return l1_within(self(inputs), gt, margin)


class UnfoldLAGConv(LAGConv):
    """LAGConv in its classic form: every pixel's neighbourhood copied out, weighed, multiplied."""

    def forward(self, x: Tensor) -> Tensor:
        bias = self.harmonic(x.mean((2, 3), keepdim=True))
        return adaptive_unfold(x, self.attention(x), self.weight) + bias


def on_unfold(lagnet: OnePass) -> OnePass:
    """The same LAGNet, of the same weights, without `ksdiff_ops`."""
    twin = copy.deepcopy(lagnet)
    for layer in twin.modules():
        if isinstance(layer, LAGConv):
            layer.__class__ = UnfoldLAGConv
    return twin

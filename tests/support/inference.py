"""A quick stand-in for a model, and the tensors of a scene."""

from types import SimpleNamespace

import torch
from torch import nn

from ksdiff.images.bands import Alignment, Moves
from ksdiff.images.inputs import SceneStatistics
from ksdiff.images.mtf import mtf_filters
from ksdiff.inference.fusion import SceneTensors, WindowStep, addresses
from ksdiff.models.injection import hpm_detail
from ksdiff.models.ksdiff import KSDiff


class HighPassModulation(nn.Module):
    """What an untrained KSDiff computes, without its networks: quick."""

    def __init__(self, bands: int, ratio: int = 4):
        super().__init__()
        self.config = SimpleNamespace(bands=bands, ratio=ratio)

    def estimate_kernels(self, inputs, generator=None):
        return torch.randn(1, generator=generator)

    def fuse(self, inputs, kernels):
        return inputs.lms + hpm_detail(inputs)


def scene_tensors(device: torch.device, kernels) -> SceneTensors:
    """Of a scene of 4 bands that lie apart, random."""
    parts = [torch.rand(1, bands) for bands in (4, 4, 1, 1, 4)]
    statistics = SceneStatistics(*((1 + part).to(device) for part in parts))
    filters = mtf_filters((0.3, 0.3, 0.35, 0.25), 4, torch.float32, device)
    off = [(0.1, -0.2), (0.0, 0.0), (-0.1, 0.2), (0.05, 0.0)]
    moves = Moves.by(off, -1.0, device), Moves.by(off, 4.0, device)
    return SceneTensors(kernels, statistics, filters, Alignment(*moves, 1.6))


def window_step(model: KSDiff, precision: str = "float32") -> WindowStep:
    return WindowStep(model, addresses(model), 4, (1.5, 1.5), "cpu", precision, False)

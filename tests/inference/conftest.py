from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ksdiff.config import ModelConfig
from ksdiff.data.alignment import Alignment, Moves
from ksdiff.data.inputs import SceneStatistics
from ksdiff.data.wald import mtf_filters
from ksdiff.inference.steps import SceneTensors, WindowStep, addresses
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
    parts = torch.rand(1, 4), torch.rand(1, 4), torch.rand(1, 1), torch.rand(1, 1)
    statistics = SceneStatistics(*((1 + part).to(device) for part in parts))
    filters = mtf_filters((0.3, 0.3, 0.35, 0.25), 4, torch.float32, device)
    off = [(0.1, -0.2), (0.0, 0.0), (-0.1, 0.2), (0.05, 0.0)]
    moves = Moves.by(off, -1.0, device), Moves.by(off, 4.0, device)
    return SceneTensors(kernels, statistics, filters, Alignment(*moves, 1.6))


def window_step(model: KSDiff, precision: str = "float32") -> WindowStep:
    return WindowStep(model, addresses(model), 4, (1.5, 1.5), "cpu", precision, False)


@pytest.fixture(scope="session")
def quick():
    """A quick stand-in for a model, for 4 bands at ratio 4."""
    return HighPassModulation(4)


@pytest.fixture(scope="session")
def shaken():
    """KSDiff for 4 bands with random weights everywhere: what it computes depends on all of it."""
    torch.manual_seed(5)
    model = KSDiff(ModelConfig(bands=4, widths=(16, 24), depths=(1, 1)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.04 * torch.randn(parameter.shape)
    return model.eval()

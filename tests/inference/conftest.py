import pytest
import torch

from ksdiff.config import ModelConfig
from ksdiff.models.ksdiff import KSDiff
from tests.support.inference import HighPassModulation


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

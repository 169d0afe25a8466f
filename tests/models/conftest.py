import pytest
import torch

from ksdiff.config import DiffusionConfig, KernelConfig, ModelConfig, PriorConfig
from ksdiff.inputs import FusionInputs


def small_config(**changes) -> ModelConfig:
    """A KSDiff that runs in milliseconds."""
    fields = {
        "bands": 4,
        "widths": (16, 32),
        "depths": (1, 1),
        "prior": PriorConfig(tokens=4, channels=16, levels=2, width=16, heads=2),
        "diffusion": DiffusionConfig(width=32, depth=1),
        "kernels": KernelConfig(width=16, heads=2),
    }
    return ModelConfig(**{**fields, **changes})


def random_inputs(batch: int, bands: int, height: int, width: int, seed: int = 0) -> FusionInputs:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.rand(shape, generator=generator)  # noqa: E731
    return FusionInputs(
        pan=4 * draw(batch, 1, height, width) - 2,
        pan_low=2 * draw(batch, bands, height, width) - 1,
        lms=draw(batch, bands, height, width) + 0.5,
        contrast=0.3 * draw(batch, bands) + 0.05,
    )


@pytest.fixture
def inputs() -> FusionInputs:
    return random_inputs(2, 4, 32, 48)

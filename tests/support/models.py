"""Small models, their choices and random inputs."""

import dataclasses

import torch

from ksdiff.config import (
    DiffusionConfig,
    InjectionConfig,
    KernelConfig,
    ModelConfig,
    PriorConfig,
)
from ksdiff.images.inputs import FusionInputs
from ksdiff.models.backbones import BACKBONES


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


def any_bands_config(**changes) -> ModelConfig:
    """The same for any bands at any ratio."""
    fields = {
        "bands": "any",
        "ratio": "any",
        "widths": (16, 24),
        "depths": (1, 1),
        "band_basis": 6,
        "prior": PriorConfig(patch=8, tokens=4, channels=16, width=16, levels=2),
        "diffusion": DiffusionConfig(width=16, depth=1),
        "kernels": KernelConfig(patch=8, width=16),
        "injection": InjectionConfig(mode="off"),
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


BASE = small_config()
CHOICES = {
    "no prior": {"prior": dataclasses.replace(BASE.prior, source="none")},
    "concat": {"prior": dataclasses.replace(BASE.prior, encoder="concat")},
    "mlp": {"kernels": dataclasses.replace(BASE.kernels, generator="mlp")},
    "plain": {"kernels": dataclasses.replace(BASE.kernels, generator="plain")},
    "features": {"kernels": dataclasses.replace(BASE.kernels, generator="features")},
    "noise": {"diffusion": dataclasses.replace(BASE.diffusion, predict="noise")},
    **{name: {"network": name} for name in BACKBONES},
    "plain fusionnet": {
        "network": "fusionnet",
        "prior": dataclasses.replace(BASE.prior, source="none"),
        "kernels": dataclasses.replace(BASE.kernels, generator="plain"),
    },
}

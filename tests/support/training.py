"""Training runs of seconds."""

import dataclasses
from pathlib import Path

import torch
from safetensors.torch import load_file

from ksdiff.config import Config, DataConfig, TrainingConfig
from ksdiff.io.geotiff import write_scene
from tests.support.models import small_config


def a_config(folder: Path, scene) -> Config:
    """A run of seconds on one procedural scene, which is its validation scene, too."""
    write_scene(folder, "a", *scene)
    return Config(
        model=small_config(),
        data=DataConfig(scenes=str(folder), validation=str(folder), crop=32, margin=4),
        training=TrainingConfig(
            run_dir=str(folder / "run"),
            batch=2,
            steps_stage1=6,
            steps_stage2=6,
            validate_every=2,
            checkpoint_every=3,
            workers=0,
            accelerator="cpu",
        ),
    )


def with_training(config: Config, **changes) -> Config:
    return dataclasses.replace(config, training=dataclasses.replace(config.training, **changes))


def weights_of(config: Config) -> dict[str, torch.Tensor]:
    return load_file(Path(config.training.run_dir) / "weights.safetensors")


def assert_same_weights(first: Config, second: Config, atol: float = 1e-6) -> None:
    ours, theirs = weights_of(first), weights_of(second)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=atol)

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ksdiff.config import Config, DataConfig, TrainingConfig
from ksdiff.data.outputs import write_scene
from ksdiff.training import run
from tests.models.conftest import small_config


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


@pytest.fixture
def config(scene, tmp_path) -> Config:
    return a_config(tmp_path, scene)


@pytest.fixture(scope="session")
def whole(scene, tmp_path_factory) -> Config:
    """The config of such a run that was finished without interruption."""
    config = a_config(tmp_path_factory.mktemp("whole"), scene)
    run(config)
    return config


def with_training(config: Config, **changes) -> Config:
    return dataclasses.replace(config, training=dataclasses.replace(config.training, **changes))


def weights_of(config: Config) -> dict[str, torch.Tensor]:
    return load_file(Path(config.training.run_dir) / "weights.safetensors")


def assert_same_weights(first: Config, second: Config, atol: float = 1e-6) -> None:
    ours, theirs = weights_of(first), weights_of(second)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=atol)

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ksdiff.config import Config, DataConfig, TrainingConfig, load_config, save_config
from ksdiff.data.augment import collate
from ksdiff.errors import KSDiffError
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import load_weights
from ksdiff.training import run
from ksdiff.training.samples import Samples
from ksdiff.training.stages import StageOne, StageTwo
from ksdiff.training.trainer import learning_rate_factor
from tests.conftest import PAN_GRID
from tests.models.conftest import small_config


@pytest.fixture
def config(scene, write, tmp_path) -> Config:
    """A run of seconds on one procedural scene, which is its validation scene, too."""
    pan, ms, gt = scene
    write("a_pan", pan)
    write("a_ms", ms, PAN_GRID @ PAN_GRID.translation(0.5, 0.5) @ PAN_GRID.scale(4, 4))
    write("a_gt", gt)
    return Config(
        model=small_config(),
        data=DataConfig(scenes=str(tmp_path), validation=str(tmp_path), crop=32, margin=4),
        training=TrainingConfig(
            run_dir=str(tmp_path / "run"),
            batch=2,
            steps_stage1=6,
            steps_stage2=6,
            validate_every=6,
            checkpoint_every=2,
            workers=0,
            accelerator="cpu",
        ),
    )


def _weights(folder: str | Path) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "weights.safetensors")


def test_a_run_leaves_all_that_it_promises(config):
    path = run(config)
    folder = Path(config.training.run_dir)
    assert path == folder / "weights.safetensors"
    assert load_weights(path)[1] == config
    assert load_config(folder / "config.yaml") == config
    for name in ("metrics.csv", "curves.png", "validation.png", "tensorboard"):
        assert (folder / name).exists()
    assert [p.name for p in (folder / "checkpoints").iterdir()] == ["stage2-0000006"]
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    names = {(row["stage"], row["name"]) for row in rows}
    assert {("1", "loss"), ("2", "diffusion"), ("2", "fusion"), ("2", "ERGAS/a")} <= names


def test_a_run_killed_and_resumed_ends_where_an_unbroken_one_does(config, tmp_path):
    run(config)
    broken = dataclasses.replace(
        config, training=dataclasses.replace(config.training, run_dir=str(tmp_path / "broken"))
    )
    save_config(broken, tmp_path / "broken.yaml")
    command = [sys.executable, "-m", "ksdiff", "train", str(tmp_path / "broken.yaml")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ)
    checkpoints = tmp_path / "broken" / "checkpoints"
    deadline = time.monotonic() + 240
    while not list(checkpoints.glob("stage1-*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run([*command, "--resume"], check=True, stdout=subprocess.DEVNULL)
    whole, resumed = _weights(config.training.run_dir), _weights(tmp_path / "broken")
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=0, atol=1e-6)


def test_stages_run_one_by_one_give_what_all_gives(config, tmp_path):
    run(config)
    apart = dataclasses.replace(
        config, training=dataclasses.replace(config.training, run_dir=str(tmp_path / "apart"))
    )
    run(apart, "1")
    run(apart, "2")
    for name, tensor in _weights(config.training.run_dir).items():
        torch.testing.assert_close(_weights(tmp_path / "apart")[name], tensor, rtol=0, atol=1e-6)


def test_a_folder_that_holds_a_run_is_not_overwritten(config):
    run(config, "1")
    with pytest.raises(KSDiffError, match="holds a run already; resume it or choose another"):
        run(config)
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, crop=40))
    with pytest.raises(KSDiffError, match="holds a run with another config"):
        run(other, "1", resume=True)


def test_what_cannot_start_says_why(config):
    with pytest.raises(KSDiffError, match="there is no checkpoint to resume from"):
        run(config, resume=True)
    with pytest.raises(KSDiffError, match="stage 2 needs stage 1's checkpoint"):
        run(config, "2")
    with pytest.raises(KSDiffError, match="stage: expected one of 1, 2, all, got '3'"):
        run(config, "3")
    eight = dataclasses.replace(config, model=dataclasses.replace(config.model, bands=8))
    with pytest.raises(KSDiffError, match="expected scenes of 8 bands"):
        run(eight)


def test_a_full_disk_leaves_the_checkpoint_before(config, monkeypatch):
    run(config, "1")
    checkpoints = Path(config.training.run_dir) / "checkpoints"
    before = [p.name for p in checkpoints.iterdir()]

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ksdiff.training.checkpoint.save_file", full)
    with pytest.raises(KSDiffError, match=r"stage2-0000002: cannot be written.*No space left"):
        run(config, "2")
    assert [p.name for p in checkpoints.iterdir()] == before


def test_training_lowers_the_loss_of_both_stages(config):
    torch.manual_seed(0)
    samples = Samples(config, 4)
    batch = collate([samples[i] for i in range(4)])
    model, noise = KSDiff(config.model), torch.Generator().manual_seed(0)
    for stage in (StageOne(model, 4), StageTwo(model, 4, 1.0)):
        optimizer = torch.optim.AdamW(stage.parameters_to_train(), 2e-3)
        losses = []
        for _ in range(25):
            loss = stage(batch, noise)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert np.mean(losses[-5:]) < 0.9 * losses[0]


def test_stage_two_leaves_the_target_encoder_alone(config):
    model = KSDiff(config.model)
    stage = StageTwo(model, 4, 1.0)
    trained = {id(parameter) for parameter in stage.parameters_to_train()}
    assert not trained & {id(parameter) for parameter in model.target_encoder.parameters()}
    assert {id(parameter) for parameter in model.denoiser.parameters()} <= trained
    assert {id(parameter) for parameter in model.network.parameters()} <= trained


def test_the_learning_rate_warms_up_and_falls():
    training = TrainingConfig(warmup=10)
    factors = [learning_rate_factor(step, 100, training) for step in range(1, 101)]
    assert factors[0] == pytest.approx(0.1, rel=0.01)
    assert max(factors) <= 1
    assert factors[-1] == pytest.approx(0.01)
    assert factors[9:] == sorted(factors[9:], reverse=True)

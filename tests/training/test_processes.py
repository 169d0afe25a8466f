"""A batch cut into parts, over turns or over processes, trains the same weights."""

import os
import subprocess
import sys

import pytest
import torch

from ksdiff.config import save_config
from ksdiff.errors import KSDiffError
from ksdiff.models.ksdiff import KSDiff
from ksdiff.training import run
from ksdiff.training.augment import collate
from ksdiff.training.distributed import Part, Parts, World
from ksdiff.training.samples import Samples
from ksdiff.training.stages import StageTwo
from tests.support import ROOT
from tests.support.training import assert_same_weights, with_training

# In float64 a sum's order changes its 16th digit; Adam's normalised steps of 1e-3 magnify that
# where a gradient is next to nothing.
TOLERANCE = 1e-7


@pytest.fixture
def exact(config):
    """Four samples a step in float64, three steps per stage."""
    return with_training(
        config,
        precision="64-true",
        batch=4,
        steps_stage1=3,
        steps_stage2=3,
        validate_every=100,
        checkpoint_every=100,
    )


def test_two_processes_train_what_one_does(exact, tmp_path):
    run(exact)
    together = with_training(exact, run_dir=str(tmp_path / "two"))
    save_config(together, tmp_path / "two.yaml")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    done = subprocess.run(
        [*torchrun, "--standalone", "-m", "ksdiff", "train", str(tmp_path / "two.yaml")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert_same_weights(exact, together, TOLERANCE)
    assert '"processes": 2' in (tmp_path / "two" / "environment.json").read_text()


def test_accumulated_parts_train_what_the_whole_batch_does(exact, tmp_path):
    run(exact)
    parts = with_training(exact, accumulate=4, run_dir=str(tmp_path / "parts"))
    run(parts)
    assert_same_weights(exact, parts, TOLERANCE)


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (1, 3), (2, 3)])
def test_parts_hold_every_sample_of_a_batch_once(config, world, accumulate):
    training = with_training(config, batch=12, accumulate=accumulate).training
    streams = [iter(Parts.of(training, world, rank).batches(5, 7)) for rank in range(world)]
    for step in (5, 6):
        seen = []
        for _ in range(accumulate):
            for stream in streams:
                seen += next(stream)
        assert seen == list(range(step * 12, (step + 1) * 12))
    assert all(next(stream, None) is None for stream in streams)


def test_the_noise_of_parts_is_that_of_the_batch(config):
    samples = Samples(config, 4)
    model = KSDiff(config.model)
    stage = StageTwo(model, 4, 1.0)

    def losses(indices, part):
        batch = collate([samples[i] for i in indices])
        return stage(batch, torch.Generator().manual_seed(3), part)["diffusion"]

    whole = losses(range(4), Part(0, 1))
    halves = [losses((0, 1), Part(0, 2)), losses((2, 3), Part(1, 2))]
    torch.testing.assert_close(whole, sum(halves) / 2)


def test_a_batch_that_cannot_be_cut_is_refused(config):
    with pytest.raises(KSDiffError, match=r"training\.batch: 4 samples .* multiple of 6"):
        Parts.of(with_training(config, batch=4, accumulate=3).training, 2, 0)


def test_processes_are_counted_as_torchrun_says(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert World.of_environment() == World(4, 2)
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    monkeypatch.delenv("WORLD_SIZE")
    assert World.of_environment() == World(1, 1)

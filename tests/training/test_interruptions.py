"""Killed, stopped, full disks: a run goes on as if nothing had happened, or says why not."""

import csv
import dataclasses
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ksdiff.config import save_config
from ksdiff.errors import KSDiffError
from ksdiff.training import run
from tests.support import ROOT
from tests.support.training import assert_same_weights, with_training

# A run that kills itself, as no handler can prevent, the N-th time that a function is called.
DYING = """
import os, signal, sys
from unittest import mock
from ksdiff.config import load_config
from ksdiff.training import run

target, calls = sys.argv[2], int(sys.argv[3])
module, _, name = target.rpartition(".")
import importlib, operator
try:
    owner = importlib.import_module(module)
except ModuleNotFoundError:
    outer, _, kind = module.rpartition(".")
    owner = getattr(importlib.import_module(outer), kind)
original = getattr(owner, name)

def count(*args, **kwargs):
    global calls
    calls -= 1
    if calls == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)

setattr(owner, name, count)
run(load_config(sys.argv[1]))
"""


def rows(config):
    with (Path(config.training.run_dir) / "metrics.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if "_s" not in row["name"]]


@pytest.mark.parametrize(
    ("function", "call", "newest"),
    [
        # Step 5 of stage 1, after a validation that no checkpoint covers.
        ("ksdiff.training.trainer._Run._step", 5, "stage1-0000003"),
        # The second of three files of the checkpoint in the middle of stage 2.
        ("ksdiff.training.checkpoint.save_file", 8, "stage1-0000006"),
    ],
)
def test_a_killed_run_ends_where_an_unbroken_one_does(config, whole, function, call, newest):
    folder = Path(config.training.run_dir)
    save_config(config, folder.parent / "run.yaml")
    process = subprocess.run(
        [sys.executable, "-c", DYING, str(folder.parent / "run.yaml"), function, str(call)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=240,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    checkpoints = folder / "checkpoints"
    assert [path.name for path in checkpoints.glob("stage*")] == [newest]
    run(config, resume=True)
    assert_same_weights(config, whole)
    assert rows(config) == rows(whole)
    assert [path.name for path in checkpoints.iterdir()] == ["stage2-0000006"]


def test_a_full_disk_leaves_the_checkpoint_before(config, whole):
    # Pictures and curves come after the checkpoint that this is about.
    config = with_training(config, validate_every=100)
    run(config, "1")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The kernel refuses to write beyond it, as it does on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        with pytest.raises(KSDiffError, match="stage2-0000003: cannot be written"):
            run(config, "2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    checkpoints = Path(config.training.run_dir) / "checkpoints"
    assert [path.name for path in checkpoints.iterdir()] == ["stage1-0000006"]
    run(config, "2", resume=True)
    assert_same_weights(config, whole)


def test_a_full_disk_under_logs_and_pictures_is_an_error_that_says_so(config):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
    try:
        with pytest.raises(KSDiffError, match=r"run_dir .*: writing failed: .*; make room"):
            run(config, "1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_folder_that_holds_a_run_is_not_overwritten(whole):
    with pytest.raises(KSDiffError, match="holds a run already; resume it or choose another"):
        run(whole)
    with pytest.raises(KSDiffError, match="holds a run with another config"):
        run(with_training(whole, batch=4), resume=True)


def test_a_checkpoint_of_another_model_is_named(whole, tmp_path):
    folder = shutil.copytree(whole.training.run_dir, tmp_path / "run")
    wider = dataclasses.replace(
        with_training(whole, run_dir=str(folder)),
        model=dataclasses.replace(whole.model, widths=(24, 32)),
    )
    save_config(wider, folder / "config.yaml")
    with pytest.raises(
        KSDiffError,
        match=r"stage2-0000006: does not fit model.* in the file, \(.* in the model",
    ):
        run(wider, resume=True)
    (folder / "checkpoints" / "stage2-0000006" / "progress.json").write_text("{")
    with pytest.raises(KSDiffError, match="stage2-0000006: not readable"):
        run(wider, resume=True)


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


def test_data_that_cannot_train_is_named(config, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()

    def changed(**changes):
        return dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))

    with pytest.raises(KSDiffError, match=r"empty: .*found none"):
        run(changed(scenes=str(empty)), "1")
    with pytest.raises(KSDiffError, match="scene a has 256 x 256 pixels, smaller than the crop"):
        run(changed(crop=264), "1", resume=False)

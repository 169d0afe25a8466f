import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ksdiff.config import Config, InjectionConfig, KernelConfig, ModelConfig, PriorConfig
from ksdiff.io.geotiff import write_scene
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import save_weights
from tests.support import ROOT


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """Untrained small weights for 4 bands at ratio 4."""
    torch.manual_seed(0)
    model = ModelConfig(
        bands=4,
        widths=(8, 8),
        depths=(1, 1),
        prior=PriorConfig(width=8, channels=8, heads=2),
        kernels=KernelConfig(ranks=(2, 2, 1, 1), width=8, heads=2),
        injection=InjectionConfig(kernel_size=3, rank=2),
    )
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(path, KSDiff(model), Config(model=model))
    return path


@pytest.fixture
def folder(tmp_path, scene) -> Path:
    """A folder with the scene ``a``."""
    write_scene(tmp_path, "a", *scene, descriptions=("blue", "green", "red", "nir"))
    return tmp_path


@pytest.fixture
def ksdiff(monkeypatch, capsys):
    """Run the command in this process; return its exit status, output and errors."""
    from ksdiff import cli

    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setitem(cli._state, "debug", False)

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ksdiff", *map(str, arguments)])
        try:
            cli.main()
            status = 0
        except SystemExit as exit_:
            status = exit_.code or 0
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def start():
    """Start ``python -m ksdiff`` as a process of its own; it is ended with the test."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    started = []

    def start_process(*arguments, changes=None, **options) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "ksdiff", *map(str, arguments)],
            env=environment | (changes or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        return process

    yield start_process
    for process in started:
        process.kill()
        process.communicate()

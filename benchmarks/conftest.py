"""Runs benchmarks as `pytest benchmarks [--device cpu|cuda]`; see `make bench`."""

import pytest
import torch

from benchmarks.machine import describe
from benchmarks.timing import Stopwatch


def pytest_addoption(parser):
    parser.addoption(
        "--device", choices=("cpu", "cuda"), default="cpu", help="what to measure (default: cpu)"
    )


@pytest.fixture(scope="session")
def device(request) -> str:
    name = request.config.getoption("--device")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip(
            "PyTorch sees no CUDA device; on a machine with one: bash benchmarks/gpu.sh, "
            "or make bench DEVICE=cuda"
        )
    return name


@pytest.fixture
def stopwatch(benchmark, device) -> Stopwatch:
    return Stopwatch(benchmark, device)


def pytest_benchmark_update_machine_info(config, machine_info):
    device = config.getoption("--device")
    machine_info.clear()
    if device == "cpu" or torch.cuda.is_available():
        machine_info.update(describe(device))


def pytest_benchmark_update_commit_info(config, commit_info):
    for name in ("project", "branch", "author_time"):
        commit_info.pop(name, None)


def pytest_benchmark_update_json(config, benchmarks, output_json):
    # The single rounds would make a file of megabytes; the statistics are what is read.
    for entry in output_json["benchmarks"]:
        entry["stats"].pop("data", None)
        for name in ("options", "param", "params"):
            entry.pop(name, None)

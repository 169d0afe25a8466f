"""Runs benchmarks as `pytest benchmarks [--device cpu|cuda]`; see `make bench`.

A long suite can be measured in pieces: `--seconds` ends one in time, `--without RESULT.json` leaves
out what an earlier one measured, `-m quick` picks the most telling cases, `--eager` leaves out the
forms that `torch.compile` has to compile. `python -m benchmarks.report` puts the pieces together.
"""

import time
from pathlib import Path

import pytest
import torch

from benchmarks.machine import describe
from benchmarks.timing import Stopwatch

_start = pytest.StashKey[float]()


def pytest_addoption(parser):
    parser.addoption(
        "--device", choices=("cpu", "cuda"), default="cpu", help="what to measure (default: cpu)"
    )
    parser.addoption(
        "--seconds", type=float, help="start no measurement later than this after the first"
    )
    parser.addoption(
        "--without",
        type=Path,
        action="append",
        default=[],
        metavar="RESULT.json",
        help="leave out what this file holds; may be given several times",
    )
    parser.addoption("--eager", action="store_true", help="leave out forms that need compiling")


def pytest_configure(config):
    config.addinivalue_line("markers", "quick: the most telling cases, in about two minutes")
    config.stash[_start] = time.monotonic()


def pytest_runtest_setup(item):
    limit = item.config.getoption("--seconds")
    if limit is not None and time.monotonic() - item.config.stash[_start] > limit:
        pytest.skip(f"the {limit:g} s of --seconds are over; --without measures the rest")


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

"""gpu.sh: what it says where it cannot run, and how its steps hang together, with a stub Python."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_sanitize
from ksdiff_ops import backends

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/gpu.sh"
# Notes every call; says it is compute capability 9.0; fails where FAIL occurs in the call.
STUB = """#!/bin/bash
echo "$*" >> "$CALLS"
case "$*" in *get_device_capability*) echo 9.0 ;; esac
[[ -n "$FAIL" && "$*" == *"$FAIL"* ]] && exit 1
exit 0
"""


def run(result: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", SCRIPT, result],
        **{"env": os.environ | environment, "capture_output": True, "text": True, "timeout": 60},
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path):
    done = run(tmp_path / "gpu.json", PYTHON=sys.executable)
    assert done.returncode == 2
    assert "PyTorch sees no CUDA device here" in done.stderr
    assert not list(tmp_path.iterdir())


def test_without_a_python_it_says_how_to_name_one(tmp_path):
    done = run(tmp_path / "gpu.json", PYTHON="no-such-python")
    assert done.returncode == 2
    assert "no Python 'no-such-python'; name one with PYTHON=" in done.stderr


@pytest.fixture
def stubs(tmp_path) -> dict[str, str]:
    cuda = tmp_path / "cuda/bin"
    cuda.mkdir(parents=True)
    for path in (tmp_path / "python", cuda / "nvcc"):
        path.write_text(STUB)
        path.chmod(0o755)
    environment = {"PYTHON": str(tmp_path / "python"), "CUDA_HOME": str(cuda.parent)}
    return environment | {"CALLS": str(tmp_path / "calls"), "FAIL": ""}


def test_it_builds_tests_and_measures_the_most_telling_first(tmp_path, stubs):
    done = run(tmp_path / "gpu.json", **stubs)
    assert done.returncode == 0, done.stdout
    calls = Path(stubs["CALLS"]).read_text()
    steps = (
        "build_ext",
        "test_gpu.py",
        "test_graphs.py",
        "benchmarks.ops --json",
        "--eager --seconds",
        "benchmarks.models latency",
        "benchmarks.gpu_result",
    )
    places = [calls.index(step) for step in steps]
    assert places == sorted(places)


@pytest.mark.parametrize("failing, step", [("test_gpu.py", "gpu-tests"), ("--quick", "operators")])
def test_a_failing_step_is_told_and_the_others_still_run(tmp_path, stubs, failing, step):
    done = run(tmp_path / "gpu.json", **stubs | {"FAIL": failing})
    assert done.returncode == 1
    assert f"gpu.sh: {step}: failed: exit code 1" in done.stdout
    assert "benchmarks.gpu_result" in Path(stubs["CALLS"]).read_text()


def test_without_a_build_nothing_else_is_tried(tmp_path, stubs):
    assert run(tmp_path / "gpu.json", **stubs | {"FAIL": "build_ext"}).returncode == 1
    assert "test_gpu.py" not in Path(stubs["CALLS"]).read_text()


@pytest.mark.parametrize("backend", ["cuda", "triton"])
def test_the_sanitizer_sees_every_operator_of_a_backend(backend):
    used = set()
    for operator, operands in gpu_sanitize.calls(backend, "meta"):
        used.add(operator.func.__name__.strip("_"))
        assert all(operand.is_meta for operand in operands)
    missing = set(backends.AUTOMATIC) - used
    assert missing == set(backends._NOT_WRITTEN.get(backend, ()))

"""gpu.sh where there is no GPU, how its steps hang together, and what its programs find out."""

import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec

import pytest
import torch

from benchmarks import gpu, gpu_calls
from benchmarks.ops import cases
from benchmarks.results import ROOT, read, write
from ksdiff.errors import KSDiffError
from ksdiff_ops import backends


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize(
    "python, message",
    [
        (sys.executable, "PyTorch sees no CUDA device here"),
        ("no-such-python", "PYTHON=no-such-python: expected a Python with PyTorch"),
    ],
)
def test_where_it_cannot_run_it_says_so_and_writes_nothing(tmp_path, python, message):
    done = subprocess.run(
        ["bash", ROOT / "benchmarks/gpu.sh", "gpu.json"],
        **{"cwd": tmp_path, "env": os.environ | {"PYTHON": python}},
        **{"capture_output": True, "text": True, "timeout": 120},
    )
    assert done.returncode == 2 and message in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_wheel_gives_its_libraries_alone_and_without_kernels_one_is_asked_for(
    tmp_path, monkeypatch
):
    wheel = tmp_path / "operators.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("ksdiff_ops/_C_cpu.so", b"kernels")
        archive.writestr("ksdiff_ops/__init__.py", b"not unpacked")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu.results, "ROOT", tmp_path / "root")
    monkeypatch.setenv("WHEEL", str(wheel))
    with pytest.raises(KSDiffError, match="no compiled CUDA kernels in ksdiff_ops"):
        gpu.main(tmp_path / "gpu.json")
    assert [path.name for path in tmp_path.glob("root/ksdiff_ops/*")] == ["_C_cpu.so"]
    monkeypatch.setenv("WHEEL", str(tmp_path))
    with pytest.raises(KSDiffError, match="cannot unpack WHEEL="):
        gpu.main(tmp_path / "gpu.json")


def test_steps_are_programs_and_tests_that_there_are(tmp_path):
    every = gpu.steps(tmp_path)
    assert [step.name for step in every if not step.may_be_cut] == [
        *("first-calls", "gpu-tests", "memcheck-cuda", "racecheck-cuda", "memcheck-triton"),
        *("graph-tests", "other-tests"),
    ]
    for step in every:
        words = [str(word) for word in step.command]
        assert find_spec(words[words.index("-m") + 1]), step.name
        assert all((ROOT / word).exists() for word in words if word.startswith("tests/"))


@pytest.mark.parametrize("module", ["gpu", "gpu_calls", "ops.__main__"])
def test_what_needs_no_scenes_needs_pytorch_and_numpy_alone(module):
    lacking = "typer", "rasterio", "scipy", "matplotlib", "yaml", "h5py", "safetensors", "pytest"
    code = f"import sys; sys.modules |= dict.fromkeys({lacking}); import benchmarks.{module}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


@pytest.fixture
def attempt(tmp_path):
    """`attempt(limit, NAME=CODE, ...)` runs small programs as steps; gives the status of each."""
    target = tmp_path / "gpu.json"

    def run(limit=100, may_be_cut=False, needs="", **programs):
        every = [
            gpu.Step(name, limit, (sys.executable, "-c", code), needs, may_be_cut)
            for name, code in programs.items()
        ]
        code = gpu.run(every, target, tmp_path, limit)
        steps = read(target).header["steps"]
        found = {step["name"]: step["status"] for step in steps}
        assert code == any(status.startswith("failed") for status in found.values())
        return {name: found[name] for name in programs}

    return run


def test_a_failing_step_does_not_stop_the_next_and_alone_runs_again(attempt, tmp_path, capfd):
    good = (
        f"import json; print(7); json.dump({{'rows': [1]}}, open('{tmp_path}/operators.json', 'w'))"
    )
    assert attempt(bad="print('why'); exit(3)", good=good) == {
        "bad": "failed: exit code 3",
        "good": "passed",
    }
    assert "why" in capfd.readouterr().out
    result = read(tmp_path / "gpu.json")
    assert result.rows == [1] and [step["log"] for step in result.header["steps"]] == [
        ["why"],
        ["7"],
    ]
    # Half a file, of a step that was cut off, is no obstacle.
    (tmp_path / "operators.json").write_text('{"rows": [')
    assert attempt(bad="", good="exit(1)") == {"bad": "passed", "good": "passed"}
    assert read(tmp_path / "gpu.json").rows == []


def test_what_is_missing_is_told_and_when_time_is_up_measurements_do_not_fail(attempt, monkeypatch):
    assert attempt(needs="no_such_module", a="") == {"a": "skipped: no no_such_module"}
    assert attempt(5, a="", b="") == dict.fromkeys("ab", "failed: no time left")
    assert attempt(5, True, a="") == {"a": "no time left"}
    monkeypatch.setattr(gpu, "_LEAST", 0)
    lasting = "import time; time.sleep(60)"
    assert attempt(1, a=lasting) == {"a": "failed: out of time"}
    assert attempt(1, True, a=lasting, b="") == {"a": "cut short", "b": "no time left"}


@pytest.mark.parametrize("backend", ["cuda", "triton"])
def test_the_sanitizer_sees_every_operator_of_a_backend_in_every_layout(backend, monkeypatch):
    every = list(gpu_calls.calls(backend))
    assert all(case.output for case in every)  # the operator takes these shapes
    few = {case.op: case for case in every}
    assert set(few) == set(backends.AUTOMATIC) - set(backends._BACKENDS[backend].lacks)
    monkeypatch.setattr(gpu_calls, "calls", lambda backend: few.values())
    seen, run = [], gpu_calls.measure.run
    monkeypatch.setattr(gpu_calls.measure, "run", lambda *call: seen.append(call[2]) or run(*call))
    gpu_calls.sanitize("reference", "cpu")
    layouts = {tuple(operand.is_contiguous() for operand in operands) for operands in seen}
    assert len(seen) == 3 * len(few) and len(layouts) > 1


def test_first_calls_try_every_operator_and_tell_what_is_wrong(tmp_path, monkeypatch):
    tried = {(backend, case.op): case for backend, case in gpu_calls.each()}
    assert {name for _, name in tried} == set(backends.AUTOMATIC)
    some = [("cuda", tried["triton", "dynamic_conv"]), ("cpu", tried["cuda", "tucker_kernel"])]
    monkeypatch.setattr(gpu_calls, "each", lambda: some)
    monkeypatch.setattr(gpu_calls.results, "header", lambda device: {"device": device})
    assert gpu_calls.first(tmp_path, "cpu") == 1
    found = read(tmp_path / "first.json")
    assert found.header["device"] == "cpu" and found.header["build"]
    wrong, right = found.rows
    assert wrong["op"] == "dynamic_conv" and "cannot run on tensors on 'cpu'" in wrong["problem"]
    assert right["op"] == "tucker_kernel" and right["ok"]


def test_the_profile_is_of_the_case_furthest_from_its_floor(tmp_path, monkeypatch):
    near = cases.dynamic_conv((1, 4, 16, 16), groups=4)
    far = cases.lowrank_dynamic_conv((1, 4, 16, 16))
    direction = "forward+backward"
    counts = {"form": cases.OURS, "least_bytes": 1000, "flops": 1000}
    times = ((near, 1e-6), (far, 1.0))
    rows = [case.row(direction) | counts | {"p50": seconds} for case, seconds in times]
    machine = {"copy_gb_per_s": 1000.0, "fma_gflop_per_s": 1000.0}
    write(tmp_path / "operators.json", machine, rows)
    drawn = []
    draw = cases.Case.draw
    monkeypatch.setattr(cases.Case, "draw", lambda *own: drawn.append(own[0]) or draw(*own))
    both = [(near, direction, True), (far, direction, True)]
    monkeypatch.setattr(gpu_calls, "sizes", lambda device: iter(both))
    gpu_calls.profile(tmp_path, device="cpu")
    case = read(tmp_path / "profile.json").header["case"]
    assert case["floor"] == pytest.approx(1e-9) and all(each is far for each in drawn)

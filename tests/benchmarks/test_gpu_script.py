"""gpu.sh and its programs: what it says where it cannot run, how its steps hang together (with a
stub Python), and what the programs find out, on the CPU.
"""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_first, gpu_profile, gpu_result, gpu_sanitize
from benchmarks.ops import cases
from benchmarks.results import write
from ksdiff_ops import backends

ROOT = Path(__file__).resolve().parents[2]
# Notes every call, and fails where FAIL occurs in the call; the result is put together for real.
STUB = f"""#!/bin/bash
echo "$*" >> "$CALLS"
[[ -n "$FAIL" && "$*" == *"$FAIL"* ]] && exit 1
[[ "$*" == *zipfile* || "$*" == *gpu_result* ]] && exec {sys.executable} "$@"
exit 0
"""


def run(script: Path, result: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", script, result],
        **{"env": os.environ | environment, "capture_output": True, "text": True, "timeout": 120},
    )


SCRIPT = ROOT / "benchmarks/gpu.sh"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path):
    done = run(SCRIPT, tmp_path / "gpu.json", PYTHON=sys.executable)
    assert done.returncode == 2
    assert "PyTorch sees no CUDA device here" in done.stderr
    assert not list(tmp_path.iterdir())


def test_without_a_python_it_says_how_to_name_one(tmp_path):
    done = run(SCRIPT, tmp_path / "gpu.json", PYTHON="no-such-python")
    assert done.returncode == 2
    assert "no Python 'no-such-python'; name one with PYTHON=" in done.stderr


@pytest.fixture
def machine(tmp_path):
    """A copy of the scripts in a root of their own, whose Python and sanitizer are stubs."""
    folder = tmp_path / "root/benchmarks"
    folder.mkdir(parents=True)
    (folder.parent / "ksdiff_ops").mkdir()
    for name in ("gpu.sh", "gpu_result.py", "__init__.py"):
        (folder / name).write_bytes((ROOT / "benchmarks" / name).read_bytes())
    tools = tmp_path / "cuda/bin"
    tools.mkdir(parents=True)
    for path in (tmp_path / "python", tools / "compute-sanitizer", tools / "ncu"):
        path.write_text(STUB)
        path.chmod(0o755)
    wheel = tmp_path / "operators.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("ksdiff_ops/_C_cuda.so", b"kernels")
        archive.writestr("ksdiff_ops/__init__.py", b"not unpacked")
    environment = {
        **{"PYTHON": str(tmp_path / "python"), "CUDA_HOME": str(tools.parent)},
        **{"CALLS": str(tmp_path / "calls"), "FAIL": "", "WHEEL": str(wheel)},
    }
    return folder / "gpu.sh", environment


def statuses(result: Path) -> dict[str, str]:
    return {step["name"]: step["status"] for step in json.loads(result.read_text())["steps"]}


def test_it_unpacks_the_wheel_then_runs_the_most_telling_first(tmp_path, machine):
    script, environment = machine
    result = tmp_path / "gpu.json"
    done = run(script, result, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(p.name for p in (script.parents[1] / "ksdiff_ops").iterdir()) == ["_C_cuda.so"]
    order = (
        *("first-calls", "gpu-tests", "memcheck-cuda", "racecheck-cuda", "memcheck-triton"),
        *("operators", "operators-rest", "tile", "models", "profile", "ncu"),
        *("graph-tests", "other-tests"),
    )
    assert statuses(result) == dict.fromkeys(order, "passed")
    # The result is brought up to date after every step.
    assert Path(environment["CALLS"]).read_text().count("benchmarks.gpu_result") == len(order)


def test_without_kernels_or_a_wheel_it_says_how_to_build_one(tmp_path, machine):
    script, environment = machine
    done = run(script, tmp_path / "gpu.json", **environment | {"WHEEL": ""})
    assert done.returncode == 2 and "name it with WHEEL=" in done.stderr
    assert not (tmp_path / "gpu.json").exists()


def test_a_failing_step_is_told_and_again_the_only_one_to_run_next_time(tmp_path, machine):
    script, environment = machine
    result, calls = tmp_path / "gpu.json", Path(environment["CALLS"])
    done = run(script, result, **environment | {"FAIL": "test_gpu.py"})
    assert done.returncode == 1
    assert "gpu.sh: gpu-tests: failed: exit code 1" in done.stdout
    failed = statuses(result)
    assert failed.pop("gpu-tests") == "failed: exit code 1"
    # Everything else passes but the other tests, whose command names the GPU's to leave them out.
    assert {name for name, status in failed.items() if status != "passed"} == {"other-tests"}
    calls.write_text("")
    done = run(script, result, **environment)
    assert done.returncode == 0, done.stdout
    assert set(statuses(result).values()) == {"passed"}
    again = calls.read_text()
    assert "test_gpu.py" in again
    assert "gpu_first" not in again and "benchmarks.ops" not in again


def test_without_pytest_all_that_is_no_test_runs(tmp_path, machine):
    script, environment = machine
    result = tmp_path / "gpu.json"
    done = run(script, result, **environment | {"FAIL": "import pytest"})
    assert done.returncode == 0, done.stdout
    found = statuses(result)
    assert found.pop("gpu-tests") == "skipped: no pytest"
    assert found.pop("other-tests") == "skipped: no pytest or no hypothesis"
    assert found["first-calls"] == found["operators"] == "passed"
    assert set(found.values()) == {"passed"}


def test_when_time_is_up_tests_fail_and_measurements_do_not(tmp_path, machine):
    script, environment = machine
    result = tmp_path / "gpu.json"
    assert run(script, result, **environment | {"LIMIT": "5"}).returncode == 1
    found = statuses(result)
    assert found["first-calls"] == "failed: no time left"
    assert found["operators"] == "no time left"


def test_half_a_result_is_no_obstacle(tmp_path):
    (tmp_path / "operators.json").write_text('{"rows": [')
    steps = "gpu-tests\tfailed: out of time\t180\nother-tests\tpassed\t9\n"
    (tmp_path / "steps.tsv").write_text(steps)
    for name in ("gpu-tests", "other-tests"):
        (tmp_path / f"{name}.log").write_text("F.\n1 failed, 1 passed\n")
    gpu_result.main(tmp_path, tmp_path / "gpu.json")
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert result["rows"] == []
    assert [step["log"] for step in result["steps"]] == [
        ["F.", "1 failed, 1 passed"],
        ["1 failed, 1 passed"],
    ]


@pytest.mark.parametrize("backend", ["cuda", "triton"])
def test_the_sanitizer_sees_every_operator_of_a_backend(backend):
    used = set()
    for operator, operands in gpu_sanitize.calls(backend, "meta"):
        used.add(operator.func.__name__.replace("kernel_of", "tucker_kernel"))
        assert all(operand.is_meta for operand in operands)
    assert used == set(backends.AUTOMATIC) - set(backends._BACKENDS[backend].lacks)


def test_first_calls_try_every_operator_and_tell_what_is_wrong(tmp_path, monkeypatch):
    tried = {(backend, case.op): case for backend, case in gpu_first.each()}
    assert {name for _, name in tried} == set(backends.AUTOMATIC)
    some = [("cuda", tried["triton", "dynamic_conv"]), ("cpu", tried["cuda", "tucker_kernel"])]
    monkeypatch.setattr(gpu_first, "each", lambda: some)
    monkeypatch.setattr(gpu_first, "_machine", lambda device: {"device": device})
    assert gpu_first.main(tmp_path, "cpu") == 1
    calls = json.loads((tmp_path / "first.json").read_text())["calls"]
    assert "cannot run on tensors on 'cpu'" in calls["cuda dynamic_conv"]["problem"]
    assert calls["cpu tucker_kernel"]["ok"]


def test_the_profile_is_of_the_case_furthest_from_its_floor(tmp_path, monkeypatch):
    near = cases.dynamic_conv((1, 4, 16, 16), groups=4)
    far = cases.lowrank_dynamic_conv((1, 4, 16, 16))
    direction = "forward+backward"
    counts = {"form": cases.OURS, "least_bytes": 1000, "flops": 1000}
    rows = [
        near.row(direction) | counts | {"p50": 1e-6},
        far.row(direction) | counts | {"p50": 1.0},
    ]
    machine = {"copy_gb_per_s": 1000.0, "fma_gflop_per_s": 1000.0}
    (tmp_path / "first.json").write_text(json.dumps({"machine": machine}))
    write(tmp_path / "operators.json", machine, rows)
    drawn = []
    monkeypatch.setattr(cases.Case, "draw", lambda case, device: drawn.append(case) or [])
    both = [(near, direction, True), (far, direction, True)]
    monkeypatch.setattr(gpu_profile, "sizes", lambda device: iter(both))
    row = gpu_profile.worst(tmp_path)
    assert row["floor"] == pytest.approx(1e-9)
    gpu_profile.run(row, "cpu", 0)
    assert drawn == [far]

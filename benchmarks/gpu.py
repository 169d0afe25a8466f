"""The steps of gpu.sh, which says what they are for: `python -m benchmarks.gpu RESULT.json`"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks import results
from ksdiff.errors import KSDiffError

_LOG_LINES = 40  # of a step that failed; of others the last, where pytest counts its tests
_LEAST = 10  # seconds with which a step is begun
_MEASURED = ("operators.json", "tile.json", "models.json")
_CALLS = "{python} -m benchmarks.gpu_calls"
_OPERATORS = "{python} -m benchmarks.ops --device cuda --seconds 130 --json {parts}/operators.json"
_LATENCY = "{python} -m benchmarks.models latency --device cuda --json {parts}"
_PYTEST = "{python} -m pytest -q -p no:cacheprovider"
# Tests need no conftest above their own folder, which would ask for what only scenes need.
_OWN_TESTS = f"{_PYTEST} --confcutdir tests/ops"
# Every tensor in memory of its own, so that a read beyond its end is seen.
_SANITIZES = "compute-sanitizer"
_SANITIZER = f"env PYTORCH_NO_CUDA_MEMORY_CACHING=1 {_SANITIZES} --error-exitcode 9 --tool"
_NCU = "ncu --set full --launch-count 3 -f --export {parts}/worst"


class Step(NamedTuple):
    """A program of its own, and the seconds that it has at most."""

    name: str
    seconds: int
    command: Sequence[str]
    needs: str = ""  # modules and programs without which it is skipped
    may_be_cut: bool = False


def steps(parts: Path) -> list[Step]:
    """All of them, the most valuable first; their files go to the folder ``parts``."""
    # What Triton does on a CPU has no place here; tensorly is one test's second opinion.
    others = "tests/ops --ignore tests/ops/test_gpu.py --ignore-glob *triton*"
    others += "" if _has("tensorly") else " --ignore tests/ops/test_tucker_kernel.py"
    every = (
        ("first-calls", 60, f"{_CALLS} first {{parts}}"),
        ("gpu-tests", 180, f"{_OWN_TESTS} --maxfail 40 tests/ops/test_gpu.py", "pytest"),
        ("memcheck-cuda", 60, f"{_SANITIZER} memcheck {_CALLS} sanitize cuda", _SANITIZES),
        ("racecheck-cuda", 60, f"{_SANITIZER} racecheck {_CALLS} sanitize cuda", _SANITIZES),
        ("memcheck-triton", 60, f"{_SANITIZER} memcheck {_CALLS} sanitize triton", _SANITIZES),
        # The most telling cases, then the rest without what has to be compiled, which takes long.
        ("operators", 150, f"{_OPERATORS} --quick", "", True),
        ("operators-rest", 150, f"{_OPERATORS} --eager", "", True),
        ("tile", 60, f"{_LATENCY}/tile.json --only ksdiff-s", "rasterio", True),
        ("models", 120, f"{_LATENCY}/models.json", "rasterio", True),
        ("profile", 30, f"{_CALLS} profile {{parts}}", "", True),
        ("ncu", 60, f"{_NCU} {_CALLS} profile {{parts}} run", "ncu", True),
        ("graph-tests", 60, f"{_PYTEST} tests/inference/test_graphs.py", "pytest rasterio"),
        ("other-tests", 120, f"{_OWN_TESTS} {others}", "pytest hypothesis"),
    )
    words = {"python": sys.executable, "parts": parts}
    return [
        Step(name, seconds, [w.format_map(words) for w in command.split()], *rest)
        for name, seconds, command, *rest in every
    ]


def run(every: Sequence[Step], target: Path, parts: Path, limit: float) -> int:
    """Run what has not passed before within ``limit`` seconds, the result up to date throughout.

    Returns:
        1 if a step failed, else 0.
    """
    began = time.monotonic()
    done = {step["name"]: step for step in _read(target).get("header", {}).get("steps", [])}
    for step in every:
        if done.get(step.name, {}).get("status") == "passed":
            continue
        print(f"gpu.sh: {step.name} (at most {step.seconds} s)", flush=True)
        start = time.monotonic()
        log = parts / f"{step.name}.log"
        status = _status(step, log, min(step.seconds, limit - (start - began)))
        failed = status.startswith("failed")
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        done[step.name] = {
            **{"name": step.name, "status": status, "seconds": round(time.monotonic() - start)},
            "log": lines[-_LOG_LINES if failed else -1 :],
        }
        print(f"gpu.sh: {step.name}: {status}", *done[step.name]["log"] if failed else (), sep="\n")
        _write(target, parts, list(done.values()))
    return int(any(step["status"].startswith("failed") for step in done.values()))


def _status(step: Step, log: Path, seconds: float) -> str:
    """How it ended. What runs out of time is interrupted, so that it writes what it has."""
    missing = [name for name in step.needs.split() if not _has(name)]
    if missing:
        return f"skipped: no {' and no '.join(missing)}"
    if seconds < _LEAST:
        return "no time left" if step.may_be_cut else "failed: no time left"
    timeout = ("timeout", "--signal", "INT", "--kill-after", "10", f"{seconds:.0f}")
    with open(log, "wb") as file:
        code = subprocess.run([*timeout, *step.command], stdout=file, stderr=file).returncode
    if code in (124, 137):
        return "cut short" if step.may_be_cut else "failed: out of time"
    return f"failed: exit code {code}" if code else "passed"


def _has(name: str) -> bool:
    return bool(importlib.util.find_spec(name) or shutil.which(name))


def _write(target: Path, parts: Path, done: list[dict]) -> None:
    """One result file of what the steps have left so far: timings, all else in the header."""
    first, profile = _read(parts / "first.json"), _read(parts / "profile.json")
    head = {"steps": done, "first_calls": first.get("rows", []), "profile": profile}
    rows = [row for name in _MEASURED for row in _read(parts / name).get("rows", [])]
    results.write(target, first.get("header", {}) | head, rows)


def _read(path: Path) -> dict:
    """A step's result; a step that was stopped before its first leaves nothing, or half a file."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def unpack(wheel: Path, root: Path) -> None:
    """Put the compiled libraries of a wheel beside the sources."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(root, [name for name in archive.namelist() if name.endswith(".so")])
    except (OSError, zipfile.BadZipFile) as problem:
        raise KSDiffError(f"cannot unpack WHEEL={wheel}: {problem}") from problem


def main(target: Path) -> int:
    if not torch.cuda.is_available():
        raise KSDiffError("PyTorch sees no CUDA device here, and everything this does needs one")
    if wheel := os.environ.get("WHEEL"):
        unpack(Path(wheel), results.ROOT)
    if not (results.ROOT / "ksdiff_ops/_C_cuda.so").exists():
        raise KSDiffError(
            "no compiled CUDA kernels in ksdiff_ops; build a wheel where nvcc is, and name it with "
            "WHEEL=..."
        )
    parts = target.with_suffix(".steps")
    parts.mkdir(parents=True, exist_ok=True)
    return run(steps(parts), target, parts, float(os.environ.get("LIMIT", "570")))


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1])))
    except KSDiffError as problem:
        print(f"gpu.sh: {problem}", file=sys.stderr)
        sys.exit(2)

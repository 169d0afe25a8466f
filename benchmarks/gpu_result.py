"""Puts what gpu.sh's steps left behind into one JSON: `python -m benchmarks.gpu_result DIR JSON`.

The file has the form of pytest-benchmark's, `machine_info` and `benchmarks`, and beside them
`build`, `steps` and `tests`. Where CUDA C++ is the backend, Triton's times stand beside its own.
"""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

_MEASUREMENTS = ("operators", "operators-rest", "tile")
_LOG_LINES = 40


def main(parts: Path, target: Path) -> None:
    steps = _steps(parts)
    result = {
        "machine_info": _machine(),
        "build": _build(),
        "steps": steps,
        "tests": {path.stem: _tests(path) for path in sorted(parts.glob("*.xml"))},
        "benchmarks": [entry for name in _MEASUREMENTS for entry in _benchmarks(parts, name)],
    }
    target.write_text(json.dumps(result, indent=1) + "\n")
    for step in steps:
        print(f"{step['name']:20} {step['seconds']:4} s  {step['status']}")


def _machine() -> dict[str, object]:
    import torch

    from benchmarks.machine import describe

    properties = torch.cuda.get_device_properties(0)
    return describe("cuda") | {
        "gpu_capability": f"{properties.major}.{properties.minor}",
        "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
        "multiprocessors": properties.multi_processor_count,
        "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
    }


def _build() -> dict[str, object]:
    import ksdiff_ops

    return ksdiff_ops.build_info()


def _steps(parts: Path) -> list[dict[str, object]]:
    steps = []
    for line in (parts / "steps.tsv").read_text().splitlines():
        name, status, seconds = line.split("\t")
        step = {"name": name, "status": status, "seconds": int(seconds)}
        log = parts / f"{name}.log"
        if status.startswith("failed") and log.exists():
            step["log"] = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        steps.append(step)
    return steps


def _tests(report: Path) -> dict[str, object]:
    """Counts, and the first line of every failure, out of a JUnit file."""
    suite = ElementTree.parse(report).getroot().find("testsuite")
    counts = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
    problems = {
        f"{case.get('classname')}.{case.get('name')}": problem.get("message", "").split("\n")[0]
        for case in suite.iter("testcase")
        for kind in ("failure", "error")
        for problem in case.findall(kind)
    }
    return counts | {"problems": problems}


def _benchmarks(parts: Path, name: str) -> list[dict[str, object]]:
    path = parts / f"{name}.json"
    # A step that was stopped before its first result leaves nothing, or an empty file.
    if not path.exists() or not path.read_text().strip():
        return []
    return json.loads(path.read_text())["benchmarks"]


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip().split("\n")[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

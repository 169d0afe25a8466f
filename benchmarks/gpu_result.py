"""Puts what gpu.sh's steps left behind into one JSON: `python -m benchmarks.gpu_result DIR JSON`.

The file has `header` and `rows` like every result, and `build`, `steps` and `tests` besides. Where
CUDA C++ is the backend, Triton's times stand beside its own.
"""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

_MEASUREMENTS = ("operators.json", "tile/latency.json")
_LOG_LINES = 40


def main(parts: Path, target: Path) -> None:
    steps = _steps(parts)
    result = {
        "header": _machine(),
        "build": _build(),
        "steps": steps,
        "tests": {path.stem: _tests(path) for path in sorted(parts.glob("*.xml"))},
        "rows": [row for name in _MEASUREMENTS for row in _rows(parts / name)],
    }
    target.write_text(json.dumps(result, indent=1) + "\n")
    for step in steps:
        print(f"{step['name']:20} {step['seconds']:4} s  {step['status']}")


def _machine() -> dict[str, object]:
    import torch

    from benchmarks import results

    properties = torch.cuda.get_device_properties(0)
    return results.header("cuda") | {
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


def _rows(path: Path) -> list[dict[str, object]]:
    # A step that was stopped before its first result leaves nothing.
    return json.loads(path.read_text())["rows"] if path.exists() else []


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip().split("\n")[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""Puts what gpu.sh's steps left behind into one JSON: `python -m benchmarks.gpu_result DIR JSON`.

The file has `header` and `rows` like every result, and beside them `build`, `first_calls`, `steps`
and `profile`, as far as there are any yet. Where CUDA C++ is the backend, Triton's times stand
beside its own. Needs nothing but Python, so that it can be run after every step.
"""

import json
import sys
from pathlib import Path

_MEASUREMENTS = ("operators.json", "tile/latency.json", "models/latency.json")
_LOG_LINES = 40  # of a step that failed; of others the last, where pytest counts its tests


def main(parts: Path, target: Path) -> None:
    steps = _steps(parts)
    first = _read(parts / "first.json")
    result = {
        "header": first.get("machine", {}),
        "build": first.get("build", {}),
        "first_calls": first.get("calls", {}),
        "steps": steps,
        "rows": [row for name in _MEASUREMENTS for row in _read(parts / name).get("rows", [])],
        "profile": _read(parts / "profile.json"),
    }
    unfinished = target.with_name(target.name + ".new")
    unfinished.write_text(json.dumps(result, indent=1) + "\n")
    unfinished.replace(target)
    for step in steps:
        print(f"{step['name']:20} {step['seconds']:4} s  {step['status']}")


def _steps(parts: Path) -> list[dict[str, object]]:
    """Every step as it ended last, in the order of their first ends."""
    steps: dict[str, dict[str, object]] = {}
    path = parts / "steps.tsv"
    for line in path.read_text().splitlines() if path.exists() else []:
        name, status, seconds = line.split("\t")
        steps[name] = {"name": name, "status": status, "seconds": int(seconds)}
        log = parts / f"{name}.log"
        if log.exists():
            lines = log.read_text(errors="replace").splitlines()
            steps[name]["log"] = lines[-_LOG_LINES if status.startswith("failed") else -1 :]
    return list(steps.values())


def _read(path: Path) -> dict:
    """A step's result; a step that was stopped before its first leaves nothing, or half a file."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

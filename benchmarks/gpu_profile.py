"""Profiles the case that is furthest from its floor: `python -m benchmarks.gpu_profile DIR`.

The case is taken from the timings in DIR (operators.json). DIR/profile.json tells its kernels'
times, as PyTorch's profiler sees them, and the bandwidth that they come to. With `--run` before DIR
only the case is run, for a profiler that is wrapped around this program.
"""

import json
import sys
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.ops.suites import sizes
from benchmarks.ops.tables import by_case
from benchmarks.results import read

_CALLS = 20


def worst(folder: Path) -> dict[str, object]:
    """Our row of the case whose time is the most of its floor's, with the floor in seconds."""
    machine = json.loads((folder / "first.json").read_text())["machine"]
    path = folder / "operators.json"
    found = by_case(read(path).rows) if path.exists() else []
    if not found:
        raise SystemExit(f"gpu_profile: no timings in {folder}")
    case = max(found, key=lambda case: case.ours["p50"] / case.floor(machine))
    return {**case.ours, "floor": case.floor(machine)}


def run(row: dict[str, object], device: str, calls: int) -> None:
    """Run the case of the suite that a row is about."""
    case, direction = next(
        (case, direction)
        for case, direction, _ in sizes(device)
        if case.row(direction).items() <= row.items()
    )
    inputs = case.draw(device)
    for _ in range(calls):
        output = case.ours(*inputs)
        if direction != "forward":
            torch.autograd.grad(output, inputs, torch.ones_like(output))


def main(folder: Path, device: str = "cuda") -> None:
    row = worst(folder)
    run(row, device, 3)
    activities = [ProfilerActivity.CPU]
    activities += [ProfilerActivity.CUDA] if device == "cuda" else []
    with profile(activities=activities) as profiler:
        run(row, device, _CALLS)
    kernels = [
        {"name": event.key, "calls": event.count, "seconds": event.device_time_total * 1e-6}
        for event in profiler.key_averages()
        if event.device_time_total > 0
    ]
    kernels.sort(key=lambda kernel: -kernel["seconds"])
    (folder / "profile.json").write_text(json.dumps({"case": row, "kernels": kernels}, indent=1))
    print(json.dumps(row))
    for kernel in kernels[:10]:
        print(f"{kernel['seconds'] / kernel['calls'] * 1e6:10.1f} µs  {kernel['name'][:100]}")


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        run(worst(Path(sys.argv[2])), "cuda", 3)
    else:
        main(Path(sys.argv[1]))

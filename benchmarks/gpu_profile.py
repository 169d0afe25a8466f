"""Profiles the case that is furthest from its floor: `python -m benchmarks.gpu_profile DIR`.

The case is taken from the timings in DIR/operators.json. The rows of DIR/profile.json are its
kernels' times, as PyTorch's profiler sees them. With `--run` behind DIR the case is only run, for a
profiler that is wrapped around this program.
"""

import sys
from pathlib import Path

from torch.profiler import profile

from benchmarks import results
from benchmarks.ops import measure
from benchmarks.ops.suites import sizes
from benchmarks.ops.tables import by_case

_CALLS = 20


def worst(folder: Path) -> dict[str, object]:
    """Our row of the case whose time is the most of its floor's, with the floor in seconds."""
    found = by_case(results.read(folder / "operators.json"))
    case = max(found, key=lambda case: case.ours["p50"] / case.floor)
    return {**case.ours, "floor": case.floor}


def run(row: dict[str, object], device: str, calls: int) -> None:
    """Run the case of the suite that a row is about."""
    case, direction = next(
        (case, direction)
        for case, direction, _ in sizes(device)
        if case.row(direction).items() <= row.items()
    )
    inputs, gradient = case.draw(device), case.draw_gradient(direction, device)
    for _ in range(calls):
        measure.run(case.ours, gradient, inputs)


def main(folder: Path, device: str = "cuda") -> None:
    row = worst(folder)
    run(row, device, 3)
    with profile() as profiler:
        run(row, device, _CALLS)
    events = profiler.key_averages()
    kernels = [
        {"name": event.key, "calls": event.count, "seconds": event.device_time_total * 1e-6}
        for event in events
        if event.device_time_total > 0
    ]
    kernels.sort(key=lambda kernel: -kernel["seconds"])
    results.write(folder / "profile.json", {"case": row}, kernels)
    print(events.table(sort_by="device_time_total", row_limit=10))


if __name__ == "__main__":
    if sys.argv[2:] == ["--run"]:
        run(worst(Path(sys.argv[1])), "cuda", 3)
    else:
        main(Path(sys.argv[1]))

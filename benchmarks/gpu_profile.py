"""Profiles the case that is furthest from its floor: `python -m benchmarks.gpu_profile DIR`.

The case is taken from the timings in DIR (operators.json). DIR/profile.json tells its kernels'
times, as PyTorch's profiler sees them, and the bandwidth that they come to. With `--run CASE` only
the case is run, for a profiler that is wrapped around this program.
"""

import inspect
import json
import sys
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.ops import cases

_CALLS = 20


def worst(folder: Path) -> dict[str, object]:
    """The facts of the case whose time is the most of its floor's: bytes over copy bandwidth, or
    operations over the rate of multiply-adds.
    """
    machine = json.loads((folder / "first.json").read_text())["machine"]
    found = []
    path = folder / "operators.json"
    for row in json.loads(path.read_text())["rows"] if path.exists() else []:
        if row["form"] != cases.OURS or "p50" not in row:
            continue
        floor = max(
            row["least_bytes"] / (machine["copy_gb_per_s"] * 1e9),
            row["flops"] / (machine["fma_gflop_per_s"] * 1e9),
        )
        found.append(row | {"floor": floor, "over_floor": row["p50"] / floor})
    if not found:
        raise SystemExit(f"gpu_profile: no timings in {folder}")
    return max(found, key=lambda facts: facts["over_floor"])


def make(facts: dict[str, object]) -> cases.Case:
    """The case that these facts are about."""
    maker = getattr(cases, facts["op"])
    arguments = {n: tuple(v) if isinstance(v, list) else v for n, v in facts.items()}
    arguments["cout"] = facts.get("out")
    if "groups" in facts:
        arguments["groups"] = facts["shape"][1] if facts["groups"] == "C" else int(facts["groups"])
    parameters = inspect.signature(maker).parameters
    return maker(**{name: arguments[name] for name in parameters if name in arguments})


def run(facts: dict[str, object], device: str, calls: int) -> None:
    case = make(facts)
    inputs = case.draw(device)
    for _ in range(calls):
        output = case.forms[0].function(*inputs)
        if facts["direction"] != "forward":
            torch.autograd.grad(output, inputs, torch.ones_like(output))


def main(folder: Path, device: str = "cuda") -> None:
    facts = worst(folder)
    run(facts, device, 3)
    activities = [ProfilerActivity.CPU]
    activities += [ProfilerActivity.CUDA] if device == "cuda" else []
    with profile(activities=activities) as profiler:
        run(facts, device, _CALLS)
    kernels = [
        {"name": event.key, "calls": event.count, "seconds": event.device_time_total * 1e-6}
        for event in profiler.key_averages()
        if event.device_time_total > 0
    ]
    kernels.sort(key=lambda kernel: -kernel["seconds"])
    report = {"case": facts, "kernels": kernels}
    (folder / "profile.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report["case"]))
    for kernel in kernels[:10]:
        print(f"{kernel['seconds'] / kernel['calls'] * 1e6:10.1f} µs  {kernel['name'][:100]}")


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        run(worst(Path(sys.argv[2])), "cuda", 3)
    else:
        main(Path(sys.argv[1]))

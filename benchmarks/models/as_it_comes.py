"""Section as_it_comes: one pass in a process that leaves freed memory to malloc, as PyTorch does.

The other sections keep it (see `ksdiff.runtime`), which helps those most that allocate most; what a
network gains by not allocating is told by both.
"""

import json
import subprocess
import sys

import torch

from benchmarks.models.contenders import BANDS, contenders, networks
from benchmarks.models.measure import round_robin
from benchmarks.models.names import BF16, EAGER, KSDIFF, UNFOLD
from benchmarks.models.speed import SIZE, Tile

_CHOSEN = (KSDIFF, "fusionnet", "lagnet", UNFOLD)


def as_it_comes(device: str, budget: float) -> list[dict]:
    """One image of 256 x 256, eager and in bfloat16, measured in turn in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.models.as_it_comes", device, str(budget)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"the process that measured as_it_comes failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main(device: str, budget: str) -> None:
    found = {name: network for name, network in networks(device).items() if name in _CHOSEN}
    inputs = Tile(SIZE, 1, device).inputs
    calls = {
        (way.name, mode): lambda run=way.run: run(inputs)
        for mode in (EAGER, BF16)
        for way in contenders(found, device, mode)
        if way.name in _CHOSEN
    }
    with torch.no_grad():
        times = round_robin(calls, float(budget))
    rows = [
        {"name": name, "mode": mode, "size": SIZE, "batch": 1, "bands": BANDS, **seconds}
        for (name, mode), seconds in times.items()
    ]
    print(json.dumps(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])

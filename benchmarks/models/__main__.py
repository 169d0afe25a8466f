"""Measures KSDiff against its baselines: `python -m benchmarks.models [SECTION...] [--device cuda]`

Without sections: all of them, about twenty minutes on two CPU cores. Times go to
benchmarks/results/models-DEVICE.json, scores to models-scores.json; `python -m benchmarks.docs`
makes tables and plots of them.
"""

import functools
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

from benchmarks import results
from benchmarks.models import sections
from benchmarks.models.contenders import WEIGHTS, networks
from benchmarks.models.quality import quality
from ksdiff.errors import KSDiffError
from ksdiff.runtime import keep_freed_memory

# Malloc is measured before the process keeps freed memory.
_TIMES = ("malloc", "cost", "latency", "long", "growth", "batch", "scene", "memory")
TIMED = {name: getattr(sections, name) for name in _TIMES}
# By band count, so that networks of one can be trained and scored again without the other.
SCORED = {f"quality-{bands}": functools.partial(quality, bands) for bands in WEIGHTS}
_BUDGET = 40.0  # seconds for the calls of a section; long calls run once


def main(
    chosen: Annotated[
        list[str] | None,
        typer.Argument(metavar="SECTION...", help=", ".join((*TIMED, *SCORED))),
    ] = None,
    device: Literal["cpu", "cuda"] = "cpu",
    only: Annotated[list[str] | None, typer.Option(help="Time this network alone.")] = None,
    json: Annotated[Path | None, typer.Option(help="Another file for the results.")] = None,
) -> None:
    """Measure KSDiff against its baselines: all sections, or some."""
    every = TIMED | SCORED
    try:
        for name in chosen or every:
            if name not in every:
                raise KSDiffError(f"section {name!r}: expected one of {', '.join(every)}")
        if device == "cuda" and not torch.cuda.is_available():
            raise KSDiffError("--device cuda: PyTorch sees no CUDA device")
        for name in every:
            if name in (chosen or every):
                _measure(name, device, only, json)
    except KSDiffError as error:
        sys.exit(f"benchmarks.models: {error}")


@torch.no_grad()
def _measure(name: str, device: str, only: list[str] | None, json: Path | None) -> None:
    began = time.perf_counter()
    scored = name in SCORED
    path = json or results.RESULTS / f"models-{'scores' if scored else device}.json"
    head = results.header(device)
    # Scores hardly depend on the machine or on how operators compute, and every row tells its code.
    facts = ("torch", "ksdiff") if scored else results.MACHINE + results.VERSIONS
    kept = [row for row in results.kept(path, head, facts).rows if row["section"] != name]
    if name != "malloc":
        keep_freed_memory()  # as the command line does: all contenders gain by it
    rows = (TIMED | SCORED)[name](networks(device, only=only), device, _BUDGET)
    own = {"section": name, "measured": f"{head['date']}, code {head['code']}, {head['processor']}"}
    results.write(path, head, [*kept, *(own | row for row in rows)])
    seconds = time.perf_counter() - began
    print(f"{name}: {len(rows)} rows in {path}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    typer.run(main)

"""Shows what moved between two results: `python -m benchmarks.compare BEFORE.json AFTER.json`

A time has moved if its median changed by more than 3 %, by more than the percentiles of both runs
span, and by more than the PyTorch forms moved, whose code is the same in both runs.
"""

import sys
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from benchmarks import results
from benchmarks.markdown import Row, duration, listing, times
from benchmarks.ops.cases import OURS
from ksdiff.errors import KSDiffError

_LEAST = 0.03


class Comparison(NamedTuple):
    count: int  # of the times of ours in both
    drift: float  # median ratio of the PyTorch forms
    noise: float  # relative deviation from it that 80 % of them stay within
    moved: list[dict]  # name, before and after of each, and its ratio over the drift
    only: list[list[str]]  # names of those in the first alone, and in the second


def compare(before: list[dict], after: list[dict]) -> Comparison:
    old, new = (
        {results.identity(row): row for row in rows if "p50" in row} for rows in (before, after)
    )
    ratios = {key: new[key]["p50"] / old[key]["p50"] for key in old if key in new}
    ours = [key for key in ratios if old[key].get("form", OURS).startswith(OURS)]
    controls = [ratio for key, ratio in ratios.items() if key not in ours] or [1.0]
    drift = float(np.median(controls))
    noise = float(np.quantile(np.abs(np.divide(controls, drift) - 1), 0.8, method="lower"))
    moved = [
        {
            **{"name": _label(old[key]), "before": old[key]["p50"], "after": new[key]["p50"]},
            "ratio": ratios[key] / drift,
        }
        for key in ours
        if abs(ratios[key] / drift - 1) > max(_LEAST, noise, _spread(old[key]) + _spread(new[key]))
    ]
    moved.sort(key=lambda change: change["ratio"])
    only = [sorted(_label(own[key]) for key in own.keys() - ratios.keys()) for own in (old, new)]
    return Comparison(len(ours), drift, noise, moved, only)


def _spread(row: dict) -> float:
    percentiles = [row[name] for name in results.PERCENTILES if name in row]
    return (max(percentiles) - min(percentiles)) / (2 * row["p50"])


def _label(row: dict) -> str:
    return " ".join(times(fact) for key, fact in row.items() if key not in results.MEASURES)


def report(found: Comparison) -> str:
    def cells(r: Row) -> str:
        way = "faster" if r.ratio < 1 else "SLOWER"
        return f"{r.name} | {duration(r.before)} | {duration(r.after)} | {r.ratio:.2f}× | {way}"

    moved = listing(found.moved, "moved | before | after | time | ", cells)
    only = zip(("first", "second"), found.only, strict=True)
    return "\n".join(
        [
            f"{found.count} times in both; PyTorch forms: {found.drift:.2f}×, 80 % within "
            f"{found.noise:.0%} of that.\n",
            moved if found.moved else "None moved.\n",
            *(f"Only in the {where}: {'; '.join(names)}.\n" for where, names in only if names),
        ]
    )


def main(
    before: Path,
    after: Path,
    other_machine: Annotated[
        bool, typer.Option("--other-machine", help="Compare results of different machines.")
    ] = False,
) -> None:
    """Show what moved between two result files, and where their machines and versions differ."""
    try:
        old, new = results.read(before), results.read(after)
        machines = results.differences(old.header, new.header, results.MACHINE)
        if machines and not other_machine:
            raise KSDiffError(
                f"the machines differ ({'; '.join(machines)}); --other-machine compares regardless"
            )
    except KSDiffError as error:
        sys.exit(f"benchmarks.compare: {error}")
    for difference in machines + results.differences(old.header, new.header, results.VERSIONS):
        print(f"Differs: {difference}")
    print(report(compare(old.rows, new.rows)))


if __name__ == "__main__":
    typer.run(main)

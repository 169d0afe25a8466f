"""Shows what moved between two results: `python -m benchmarks.compare BEFORE.json AFTER.json`

A time has moved if its median changed by more than 3 %, by more than the percentiles of both runs
span, and by more than the PyTorch forms moved, whose code is the same in both runs.
"""

import statistics
import sys
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from benchmarks import results
from benchmarks.markdown import listing, times
from benchmarks.ops.cases import OURS
from ksdiff.errors import KSDiffError

_LEAST = 0.03


class Comparison(NamedTuple):
    count: int  # of the times of ours in both
    drift: float  # median ratio of the PyTorch forms
    noise: float  # relative deviation from it that 80 % of them stay within
    moved: list[dict]  # name, before and after of each, and its ratio over the drift
    only_before: list[str]
    only_after: list[str]


def compare(before: list[dict], after: list[dict]) -> Comparison:
    old, new = (
        {results.identity(row): row for row in rows if "p50" in row} for rows in (before, after)
    )
    pairs = [(old[key], new[key]) for key in old if key in new]
    ours = [pair for pair in pairs if _is_ours(pair[0])]
    controls = [_ratio(*pair) for pair in pairs if not _is_ours(pair[0])]
    drift = statistics.median(controls or [1.0])
    scatter = sorted(abs(ratio / drift - 1) for ratio in controls) or [0.0]
    noise = scatter[int(0.8 * (len(scatter) - 1))]
    moved = [
        {
            **{"name": _label(one), "before": one["p50"], "after": other["p50"]},
            "ratio": _ratio(one, other) / drift,
        }
        for one, other in ours
        if abs(_ratio(one, other) / drift - 1) > max(_LEAST, noise, _spread(one) + _spread(other))
    ]
    moved.sort(key=lambda change: change["ratio"])
    only = (
        sorted(_label(own[key]) for key in own.keys() - other.keys())
        for own, other in ((old, new), (new, old))
    )
    return Comparison(len(ours), drift, noise, moved, *only)


def _is_ours(row: dict) -> bool:
    return row.get("form", OURS).startswith(OURS)


def _ratio(before: dict, after: dict) -> float:
    return after["p50"] / before["p50"]


def _spread(row: dict) -> float:
    percentiles = [row[name] for name in results.PERCENTILES if name in row]
    return (max(percentiles) - min(percentiles)) / (2 * row["p50"])


def _label(row: dict) -> str:
    return " ".join(times(fact) for key, fact in row.items() if key not in results.MEASURES)


def report(found: Comparison) -> str:
    head = "moved | before | after | time | "
    cells = (
        "{name} | {duration(before)} | {duration(after)} | {ratio:.2f}× | "
        "{'faster' if ratio < 1 else 'SLOWER'}"
    )
    lines = [
        f"{found.count} times in both; PyTorch forms: {found.drift:.2f}×, 80 % within "
        f"{found.noise:.0%} of that.\n",
        listing(found.moved, head, cells) if found.moved else "None moved.\n",
    ]
    for names, where in ((found.only_before, "first"), (found.only_after, "second")):
        if names:
            lines.append(f"Only in the {where}: {'; '.join(names)}.\n")
    return "\n".join(lines)


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

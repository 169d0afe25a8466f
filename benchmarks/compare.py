"""Tells what moved between two results: `python -m benchmarks.compare BEFORE.json AFTER.json`

A time has moved if its median changed by more than the noise: what the two runs' 20th and 80th
percentiles span, and what the PyTorch forms, whose code is the same in both, moved by themselves.
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks import results
from benchmarks.ops.cases import OURS
from benchmarks.ops.tables import row
from benchmarks.text import duration, table

_LEAST = 0.03  # no change below three per cent is told


class Change(NamedTuple):
    name: str
    form: str
    before: float
    after: float
    spread: float  # relative, of both runs together

    @property
    def ratio(self) -> float:
        """Time after over time before."""
        return self.after / self.before


class Comparison(NamedTuple):
    changes: list[Change]  # of ours
    drift: float  # median ratio of the PyTorch forms
    noise: float  # relative, what a PyTorch form moves against that drift in most cases
    only_before: list[str]
    only_after: list[str]

    def moved(self) -> list[Change]:
        return [change for change in self.changes if self.significant(change)]

    def significant(self, change: Change) -> bool:
        bound = max(_LEAST, self.noise, change.spread)
        return abs(change.ratio / self.drift - 1) > bound


def compare(before: dict, after: dict) -> Comparison:
    old, new = (
        {
            results.case_name(e): e["extra_info"]
            for e in run["benchmarks"]
            if "forms" in e["extra_info"]
        }
        for run in (before, after)
    )
    changes = [
        Change(_title(old[case]), form, *_medians(old[case], new[case], form))
        for case in old.keys() & new.keys()
        for form in old[case]["forms"]
        if all("p50" in run[case]["forms"].get(form, {}) for run in (old, new))
    ]
    changes.sort(key=lambda change: change.ratio)
    controls = [change.ratio for change in changes if not change.form.startswith(OURS)]
    drift = statistics.median(controls) if controls else 1.0
    scatter = sorted(abs(ratio / drift - 1) for ratio in controls)
    return Comparison(
        [change for change in changes if change.form.startswith(OURS)],
        drift,
        scatter[int(0.8 * (len(scatter) - 1))] if scatter else 0.0,
        sorted(_title(old[case]) for case in old.keys() - new.keys()),
        sorted(_title(new[case]) for case in new.keys() - old.keys()),
    )


def _medians(old: dict, new: dict, form: str) -> tuple[float, float, float]:
    one, other = old["forms"][form], new["forms"][form]
    spread = sum((run["p80"] - run["p20"]) / (2 * run["p50"]) for run in (one, other))
    return one["p50"], other["p50"], spread


def _title(facts: dict) -> str:
    return f"{facts['op']} {row(facts).label()} {facts['dtype']} {facts['direction']}"


def report(found: Comparison) -> str:
    lines = [
        f"{len(found.changes)} timings in both; the PyTorch forms take {found.drift:.2f} times as "
        f"long as before, most of them within {found.noise:.0%} of that: changes are told against "
        "it, and beyond it.\n"
    ]
    moved = found.moved()
    if moved:
        rows = [
            [
                *(change.name, change.form, duration(change.before), duration(change.after)),
                f"{change.ratio / found.drift:.2f}×",
                "faster" if change.ratio < found.drift else "SLOWER",
            ]
            for change in moved
        ]
        lines.append(table(["case", "form", "before", "after", "time", ""], rows))
    else:
        lines.append("Nothing moved.\n")
    for names, where in ((found.only_before, "first"), (found.only_after, "second")):
        if names:
            lines.append(f"Only in the {where}: {'; '.join(names)}.\n")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument(
        "--other-machine", action="store_true", help="compare results of different machines"
    )
    given = parser.parse_args(arguments)
    try:
        runs = [results.load(path) for path in (given.before, given.after)]
        for path, run in zip((given.before, given.after), runs, strict=True):
            if run is None:
                raise results.ResultError(f"{path}: no result of `pytest benchmarks`")
        before, after = runs
        machines = before["machine_info"], after["machine_info"]
        found = results.differences(*machines, results.MACHINE)
        if found and not given.other_machine:
            raise results.ResultError(
                f"the machines differ ({'; '.join(found)}): what moved would be the machine; "
                "--other-machine compares them regardless"
            )
    except results.ResultError as error:
        sys.exit(f"benchmarks.compare: {error}")
    for difference in found + results.differences(*machines, results.VERSIONS):
        print(f"Differs: {difference}")
    print(report(compare(before, after)))


if __name__ == "__main__":
    main()

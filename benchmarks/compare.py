"""Shows what moved between two results: `python -m benchmarks.compare BEFORE AFTER`

Each is a result file or a folder of them. A time has moved if its median changed by more than 3 %,
by more than the percentiles of both runs span, and by more than the PyTorch forms moved, whose
code is the same in both runs.
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks import results
from benchmarks.markdown import duration, table, times
from benchmarks.ops.cases import OURS
from ksdiff.errors import KSDiffError

_LEAST = 0.03


class Change(NamedTuple):
    name: str
    before: float
    after: float
    spread: float  # relative, of both runs together

    @property
    def ratio(self) -> float:
        return self.after / self.before


class Comparison(NamedTuple):
    changes: list[Change]  # of all but the PyTorch forms
    drift: float  # median ratio of the PyTorch forms
    noise: float  # relative deviation from it that 80 % of them stay within
    only_before: list[str]
    only_after: list[str]

    def moved(self) -> list[Change]:
        return [
            change
            for change in self.changes
            if abs(change.ratio / self.drift - 1) > max(_LEAST, self.noise, change.spread)
        ]


def compare(before: list[dict], after: list[dict]) -> Comparison:
    old, new = (
        {results.identity(row): row for row in rows if "p50" in row} for rows in (before, after)
    )
    changes, controls = [], []
    for key in old.keys() & new.keys():
        one, other = old[key], new[key]
        ours = one.get("form", OURS).startswith(OURS)
        change = Change(_label(one), one["p50"], other["p50"], _spread(one) + _spread(other))
        (changes if ours else controls).append(change)
    changes.sort(key=lambda change: change.ratio)
    drift = statistics.median([change.ratio for change in controls] or [1.0])
    scatter = sorted(abs(change.ratio / drift - 1) for change in controls) or [0.0]
    return Comparison(
        changes,
        drift,
        scatter[int(0.8 * (len(scatter) - 1))],
        sorted(_label(old[key]) for key in old.keys() - new.keys()),
        sorted(_label(new[key]) for key in new.keys() - old.keys()),
    )


def _spread(row: dict) -> float:
    percentiles = [row[name] for name in results.PERCENTILES if name in row]
    return (max(percentiles) - min(percentiles)) / (2 * row["p50"])


def _label(row: dict) -> str:
    return " ".join(times(fact) for key, fact in row.items() if key not in results.MEASURES)


def report(found: Comparison) -> str:
    rows = [
        [
            *(change.name, duration(change.before), duration(change.after)),
            f"{change.ratio / found.drift:.2f}×",
            "faster" if change.ratio < found.drift else "SLOWER",
        ]
        for change in found.moved()
    ]
    lines = [
        f"{len(found.changes)} times in both; PyTorch forms: {found.drift:.2f}×, 80 % within "
        f"{found.noise:.0%} of that.\n",
        table(["moved", "before", "after", "time", ""], rows) if rows else "None moved.\n",
    ]
    for names, where in ((found.only_before, "first"), (found.only_after, "second")):
        if names:
            lines.append(f"Only in the {where}: {'; '.join(names)}.\n")
    return "\n".join(lines)


def _read(path: Path) -> results.Result:
    if not path.is_dir():
        return results.read(path)
    sections = results.read_folder(path)
    if not sections:
        raise KSDiffError(f"results {path}: the folder holds no result files")
    rows = [{"section": name, **row} for name, one in sections.items() for row in one.rows]
    return results.Result(next(iter(sections.values())).header, rows)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument(
        "--other-machine", action="store_true", help="compare results of different machines"
    )
    given = parser.parse_args(arguments)
    try:
        before, after = _read(given.before), _read(given.after)
        headers = before.header, after.header
        machines = results.differences(*headers, results.MACHINE)
        if machines and not given.other_machine:
            raise KSDiffError(
                f"the machines differ ({'; '.join(machines)}); --other-machine compares regardless"
            )
    except KSDiffError as error:
        sys.exit(f"benchmarks.compare: {error}")
    for difference in machines + results.differences(*headers, results.VERSIONS):
        print(f"Differs: {difference}")
    print(report(compare(before.rows, after.rows)))


if __name__ == "__main__":
    main()

"""Tables of quality indexes, from files that `ksdiff evaluate --json` writes.

`quality.json`, `quality-measured.json` (`--measured`), `quality-unmoved.json` (`--methods ksdiff
--registration off --contrast deviations`); and `adaptation.json` by `python -m
benchmarks.studies adaptation`.
"""

import itertools
from pathlib import Path

from benchmarks.markdown import indexes, nested, origin, pivot, table
from benchmarks.results import read
from ksdiff.baselines import METHODS
from ksdiff.evaluation.run import KSDIFF

INDEXES = {"reduced": ("SAM", "ERGAS", "Q2n"), "full": ("D_lambda_K", "D_s", "HQNR")}
DIGITS = {"reduced": "223", "full": "333"}
ADAPTED, UNMOVED = f"{KSDIFF} --adapt", f"{KSDIFF} --registration off --contrast deviations"
_HIGHER_IS_BETTER = {"Q2n", "HQNR"}
_SUMMARY = ("exp", "gsa", "bdsd-pc", "mtf-glp-hpm", KSDIFF, ADAPTED)


def summary(path: Path) -> str:
    rows = [row for row in _all(path) if row["method"] in _SUMMARY]
    rows.sort(key=lambda row: _SUMMARY.index(row["method"]))
    return _table(rows, "reduced") + _origin(path)


def every(path: Path, resolution: str) -> str:
    return _table(_all(path), resolution) + _origin(path)


def measured(path: Path, resolution: str) -> str:
    return _table(read(path).rows, resolution) + _origin(path)


def margins(path: Path) -> str:
    """How far below the best classical method's the errors lie, scene by scene."""
    reduced = (row for row in _all(path) if row["resolution"] == "reduced")
    columns = list(itertools.product((KSDIFF, ADAPTED), ("SAM", "ERGAS")))
    rows = []
    for scene, own in nested(reduced, "scene", "method").items():
        cells = [scene]
        for method, index in columns:
            best = min(own[name]["indexes"][index] for name in METHODS if name in own)
            known = method in own
            cells.append(
                f"{100 * (1 - own[method]['indexes'][index] / best):.0f} %" if known else "–"
            )
        rows.append(cells)
    return table(["below the best classical method", *map(", ".join, columns)], rows)


def _all(path: Path) -> list[dict]:
    """Rows of all methods, adapted weights and those without registration among them."""
    adapted, unmoved = (
        read(path.with_name(f"{name}.json")).rows for name in ("adaptation", "quality-unmoved")
    )
    return [
        *read(path).rows,
        *(
            row | {"method": ADAPTED}
            for row in adapted
            if row["method"] == "bundled, adapted" and "indexes" in row
        ),
        *(row | {"method": UNMOVED} for row in unmoved),
    ]


def _table(rows: list[dict], resolution: str) -> str:
    """Methods down and scenes across; the best of each index is bold."""
    names, digits = INDEXES[resolution], DIGITS[resolution]
    rows = [row for row in rows if row["resolution"] == resolution]
    best: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        row["shown"] = dict(
            zip(names, indexes(row["indexes"], names, digits).split(" / "), strict=True)
        )
        for name, text in row["shown"].items():
            best.setdefault((row["scene"], name), []).append(text)
    for (_, name), values in best.items():
        values.sort(key=float, reverse=name in _HIGHER_IS_BETTER)

    def cell(row: dict) -> str:
        return " / ".join(
            f"**{text}**" if text == best[row["scene"], name][0] else text
            for name, text in row["shown"].items()
        )

    return pivot(rows, "method", "scene", cell, " / ".join(names))


def _origin(path: Path) -> str:
    header = read(path).header
    how = f"`ksdiff evaluate`, border {header['border']}, seed {header['seed']}"
    return f"\n{how}. {origin(header)}\n"


# By name, with the usual file.
TABLES = {
    "quality": (lambda path: every(path, "reduced"), "quality"),
    "quality-full": (lambda path: every(path, "full"), "quality"),
    "quality-measured": (lambda path: measured(path, "reduced"), "quality-measured"),
    "quality-measured-full": (lambda path: measured(path, "full"), "quality-measured"),
    "quality-summary": (summary, "quality"),
    "quality-margins": (margins, "quality"),
}

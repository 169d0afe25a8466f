"""Tables of quality indexes, from files that `ksdiff evaluate --json` writes.

`quality.json`, `quality-measured.json` (`--measured`), `quality-unmoved.json` (`--methods ksdiff
--registration off --contrast deviations`); and `adaptation.json` by `python -m
benchmarks.studies adaptation`.
"""

import itertools
from pathlib import Path

from benchmarks.markdown import nested, origin, pivot, table
from benchmarks.results import read
from ksdiff.baselines import METHODS
from ksdiff.evaluation.run import KSDIFF

# With their digits.
INDEXES = {
    "reduced": {"SAM": 2, "ERGAS": 2, "Q2n": 3},
    "full": {"D_lambda_K": 3, "D_s": 3, "HQNR": 3},
}
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
    digits = INDEXES[resolution]
    rows = [row for row in rows if row["resolution"] == resolution]

    def shown(row: dict, index: str) -> str:
        return f"{row['indexes'][index]:.{digits[index]}f}"

    def best(scene: str, index: str) -> str:
        every = (shown(row, index) for row in rows if row["scene"] == scene)
        return (max if index in _HIGHER_IS_BETTER else min)(every, key=float)

    def cell(row: dict) -> str:
        texts = ((shown(row, index), best(row["scene"], index)) for index in digits)
        return " / ".join(f"**{text}**" if text == top else text for text, top in texts)

    return pivot(rows, "method", "scene", cell, " / ".join(digits))


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

"""Tables of quality indexes, from files that `ksdiff evaluate --json` writes.

`quality.json`, `quality-measured.json` (`--measured`), `quality-unmoved.json` (`--methods ksdiff
--registration off --contrast deviations`); and `adaptation.json` by `python -m
benchmarks.studies adaptation`.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.markdown import nested, origin, pivot
from benchmarks.results import read
from ksdiff.baselines import METHODS
from ksdiff.evaluation.report import HIGHER_IS_BETTER
from ksdiff.evaluation.run import KSDIFF

# With their digits.
INDEXES = {
    "reduced": {"SAM": 2, "ERGAS": 2, "Q2n": 3},
    "full": {"D_lambda_K": 3, "D_s": 3, "HQNR": 3},
}
ADAPTED, UNMOVED = f"{KSDIFF} --adapt", f"{KSDIFF} --registration off --contrast deviations"
_SUMMARY = ("exp", "gsa", "bdsd-pc", "mtf-glp-hpm", KSDIFF, ADAPTED)


def indexes(path: Path, resolution: str = "reduced", methods: Sequence[str] = ()) -> str:
    """Methods down, all or those given in their order, and scenes across; the best is bold."""
    rows = [row for row in _rows(path) if row["resolution"] == resolution]
    if methods:
        rows = [row for method in methods for row in rows if row["method"] == method]
    digits = INDEXES[resolution]

    def shown(row: dict, index: str) -> str:
        return f"{row['indexes'][index]:.{digits[index]}f}"

    def best(scene: str, index: str) -> str:
        every = (shown(row, index) for row in rows if row["scene"] == scene)
        return (max if index in HIGHER_IS_BETTER else min)(every, key=float)

    def cell(row: dict) -> str:
        texts = ((shown(row, index), best(row["scene"], index)) for index in digits)
        return " / ".join(f"**{text}**" if text == top else text for text, top in texts)

    header = read(path).header
    how = f"`ksdiff evaluate`, border {header['border']}, seed {header['seed']}"
    lines = pivot(rows, "method", "scene", cell, " / ".join(digits))
    return f"{lines}\n{how}. {origin(header)}\n"


def margins(path: Path) -> str:
    """How far below the best classical method's the errors lie, scene by scene."""
    reduced = (row for row in _rows(path) if row["resolution"] == "reduced")
    rows = []
    for scene, own in nested(reduced, "scene", "method").items():
        scores = {method: row["indexes"] for method, row in own.items()}
        for method, index in itertools.product((KSDIFF, ADAPTED), ("SAM", "ERGAS")):
            if method in own:
                best = min(scores[name][index] for name in METHODS if name in own)
                below = f"{100 * (1 - scores[method][index] / best):.0f} %"
                rows.append({"scene": scene, "error": f"{method}, {index}", "below": below})
    head = "below the best classical method"
    return pivot(rows, "scene", "error", lambda row: row["below"], head)


def _rows(path: Path) -> list[dict]:
    """Of quality.json with those of adapted weights, and of those without registration."""
    rows = read(path).rows
    if path.stem != "quality":
        return rows
    adapted, unmoved = (
        read(path.with_name(f"{name}.json")).rows for name in ("adaptation", "quality-unmoved")
    )
    adapted = [row for row in adapted if row["method"] == "bundled, adapted" and "indexes" in row]
    names = [(adapted, ADAPTED), (unmoved, UNMOVED)]
    return rows + [row | {"method": name} for own, name in names for row in own]


# By name, with the usual file.
TABLES = {
    "quality": (indexes, "quality"),
    "quality-full": (partial(indexes, resolution="full"), "quality"),
    "quality-measured": (indexes, "quality-measured"),
    "quality-measured-full": (partial(indexes, resolution="full"), "quality-measured"),
    "quality-summary": (partial(indexes, methods=_SUMMARY), "quality"),
    "quality-margins": (margins, "quality"),
}

"""Adapts weights for any bands to scenes that their training has not seen.

The cases of `ksdiff.training.held_out`, larger; what is too small to adapt to is left out. Truths
serve only to judge.
"""

import time
from pathlib import Path
from statistics import fmean

from benchmarks.markdown import origin, table
from benchmarks.results import read
from benchmarks.studies import rows_of
from benchmarks.studies.held_out import held_out_cases, network
from ksdiff.images.pair import ArrayPair
from ksdiff.models.weights import load_weights
from ksdiff.training.adapt import Clock, learn, lessons_of
from ksdiff.training.held_out import Case

_SIDE = 512  # PAN pixels of a scene, at most
_MINUTES = 5.0  # a scene, at most


def _row(case: Case) -> dict:
    """Before and after.

    Raises:
        KSDiffError: a scene too small to learn from.
    """
    model, config = load_weights("ksdiff-s")
    began = time.monotonic()
    pair = ArrayPair(case.pan[0], case.ms[0], case.phase)
    lessons = lessons_of(pair, case.sensor, case.pan_gain, model, config, 0)
    done = learn(model, config, lessons, Clock(began, 60 * _MINUTES))
    return {
        "case": case.name,
        "kept": done.kept,
        "steps": done.steps,
        "seconds": done.seconds,
        "trial": {"before": done.before._asdict(), "after": done.after._asdict()},
        "before": network(model, case),
        "after": network(done.model, case),
    }


def measure() -> dict[str, list[dict]]:
    every = held_out_cases(_SIDE)
    return {"held-out-adapting": rows_of(_row, every, lambda case: case.name)}


def text(path: Path) -> str:
    """Cases down; SAM and ERGAS before and after across; the mean of the changes last."""
    found = read(path)
    lines, changes = [], {"SAM": [], "ERGAS": []}
    for row in found.rows:
        cells = [row["case"], "yes" if row["kept"] else "no", str(row["steps"])]
        for index, every in changes.items():
            before, after = row["before"][index], row["after"][index]
            if before:
                every.append(after / before - 1)
            cells += [f"{before:.2f}", f"{after:.2f}"]
        lines.append([*cells, f"{row['seconds']:.0f} s"])
    means = [x for every in changes.values() for x in ("", f"{100 * fmean(every):+.1f} %")]
    lines.append(["mean change", "", "", *means, ""])
    head = ["case", "kept", "steps", "SAM", "adapted", "ERGAS", "adapted", "time"]
    return f"{table(head, lines)}\n{origin(found.header)}\n"

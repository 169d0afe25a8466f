"""Adapts weights for any bands to scenes that their training has not seen.

Of the cases of `ksdiff.training.held_out`, twice as large, those large enough, at one ratio for
each number of bands. Truths serve only to judge.
"""

import time
from collections.abc import Iterator
from statistics import fmean

from benchmarks.markdown import noted, percent, table
from benchmarks.results import Result
from benchmarks.studies.held_out import held_out_cases, network
from ksdiff.images.pair import ArrayPair
from ksdiff.models.weights import load_weights
from ksdiff.training.adapt import Clock, learn, lessons_of
from ksdiff.training.held_out import Case

_SIDE = 512  # PAN pixels of a scene, at most
_MINUTES = 3.0  # a scene, at most
_LEAST = 350  # PAN pixels a side: below, nearly all ratios leave too few to learn from
_RATIOS = {2: 3, 3: 2, 4: 4, 6: 2}  # by the number of bands
_INDEXES = ("SAM", "ERGAS")


def _row(case: Case) -> dict:
    """Before and after."""
    model, config = load_weights("ksdiff-s")
    pair = ArrayPair(case.pan[0], case.ms[0], case.phase)
    began = time.monotonic()
    lessons = lessons_of(pair, case.sensor, case.pan_gain, model, config, 0)
    done = learn(model, config, lessons, Clock(began, 60 * _MINUTES))
    return {
        "case": case.name,
        "kept": done.kept,
        "steps": done.steps,
        "seconds": done.seconds,
        "before": network(model, case),
        "after": network(done.model, case),
    }


def _chosen(case: Case) -> bool:
    """Halved NAIP scenes are as large as two bands and four take only at ratio 2."""
    bands, small = len(case.gains), "halved" in case.name
    large = min(case.gt.shape[-2:]) >= _LEAST
    return large and _RATIOS.get(bands) == case.ratio and not (small and bands != 3)


def measure() -> Iterator[dict]:
    return (_row(case) for case in held_out_cases(_SIDE) if _chosen(case))


def text(found: Result) -> str:
    """Cases down; indexes before and after across; the mean of the changes last."""
    rows = []
    changes: dict[str, list[float]] = {index: [] for index in _INDEXES}
    for row in found.rows:
        cells = [row["case"], "yes" if row["kept"] else "no", str(row["steps"])]
        for index, every in changes.items():
            before, after = row["before"][index], row["after"][index]
            every.append(after / before - 1)
            cells += [f"{before:.3f}", f"{after:.3f}", percent(every[-1], 1)]
        rows.append([*cells, f"{row['seconds']:.0f} s"])
    means = [x for every in changes.values() for x in ("", "", percent(fmean(every), 1))]
    rows.append(["mean", "", "", *means, ""])
    head = ["case", "kept", "steps", *(x for i in _INDEXES for x in (i, "adapted", "change"))]
    return noted(table([*head, "time"], rows), found, f"At most {_MINUTES:g} minutes a scene. ")

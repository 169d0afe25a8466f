"""Weights for any bands on what their training has not seen, cases of `ksdiff.training.held_out`.

Beside the best of the classical methods on each index; what the prior is worth; the same with a
tenth of the training, after `ksdiff train ksdiff/configs/ksdiff-s-tenth.yaml`; adapted to each
scene; and as pairs whose sensor nobody names.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from benchmarks.markdown import nested, noted, percent, table
from benchmarks.results import RESULTS, ROOT, Result, read
from benchmarks.studies.scenes import data, scenes
from ksdiff.baselines import METHODS, ClassicalPair
from ksdiff.evaluation.prior import inspect_prior
from ksdiff.evaluation.run import DEFAULT_BORDER
from ksdiff.images.expansion import expand
from ksdiff.images.pair import ArrayPair
from ksdiff.inference.sharpen import Sharpener
from ksdiff.metrics import ergas, sam
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import load_weights
from ksdiff.training.adapt import Clock, learn, lessons_of
from ksdiff.training.held_out import SIDE, Case, cases
from ksdiff.training.validation import case_scene, fuse_all

TENTH = ROOT / "runs/ksdiff-s-tenth/weights.safetensors"
_INDEXES = ("SAM", "ERGAS")
_INNER = (..., slice(20, -21), slice(20, -21))
_FAMILIES = {"1": (1,), "2": (2,), "3": (3,), "4": (4,), "5 to 7": (5, 6, 7), "8, 10": (8, 10)}
_PRIORS = {
    "truth": "the truth's prior",
    "shuffled": "another scene's",
    "mean": "the mean of all",
    "kernels": "all kernels of another scene",
}
_LEAST = 1e-3  # of an index to be compared: a single band's spectral angle is 0
# Of scenes to adapt to: PAN pixels a side at most, and at least (below, nearly all ratios leave too
# few to learn from), minutes at most, and the ratio by the number of bands.
_LARGE, _LEAST_SIDE, _MINUTES = 512, 350, 3.0
_RATIOS = {2: 3, 3: 2, 4: 4, 6: 2}
_OWN = {4: "ksdiff-s-4band", 8: "ksdiff-s-8band"}
_GENERIC = 0.15  # what classical methods take PAN's gain for where it is none


def scores(case: Case, fused: Tensor) -> dict[str, float]:
    """SAM, ERGAS, and the single factor on what was added that fits the truth best."""
    lms = expand(case.ms, case.ratio, case.phase, "reflect")
    added, missing = (fused - lms)[_INNER], (case.gt - lms)[_INNER]
    fused, truth = fused[_INNER], case.gt[_INNER]
    return {
        "SAM": sam(fused, truth).item(),
        "ERGAS": ergas(fused, truth, case.ratio).item(),
        "factor": ((added * missing).sum() / added.square().sum()).item(),
    }


def classical(case: Case) -> dict[str, dict[str, float]]:
    gain = case.pan_gain if isinstance(case.pan_gain, float) else _GENERIC
    pair = ClassicalPair.of(case.pan, case.ms, case.gains, case.ratio, case.phase, "reflect", gain)
    return {name: scores(case, method(pair)) for name, method in METHODS.items()}


def network(model: KSDiff, case: Case) -> dict[str, float]:
    scene = case_scene(case)
    return scores(case, fuse_all(model, [scene], stage=2)[case.name])


def case_row(model: KSDiff, case: Case) -> dict:
    others = classical(case)
    best = {
        index: min((values[index], name) for name, values in others.items()) for index in _INDEXES
    }
    return {
        "case": case.name,
        "bands": len(case.gains),
        "ratio": case.ratio,
        "pan_gain": case.pan_gain,
        "exp": others["exp"],
        "best": best,
        "told": network(model, case),
        "not told": network(model, replace(case, pan_gain=None)),
    }


def prior_rows(model: KSDiff, every: Sequence[Case]) -> Iterator[dict]:
    """What the prior is worth, by the number of bands."""
    for name, counts in _FAMILIES.items():
        own = [case for case in every if len(case.gains) in counts]
        places = [case.name.split()[0] for case in own]
        report = inspect_prior(model, [case_scene(case) for case in own], places)
        yield {"bands": name, **report.as_dict()}


@torch.inference_mode()
def measure(weights: str = "ksdiff-s") -> list[dict]:
    """Weights for any bands beside the best classical method on every held-out case."""
    model, _ = load_weights(weights)
    return [case_row(model, case) for case in held_out_cases()]


def measure_tenth(weights: Path = TENTH) -> list[dict]:
    """The same cases with weights of a tenth of the training."""
    return measure(str(weights))


@torch.inference_mode()
def measure_prior() -> list[dict]:
    """What the prior is worth on the held-out cases, by the number of bands."""
    model, _ = load_weights("ksdiff-s")
    return list(prior_rows(model, list(held_out_cases())))


def held_out_cases(side: int = SIDE) -> Iterator[Case]:
    return cases(data("train"), data("pairs"), data("ms_only"), side)


def measure_adapting() -> Iterator[dict]:
    """Adapts weights for any bands to the larger held-out cases; truths serve only to judge."""
    for case in held_out_cases(_LARGE):
        # Halved NAIP scenes are as large as two bands and four take only at ratio 2.
        halved = "halved" in case.name and len(case.gains) != 3
        large = min(case.gt.shape[-2:]) >= _LEAST_SIDE
        if large and _RATIOS.get(len(case.gains)) == case.ratio and not halved:
            yield _adapted_row(case)


def _adapted_row(case: Case) -> dict:
    """Before and after."""
    model, config = load_weights("ksdiff-s")
    pair = ArrayPair(case.pan[0], case.ms[0], case.phase)
    began = time.monotonic()
    lessons = lessons_of(pair, case.sensor, case.pan_gain, model, config, 0)
    done = learn(model, config, lessons, Clock(began, 60 * _MINUTES))
    facts = {"case": case.name, "kept": done.kept, "steps": done.steps, "seconds": done.seconds}
    return facts | {"before": network(model, case), "after": network(done.model, case)}


def _unnamed() -> Iterator[tuple]:
    """Held-out cases and validation scenes with truth, of four and eight bands at ratio 4: name,
    PAN [1, H, W], MS [C, h, w], phase, and what gives the indexes of a fused image [1, C, H, W]."""
    for case in held_out_cases():
        if len(case.gains) in _OWN and case.ratio == 4:
            yield case.name, case.pan[0], case.ms[0], case.phase, partial(scores, case)
    for subject in scenes("val"):
        if subject.truth is not None:
            judge = partial(subject.judge, border=DEFAULT_BORDER)
            yield subject.info.name, subject.pan[0], subject.ms[0], subject.phase, judge


@torch.inference_mode()
def measure_unnamed() -> Iterator[dict]:
    """Pairs whose sensor nobody names: weights for any bands, and those for four or eight alone.

    Every method is given the two images and no more, as a file without descriptions gives them.
    """
    ways = {method: Sharpener(method=method) for method in METHODS}
    ways |= {weights: Sharpener(weights) for weights in ("ksdiff-s", *_OWN.values())}
    for name, pan, ms, phase, judge in _unnamed():
        for method in (*METHODS, "ksdiff-s", _OWN[len(ms)]):
            found = judge(ways[method].sharpen(pan, ms, phase)[None])
            scored = {index: found[index] for index in _INDEXES}
            yield {"pair": name, "bands": len(ms), "method": method, "indexes": scored}


def changes(rows: Sequence[dict], index: str) -> list[float]:
    """Of an index beside the best classical method's, relative, where it says anything."""
    pairs = [(row["told"][index], row["best"][index][0]) for row in rows]
    return [own / best - 1 for own, best in pairs if best >= _LEAST]


def text(found: Result) -> str:
    """Cases down; the mean of the changes last."""
    rows = []
    for row in found.rows:
        cells = [row["case"]]
        for index in _INDEXES:
            best, own, change = row["best"][index][0], row["told"][index], changes([row], index)
            cells += [f"{best:.2f}", f"{own:.2f}", *(map(percent, change) if change else "–")]
        rows.append([*cells, *(f"{row[way]['factor']:.2f}" for way in ("told", "not told"))])
    means = [percent(fmean(changes(found.rows, index)), 1) for index in _INDEXES]
    rows.append(["mean", *(cell for mean in means for cell in ("", "", mean)), "", ""])
    head = ["case", *("best SAM", "SAM", "change"), *("best ERGAS", "ERGAS", "change")]
    return noted(table([*head, "factor, PAN's gain told", "not told"], rows), found)


def prior_text(found: Result) -> str:
    """Band counts down; what other priors cost beside the scene's own across."""
    rows = []
    for row in found.rows:
        own = row["ergas"]["sampled"]
        costs = [percent(row["ergas"][prior] / own - 1, 1) for prior in _PRIORS]
        rows.append([row["bands"], str(row["scenes"]), f"{own:.2f}", *costs])
    return noted(table(["bands", "cases", "ERGAS", *_PRIORS.values()], rows), found)


def tenth_text(found: Result) -> str:
    """Weights down; each index beside the best classical method's across."""
    rows = []
    bundled = read(RESULTS / "held-out.json")
    for weights, own in (("`ksdiff-s`", bundled), ("`ksdiff-s-tenth.yaml`", found)):
        cells = []
        for index in _INDEXES:
            moved = changes(own.rows, index)
            below = sum(change <= -0.05 for change in moved)
            cells += [percent(fmean(moved), 1), f"{below} of {len(moved)}"]
        rows.append([weights, *cells])
    head = ["weights", *(x for index in _INDEXES for x in (index, "lower by 5 % or more"))]
    return noted(table(head, rows), found)


def adapting_text(found: Result) -> str:
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


def unnamed_text(found: Result) -> str:
    """Pairs down; the best classical method on each index and both weights across."""
    rows = []
    for (pair, bands), own in nested(found.rows, ("pair", "bands"), "method").items():
        methods = {method: row["indexes"] for method, row in own.items()}
        shared, alone = methods.pop("ksdiff-s"), methods.pop(_OWN[bands])
        best = {index: min(each[index] for each in methods.values()) for index in _INDEXES}
        scores = [f"{x['SAM']:.2f} / {x['ERGAS']:.2f}" for x in (best, alone, shared)]
        change = shared["ERGAS"] / alone["ERGAS"] - 1
        rows.append([pair, str(bands), *scores, percent(change)])
    head = ["pair", "bands", "best classical", "weights for its bands", "`ksdiff-s`", "ERGAS"]
    return noted(table(head, rows), found, "SAM / ERGAS, and the last beside the one before. ")

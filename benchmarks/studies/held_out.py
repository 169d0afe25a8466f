"""Weights for any bands on what their training has not seen.

Cases of `ksdiff.training.held_out`, beside the best of the classical methods on each index; what
the prior is worth on them; and the same cases with a tenth of the training, after
`ksdiff train ksdiff/configs/ksdiff-s-tenth.yaml`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from benchmarks.markdown import noted, percent, table
from benchmarks.results import RESULTS, ROOT, Result, read
from benchmarks.studies.scenes import data
from ksdiff.baselines import METHODS, ClassicalPair
from ksdiff.evaluation.prior import inspect_prior
from ksdiff.images.expansion import expand
from ksdiff.metrics import ergas, sam
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import load_weights
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
        rows.append([*cells, *(f"{row[told]['factor']:.2f}" for told in ("told", "not told"))])
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

"""Pairs whose sensor nobody names: weights for any bands, and those for four or eight alone.

The held-out cases and the validation scenes with truth, of four and eight bands at ratio 4. Every
method is given the two images and no more, as a file without descriptions gives them.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.markdown import nested, noted, percent, table, told
from benchmarks.results import Result
from benchmarks.studies.held_out import held_out_cases, scores
from benchmarks.studies.scenes import scenes
from ksdiff.baselines import METHODS
from ksdiff.evaluation.run import DEFAULT_BORDER
from ksdiff.inference.sharpen import Sharpener

_OWN = {4: "ksdiff-s-4band", 8: "ksdiff-s-8band"}
_INDEXES = ("SAM", "ERGAS")
# Name, PAN [1, H, W], MS [C, h, w], phase, and indexes of a fused image [1, C, H, W].
_Pair = tuple[str, Tensor, Tensor, tuple[float, float], Callable[[Tensor], dict[str, float]]]


def _pairs() -> Iterator[_Pair]:
    for case in held_out_cases():
        if len(case.gains) in _OWN and case.ratio == 4:
            yield case.name, case.pan[0], case.ms[0], case.phase, partial(scores, case)
    for subject in scenes("val"):
        if subject.truth is not None:
            judge = partial(subject.judge, border=DEFAULT_BORDER)
            yield subject.info.name, subject.pan[0], subject.ms[0], subject.phase, judge


@torch.inference_mode()
def measure() -> Iterator[dict]:
    ways = {method: Sharpener(method=method) for method in METHODS}
    ways |= {weights: Sharpener(weights) for weights in ("ksdiff-s", *_OWN.values())}
    for name, pan, ms, phase, judge in _pairs():
        for method in (*METHODS, "ksdiff-s", _OWN[len(ms)]):
            found = judge(ways[method].sharpen(pan, ms, phase)[None])
            scored = {index: found[index] for index in _INDEXES}
            yield {"pair": name, "bands": len(ms), "method": method, "indexes": scored}


def text(found: Result) -> str:
    """Pairs down; the best classical method on each index and both weights across."""
    rows = []
    for (pair, bands), own in nested(found.rows, ("pair", "bands"), "method").items():
        methods = {method: row["indexes"] for method, row in own.items()}
        shared, alone = methods.pop("ksdiff-s"), methods.pop(_OWN[bands])
        best = {index: min(each[index] for each in methods.values()) for index in _INDEXES}
        scores = [told("{SAM:.2f} / {ERGAS:.2f}", of) for of in (best, alone, shared)]
        change = shared["ERGAS"] / alone["ERGAS"] - 1
        rows.append([pair, str(bands), *scores, percent(change)])
    head = ["pair", "bands", "best classical", "weights for its bands", "`ksdiff-s`", "ERGAS"]
    return noted(table(head, rows), found, "SAM / ERGAS, and the last beside the one before. ")

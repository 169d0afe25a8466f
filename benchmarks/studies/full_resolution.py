"""Weights for any bands at full resolution, on scenes that their training has not seen.

D_lambda^K, D_s and HQNR of the held-out native scenes beside the nine classical methods: with PAN
and bands as they lie, and with all methods given what registering finds.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks.markdown import nested, row_table, told
from benchmarks.results import Result
from benchmarks.studies.scenes import scenes, sensor_name
from ksdiff.baselines import METHODS
from ksdiff.evaluation.scenes import Subject
from ksdiff.inference.sharpen import Sharpener
from ksdiff.training.held_out import HELD_OUT, HELD_OUT_SOUTH, SOUTH

_SIDE = 1024  # PAN pixels at most
_SHOWN = "{D_lambda_K:.3f} / {D_s:.3f} / {HQNR:.3f}"
_PLACED = {"as they lie": "off", "registered": "auto"}


def _held_out() -> Iterator[Subject]:
    """Of the native scenes, the part that is held out."""
    for subject in scenes("train", "pairs"):
        name, height = subject.info.name, subject.info.height
        if subject.truth is not None or name not in (*HELD_OUT, *HELD_OUT_SOUTH):
            continue
        first = height * (1 - SOUTH) if name in HELD_OUT_SOUTH else 0
        yield _cut(subject, -(-int(first) // subject.info.ratio))


def _cut(subject: Subject, top: int) -> Subject:
    """From MS row ``top``, at most `_SIDE` PAN pixels a side."""
    ratio, side = subject.info.ratio, _SIDE // subject.info.ratio
    ms = subject.ms[..., top : top + side, :side]
    rows, columns = (ratio * length for length in ms.shape[-2:])
    pan = subject.pan[..., ratio * top : ratio * top + rows, :columns]
    return replace(subject, pan=pan, ms=ms)


@torch.inference_mode()
def _rows(subject: Subject) -> Iterator[dict]:
    """A row for every method and placement."""
    for placed, registration in _PLACED.items():
        given = subject if registration == "off" else subject.measured()
        sharpener = Sharpener("ksdiff-s", registration=registration, together=given.judged_together)
        results = {method: given.apart(fuse(given.pair())) for method, fuse in METHODS.items()}
        images = subject.pan[0], subject.ms[0]
        fused = sharpener.sharpen(*images, subject.phase, sensor_name(subject))
        for method, image in (results | {"ksdiff": fused[None]}).items():
            yield {
                **{"scene": subject.info.name, "bands": subject.info.bands, "placed": placed},
                **{"method": method, "indexes": given.judge(image, 0)},
            }


def measure() -> Iterator[dict]:
    for subject in _held_out():
        yield from _rows(subject)


def text(found: Result) -> str:
    """Scenes and placements down; KSDiff and the best classical method across."""
    rows = []
    for methods in nested(found.rows, ("scene", "placed"), "method").values():
        own = methods.pop("ksdiff")
        best = max(methods.values(), key=lambda row: row["indexes"]["HQNR"])
        scores = {"own": told(_SHOWN, own["indexes"]), "its": told(_SHOWN, best["indexes"])}
        rows.append(own | scores | {"best": best["method"]})
    head = "scene | PAN and bands | ksdiff-s | best classical method | its indexes"
    cells = "{scene}, {bands} bands | {placed} | {own} | {best} | {its}"
    return row_table(found, head, cells, "D_λ^K / D_s / HQNR. ", rows)

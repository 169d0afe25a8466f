"""Weights for any bands at full resolution, on scenes that their training has not seen.

D_lambda^K, D_s and HQNR of the held-out native scenes beside the nine classical methods: with PAN
and bands as they lie, and with all methods given what registering finds.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks.markdown import nested, noted, table
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
    """Of the native scenes, the part that is held out, `_SIDE` PAN pixels a side at most."""
    for subject in scenes("train", "pairs"):
        name, height, ratio = subject.info.name, subject.info.height, subject.info.ratio
        if subject.truth is None and name in (*HELD_OUT, *HELD_OUT_SOUTH):
            first = int(height * (1 - SOUTH)) if name in HELD_OUT_SOUTH else 0
            top, side = -(-first // ratio), _SIDE // ratio
            ms = subject.ms[..., top : top + side, :side]
            rows, columns = (ratio * length for length in ms.shape[-2:])
            pan = subject.pan[..., ratio * top : ratio * top + rows, :columns]
            yield replace(subject, pan=pan, ms=ms)


@torch.inference_mode()
def measure() -> Iterator[dict]:
    for subject in _held_out():
        facts = {"scene": subject.info.name, "bands": subject.info.bands}
        for placed, registration in _PLACED.items():
            given = subject if registration == "off" else subject.measured()
            results = {method: given.apart(fuse(given.pair())) for method, fuse in METHODS.items()}
            options = {"registration": registration, "together": given.judged_together}
            images = subject.pan[0], subject.ms[0], subject.phase, sensor_name(subject)
            results["ksdiff"] = Sharpener("ksdiff-s", **options).sharpen(*images)[None]
            for method, image in results.items():
                indexes = given.judge(image, 0)
                yield {**facts, "placed": placed, "method": method, "indexes": indexes}


def text(found: Result) -> str:
    """Scenes and placements down; KSDiff and the best classical method across."""
    rows = []
    for (scene, placed), methods in nested(found.rows, ("scene", "placed"), "method").items():
        own = methods.pop("ksdiff")
        best = max(methods.values(), key=lambda row: row["indexes"]["HQNR"])
        ours, its = (_SHOWN.format_map(row["indexes"]) for row in (own, best))
        rows.append([f"{scene}, {own['bands']} bands", placed, ours, best["method"], its])
    head = ["scene", "PAN and bands", "ksdiff-s", "best classical method", "its indexes"]
    return noted(table(head, rows), found, "D_λ^K / D_s / HQNR. ")

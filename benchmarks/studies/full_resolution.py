"""Weights for any bands at full resolution, on scenes that their training has not seen.

D_lambda^K, D_s and HQNR of the held-out native scenes beside the nine classical methods: with PAN
and bands as they lie, and with all methods given what registering finds.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.markdown import origin, table
from benchmarks.results import read
from benchmarks.studies.scenes import data
from ksdiff.baselines import METHODS
from ksdiff.evaluation.scenes import Subject, subjects
from ksdiff.inference.sharpen import Sharpener
from ksdiff.training.held_out import HELD_OUT, HELD_OUT_SOUTH, SOUTH

_SIDE = 1024  # PAN pixels at most
_PLACED = {"as they lie": "off", "registered": "auto"}


def _held_out(folder: Path) -> Iterator[Subject]:
    """Of the native scenes, the part that is held out."""
    for subject in subjects(folder, None):
        name, height = subject.info.name, subject.info.height
        if subject.truth is not None or name not in (*HELD_OUT, *HELD_OUT_SOUTH):
            continue
        ratio = subject.info.ratio
        first = height * (1 - SOUTH) if name in HELD_OUT_SOUTH else 0
        yield _cut(subject, -(-int(first) // ratio))


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
    name = None if subject.sensor.name == "unknown" else subject.sensor.name
    for placed, registration in _PLACED.items():
        given = subject if registration == "off" else subject.measured()
        sharpener = Sharpener("ksdiff-s", registration=registration, together=given.judged_together)
        results = {method: given.apart(fuse(given.pair())) for method, fuse in METHODS.items()}
        fused = sharpener.sharpen(subject.pan[0], subject.ms[0], subject.phase, name)
        results["ksdiff"] = fused[None]
        for method, image in results.items():
            indexes = given.judge(image, 0)
            yield {
                "scene": subject.info.name,
                "bands": subject.info.bands,
                "placed": placed,
                "method": method,
                "indexes": indexes,
            }


def measure() -> dict[str, list[dict]]:
    subjects = (one for folder in ("train", "pairs") for one in _held_out(data(folder)))
    return {"full-resolution": [row for subject in subjects for row in _rows(subject)]}


def text(path: Path) -> str:
    """Scenes and placements down; KSDiff and the best classical method across."""
    found = read(path)
    cells: dict[tuple[str, str], dict[str, dict]] = {}
    for row in found.rows:
        key = f"{row['scene']}, {row['bands']} bands", row["placed"]
        cells.setdefault(key, {})[row["method"]] = row["indexes"]
    rows = []
    for (scene, placed), methods in cells.items():
        own = methods.pop("ksdiff")
        best = max(methods, key=lambda name: methods[name]["HQNR"])
        rows.append([scene, placed, _shown(own), best, _shown(methods[best])])
    head = ["scene", "PAN and bands", "ksdiff-s", "best classical method", "its indexes"]
    return f"{table(head, rows)}\nD_λ^K / D_s / HQNR. {origin(found.header)}\n"


def _shown(indexes: dict[str, float]) -> str:
    return " / ".join(f"{indexes[name]:.3f}" for name in ("D_lambda_K", "D_s", "HQNR"))

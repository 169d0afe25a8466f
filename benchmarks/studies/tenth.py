"""A tenth of the steps of the bundled weights for any bands, beside all of them.

After `ksdiff train ksdiff/configs/ksdiff-s-tenth.yaml`.
"""

from pathlib import Path
from statistics import fmean

import torch

from benchmarks.markdown import origin, table
from benchmarks.results import ROOT, read
from benchmarks.studies import data, held_out
from ksdiff.models.weights import load_weights
from ksdiff.training.held_out import cases

_WEIGHTS = ROOT / "runs/ksdiff-s-tenth/weights.safetensors"
_ROWS = {"held-out": "`ksdiff-s`", "held-out-tenth": "`ksdiff-s-tenth.yaml`"}


@torch.inference_mode()
def measure() -> dict[str, list[dict]]:
    model, _ = load_weights(_WEIGHTS)
    every = cases(data("train"), data("pairs"), data("ms_only"))
    return {"held-out-tenth": [held_out.case_row(model, case) for case in every]}


def text(folder: Path) -> str:
    """Weights down; each index beside the best classical method's across."""
    rows = []
    for name, weights in _ROWS.items():
        found = read(folder / f"{name}.json")
        cells = []
        for index in ("SAM", "ERGAS"):
            pairs = [(row["told"][index], row["best"][index][0]) for row in found.rows]
            changes = [own / best - 1 for own, best in pairs if best >= held_out.LEAST]
            below = sum(change <= -0.05 for change in changes)
            cells += [f"{100 * fmean(changes):+.1f} %", f"{below} of {len(changes)}"]
        rows.append([weights, *cells])
    head = ["weights", *(x for index in ("SAM", "ERGAS") for x in (index, "lower by 5 % or more"))]
    return f"{table(head, rows)}\n{origin(found.header)}\n"

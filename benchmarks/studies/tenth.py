"""A tenth of the steps of the bundled weights for any bands, beside all of them.

After `ksdiff train ksdiff/configs/ksdiff-s-tenth.yaml`.
"""

from pathlib import Path
from statistics import fmean

import torch

from benchmarks.markdown import origin, table
from benchmarks.results import ROOT, read
from benchmarks.studies import held_out
from ksdiff.models.weights import load_weights

_WEIGHTS = ROOT / "runs/ksdiff-s-tenth/weights.safetensors"
_ROWS = {"held-out": "`ksdiff-s`", "held-out-tenth": "`ksdiff-s-tenth.yaml`"}


@torch.inference_mode()
def measure() -> dict[str, list[dict]]:
    model, _ = load_weights(_WEIGHTS)
    rows = [held_out.case_row(model, case) for case in held_out.held_out_cases()]
    return {"held-out-tenth": rows}


def text(folder: Path) -> str:
    """Weights down; each index beside the best classical method's across."""
    rows = []
    for name, weights in _ROWS.items():
        found = read(folder / f"{name}.json")
        cells = []
        for index in ("SAM", "ERGAS"):
            changes = held_out.changes(found.rows, index)
            below = sum(change <= -0.05 for change in changes)
            cells += [f"{100 * fmean(changes):+.1f} %", f"{below} of {len(changes)}"]
        rows.append([weights, *cells])
    head = ["weights", *(x for index in ("SAM", "ERGAS") for x in (index, "lower by 5 % or more"))]
    return f"{table(head, rows)}\n{origin(found.header)}\n"

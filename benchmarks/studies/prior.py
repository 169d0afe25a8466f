"""Table of what the prior is worth, from benchmarks/results/prior-val.json and prior-train.json.

`ksdiff prior --weights ksdiff-s-4band --data FOLDER --json FILE` writes them.
"""

import json
from pathlib import Path

from benchmarks.markdown import origin, table


def text(folder: Path) -> str:
    """A column for each folder of scenes: distances to the true prior, and ERGAS by prior."""
    found = [json.loads((folder / f"prior-{name}.json").read_text()) for name in ("val", "train")]
    rows = [
        [f"{label} {key}", *(f"{result[kind][key]:.{digits}f}" for result in found)]
        for kind, label, digits in (("distance", "distance, steps:", 2), ("ergas", "ERGAS:", 3))
        for key in found[0][kind]
    ]
    names = zip(("validation", "training"), found, strict=True)
    head = ["", *(f"{name}, {result['windows']} windows" for name, result in names)]
    return f"{table(head, rows)}\n{origin(found[0]['header'])}\n"

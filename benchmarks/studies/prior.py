"""Table of what the prior is worth, from benchmarks/results/prior-val.json and prior-train.json.

`ksdiff prior --weights ksdiff-s-4band --data FOLDER --json FILE` writes them.
"""

import json
from pathlib import Path

from benchmarks.markdown import origin, table

_FILES = {"validation": "prior-val.json", "training": "prior-train.json"}
_ROWS = {
    "ERGAS: the truth's prior; another scene's truth's": ("truth", "another's truth"),
    "ERGAS: the sampled prior; another scene's; the mean of all": ("sampled", "shuffled", "mean"),
    "ERGAS: all kernels of another scene": ("kernels",),
}


def text(folder: Path) -> str:
    """A column for each folder of scenes."""
    found = {name: json.loads((folder / file).read_text()) for name, file in _FILES.items()}
    results = list(found.values())
    steps = ", ".join(results[0]["distance"])
    rows = [
        [
            "distance of the sampled prior to the true one, in units of the spread, after "
            f"{steps} steps",
            *(", ".join(f"{value:.2f}" for value in r["distance"].values()) for r in results),
        ]
    ]
    for label, names in _ROWS.items():
        rows.append([label, *("; ".join(f"{r['ergas'][n]:.3f}" for n in names) for r in results)])
    head = ["", *(f"{name}, {result['windows']} windows" for name, result in found.items())]
    return f"{table(head, rows)}\n{origin(results[0]['header'])}\n"

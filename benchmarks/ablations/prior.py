"""Puts what the prior is worth into docs/ablations.md: `python -m benchmarks.ablations.prior`

The numbers are those of benchmarks/results/prior-val.json and prior-train.json, which `ksdiff prior
--weights ksdiff-s-4band --data FOLDER --json FILE` wrote.
"""

import json

from benchmarks.ablations.__main__ import PAGE, ROOT
from benchmarks.text import origin, put_between, table

BEGIN, END = "<!-- prior:begin -->", "<!-- prior:end -->"
_FOLDERS = {"validation": "prior-val.json", "training": "prior-train.json"}
_ROWS = {
    "ERGAS: the truth's prior; another scene's truth's": ("truth", "another's truth"),
    "ERGAS: the sampled prior; another scene's; the mean of all": ("sampled", "shuffled", "mean"),
    "ERGAS: all kernels of another scene": ("kernels",),
}


def text(found: dict[str, dict]) -> str:
    """Markdown, a column for each folder of scenes."""
    steps = list(next(iter(found.values()))["distance"])
    distance = (
        "distance of the sampled prior to the true one, in units of the spread, after "
        f"{', '.join(steps)} steps"
    )
    rows = [[distance, *(", ".join(map(_two, r["distance"].values())) for r in found.values())]]
    for label, names in _ROWS.items():
        rows.append(
            [label, *("; ".join(f"{r['ergas'][n]:.3f}" for n in names) for r in found.values())]
        )
    head = ["", *(f"{name}, {result['windows']} windows" for name, result in found.items())]
    return table(head, rows) + "\n" + origin(next(iter(found.values()))["header"]) + "\n"


def _two(value: float) -> str:
    return f"{value:.2f}"


def filled(page: str) -> str:
    """The page's text with the table of the committed results between its markers."""
    results = ROOT / "benchmarks/results"
    found = {name: json.loads((results / file).read_text()) for name, file in _FOLDERS.items()}
    return put_between(page, BEGIN, text(found), END)


def main() -> None:
    PAGE.write_text(filled(PAGE.read_text()))


if __name__ == "__main__":
    main()

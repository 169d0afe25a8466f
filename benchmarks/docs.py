"""Writes the tables of committed results into README.md and docs: `python -m benchmarks.docs`

A page holds a table between `<!-- NAME:begin -->` and `<!-- NAME:end -->`, wherever it wants it;
`NAME@RESULT` takes it from another file of benchmarks/results than the usual one. All other text is
written by hand.
"""

import json
import re
from pathlib import Path

from benchmarks import quality
from benchmarks.markdown import origin, table
from benchmarks.models import plots as model_plots
from benchmarks.models import tables as models
from benchmarks.ops import plots as op_plots
from benchmarks.ops import tables as ops
from benchmarks.results import RESULTS, ROOT, read
from benchmarks.studies import STUDIES
from ksdiff.errors import KSDiffError
from ksdiff.evaluation.ablation_report import markdown


def ablation(path: Path) -> str:
    """The tables of `ksdiff ablate`, one level of headings deeper."""
    values = json.loads(path.read_text())
    lines = (f"#{x}" if x.startswith("#") else x for x in markdown(values).splitlines())
    return "\n".join([*lines, "", origin(values["header"]), ""])


def prior(path: Path) -> str:
    """A column for each folder of scenes that `ksdiff prior --json` has judged."""
    own, training = (json.loads(p.read_text()) for p in (path, path.with_name("prior-train.json")))
    rows = [
        [f"{label} {key}", *(f"{x:.{digits}f}" for x in (value, training[kind][key]))]
        for kind, label, digits in (("distance", "distance, steps:", 2), ("ergas", "ERGAS:", 3))
        for key, value in own[kind].items()
    ]
    head = ["", f"validation, {own['windows']} windows", f"training, {training['windows']} windows"]
    return f"{table(head, rows)}\n{origin(own['header'])}\n"


# By name of the block: what makes it, of what reading of a file, and the usual file.
BLOCKS = {
    **{name: (make, models.Models, "models-cpu") for name, make in models.TABLES.items()},
    **{name: (study.table, read, name) for name, study in STUDIES.items()},
    **{name: (make, Path, result) for name, (make, result) in quality.TABLES.items()},
    "networks": (ops.networks, read, "networks-cpu"),
    "losses": (ops.losses, read, "networks-cpu"),
    "operators": (ops.operators, read, "ops-cpu"),
    "ablation": (ablation, Path, "ablation-small"),
    "ablation-any": (ablation, Path, "ablation-any"),
    "prior": (prior, Path, "prior-val"),
}
_BLOCK = re.compile(
    r"(<!-- ([\w-]+)(?:@([\w./-]+))?:begin -->\n).*?(<!-- \2(?:@[\w./-]+)?:end -->)", re.S
)


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def filled(page: str, name: str = "page") -> str:
    """The text of a page with its blocks made anew.

    Raises:
        KSDiffError: a block of an unknown name.
    """

    def block(match: re.Match) -> str:
        begin, kind, given, end = match.groups()
        if kind not in BLOCKS:
            raise KSDiffError(
                f"{name}: block {kind!r}: expected one of {', '.join(sorted(BLOCKS))}"
            )
        make, reading, usual = BLOCKS[kind]
        return f"{begin}{make(reading(RESULTS / f'{given or usual}.json'))}{end}"

    return _BLOCK.sub(block, page)


def main() -> None:
    for path in pages():
        old = path.read_text()
        new = filled(old, str(path.relative_to(ROOT)))
        if new != old:
            path.write_text(new)
            print(path.relative_to(ROOT))
    docs = ROOT / "docs"
    for path in sorted([*RESULTS.glob("ops-*.json"), *RESULTS.glob("gpu*.json")]):
        op_plots.save(read(path), docs, path.stem)
    for path in sorted(RESULTS.glob("models-c*.json")):
        model_plots.save(models.Models(path), docs, path.stem)


if __name__ == "__main__":
    main()

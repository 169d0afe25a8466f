"""Puts the results of `ksdiff ablate benchmarks/ablations/small.yaml` beside the others:
`python -m benchmarks.ablations [FOLDER]`

FOLDER/ablation.json goes to benchmarks/results/ablation.json, its tables and plot to docs.
"""

import argparse
import json
import shutil
from pathlib import Path

from benchmarks.text import origin, put_between
from ksdiff.evaluation.ablation_report import markdown

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results/ablation.json"
PAGE = ROOT / "docs/ablations.md"
BEGIN, END = "<!-- ablation:begin -->", "<!-- ablation:end -->"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "runs/ablation-small")
    folder = parser.parse_args().folder
    shutil.copyfile(folder / "ablation.json", RESULTS)
    shutil.copyfile(folder / "ablation.png", PAGE.with_name("ablation.png"))
    PAGE.write_text(filled(PAGE.read_text(), json.loads(RESULTS.read_text())))


def filled(page: str, values: dict) -> str:
    """The page's text with the ablation's tables between its markers."""
    tables = "\n".join(
        f"#{line}" if line.startswith("#") else line for line in markdown(values).splitlines()
    )
    return put_between(page, BEGIN, f"{tables}\n\n{origin(values['header'])}\n", END)


if __name__ == "__main__":
    main()

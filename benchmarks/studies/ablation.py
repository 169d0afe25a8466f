"""Commits a finished ablation: `python -m benchmarks.studies.ablation [FOLDER]`

After `ksdiff ablate benchmarks/studies/ablation-small.yaml`; FOLDER/ablation.json goes to
benchmarks/results, FOLDER/ablation.png to docs.
"""

import argparse
import json
import shutil
from pathlib import Path

from benchmarks.markdown import origin
from benchmarks.results import RESULTS, ROOT
from ksdiff.evaluation.ablation_report import markdown


def text(path: Path) -> str:
    values = json.loads(path.read_text())
    lines = (f"#{x}" if x.startswith("#") else x for x in markdown(values).splitlines())
    return "\n".join([*lines, "", origin(values["header"]), ""])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "runs/ablation-small")
    folder = parser.parse_args().folder
    shutil.copyfile(folder / "ablation.json", RESULTS / "ablation.json")
    shutil.copyfile(folder / "ablation.png", ROOT / "docs/ablation.png")


if __name__ == "__main__":
    main()

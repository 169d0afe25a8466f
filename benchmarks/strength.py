"""The bundled weights with more and less of what they have learnt: `python -m benchmarks.strength`

Scores of the validation scenes at several `injection.residual_strength`. Results go to
benchmarks/results/strength.json, the table into docs/model.md.
"""

import argparse
import dataclasses
from pathlib import Path

from benchmarks import scoring
from benchmarks.text import origin, put_between, table
from ksdiff.evaluation.scenes import Subject, subjects
from ksdiff.inference.sharpen import Sharpener
from ksdiff.models.weights import load_weights, weights_for
from ksdiff.runtime import machine_header

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/strength.json"
PAGE = ROOT / "docs/model.md"
BEGIN, END = "<!-- strength:begin -->", "<!-- strength:end -->"
STRENGTHS = (1.0, 0.85, 0.75, 0.65, 0.5, 0.25, 0.0)


def indexes(subject: Subject, strength: float) -> dict[str, float]:
    model, _ = load_weights(weights_for(subject.ms.shape[1], 4))
    head = model.injection
    head.config = dataclasses.replace(head.config, residual_strength=strength)
    return scoring.indexes(Sharpener(model), subject)


def text(found: dict) -> str:
    """Markdown, strengths down and scenes across."""
    rows = [
        [f"{strength:g}", *(_shown(scene["indexes"][number]) for scene in found["scenes"])]
        for number, strength in enumerate(found["strengths"])
    ]
    head = ["residual_strength", *(scene["name"] for scene in found["scenes"])]
    return table(head, rows) + f"\nSAM / ERGAS / Q2n, or HQNR. {origin(found['header'])}\n"


def _shown(values: dict[str, float]) -> str:
    if "HQNR" in values:
        return f"{values['HQNR']:.3f}"
    return "{SAM:.2f} / {ERGAS:.3f} / {Q2n:.3f}".format(**values)


def filled(page: str, found: dict) -> str:
    """The page's text with the table between its markers."""
    return put_between(page, BEGIN, text(found), END)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="../shared/data/val")
    arguments = parser.parse_args()
    found = {
        "header": machine_header(),
        "strengths": STRENGTHS,
        "scenes": [
            {
                "name": subject.info.name,
                "indexes": [indexes(subject, strength) for strength in STRENGTHS],
            }
            for subject in subjects(arguments.data, None)
        ],
    }
    scoring.write(RESULTS, found)
    PAGE.write_text(filled(PAGE.read_text(), found))


if __name__ == "__main__":
    main()

"""Validation scores at several strengths of the learnt residual: `python -m
benchmarks.studies.strength`

The result is benchmarks/results/strength.json.
"""

import argparse
import dataclasses
from pathlib import Path

from benchmarks.markdown import indexes as shown
from benchmarks.markdown import origin, table
from benchmarks.results import RESULTS, read, write
from benchmarks.studies import indexes
from ksdiff.evaluation.scenes import Subject, subjects
from ksdiff.inference.sharpen import Sharpener
from ksdiff.models.weights import load_weights, weights_for
from ksdiff.runtime import machine_header

STRENGTHS = (1.0, 0.85, 0.75, 0.65, 0.5, 0.25, 0.0)


def with_strength(subject: Subject, strength: float) -> Sharpener:
    model, _ = load_weights(weights_for(subject.ms.shape[1], 4))
    head = model.injection
    head.config = dataclasses.replace(head.config, residual_strength=strength)
    return Sharpener(model)


def text(path: Path) -> str:
    """Strengths down and scenes across."""
    found = read(path)
    cells: dict[float, dict[str, str]] = {}
    for row in found.rows:
        own = row["indexes"]
        names, digits = (("HQNR",), "3") if "HQNR" in own else (("SAM", "ERGAS", "Q2n"), "233")
        cells.setdefault(row["strength"], {})[row["scene"]] = shown(own, names, digits)
    scenes = list(next(iter(cells.values())))
    rows = [[f"{strength:g}", *(own[scene] for scene in scenes)] for strength, own in cells.items()]
    note = f"\nSAM / ERGAS / Q2n, or HQNR. {origin(found.header)}\n"
    return table(["residual_strength", *scenes], rows) + note


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="../shared/data/val")
    scenes = subjects(parser.parse_args().data, None)
    rows = [
        {
            **{"scene": subject.info.name, "strength": strength},
            "indexes": indexes(with_strength(subject, strength), subject),
        }
        for subject in scenes
        for strength in STRENGTHS
    ]
    write(RESULTS / "strength.json", machine_header(), rows)


if __name__ == "__main__":
    main()

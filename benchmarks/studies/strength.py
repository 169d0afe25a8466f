"""Validation scores at several strengths of the learnt residual."""

import dataclasses
from pathlib import Path

from benchmarks.markdown import indexes as shown
from benchmarks.markdown import origin, pivot
from benchmarks.results import read
from benchmarks.studies.scenes import data, indexes
from ksdiff.evaluation.scenes import Subject, subjects
from ksdiff.inference.sharpen import Sharpener
from ksdiff.models.weights import load_weights, weights_for

STRENGTHS = (1.0, 0.85, 0.75, 0.65, 0.5, 0.25, 0.0)


def with_strength(subject: Subject, strength: float) -> Sharpener:
    model, _ = load_weights(weights_for(subject.ms.shape[1], 4))
    head = model.injection
    head.config = dataclasses.replace(head.config, residual_strength=strength)
    return Sharpener(model)


def measure() -> dict[str, list[dict]]:
    rows = [
        {
            **{"scene": subject.info.name, "strength": strength},
            "indexes": indexes(with_strength(subject, strength), subject),
        }
        for subject in subjects(data("val"), None)
        for strength in STRENGTHS
    ]
    return {"strength": rows}


def text(path: Path) -> str:
    """Strengths down and scenes across."""
    found = read(path)

    def cell(row: dict) -> str:
        if "HQNR" in row["indexes"]:
            return shown(row["indexes"], ("HQNR",), "3")
        return shown(row["indexes"], ("SAM", "ERGAS", "Q2n"))

    rows = (row | {"strength": f"{row['strength']:g}"} for row in found.rows)
    note = f"\nSAM / ERGAS / Q2n, or HQNR. {origin(found.header)}\n"
    return pivot(rows, "strength", "scene", cell, "residual_strength") + note

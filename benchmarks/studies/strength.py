"""Validation scores at several strengths of the learnt residual."""

import dataclasses
from collections.abc import Iterator

from benchmarks.markdown import noted, pivot
from benchmarks.results import Result
from benchmarks.studies.scenes import scenes, score_cell, scored
from ksdiff.evaluation.scenes import Subject
from ksdiff.inference.sharpen import Sharpener
from ksdiff.models.weights import load_weights, weights_for

STRENGTHS = (1.0, 0.85, 0.75, 0.65, 0.5, 0.25, 0.0)


def with_strength(subject: Subject, strength: float) -> Sharpener:
    model, _ = load_weights(weights_for(subject.ms.shape[1], 4, as_delivered=True))
    head = model.injection
    head.config = dataclasses.replace(head.config, residual_strength=strength)
    return Sharpener(model)


def measure() -> Iterator[dict]:
    for subject in scenes("val"):
        for strength in STRENGTHS:
            yield scored(subject, with_strength(subject, strength), strength=strength)


def text(found: Result) -> str:
    """Strengths down and scenes across."""
    rows = (row | {"strength": f"{row['strength']:g}"} for row in found.rows)
    scores = score_cell("{SAM:.2f} / {ERGAS:.3f} / {Q2n:.3f}", "{HQNR:.3f}")
    told = pivot(rows, "strength", "scene", scores, "residual_strength")
    return noted(told, found, "SAM / ERGAS / Q2n, or HQNR. ")

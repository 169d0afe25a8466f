"""The scenes of the studies, and their scores."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.markdown import Cell
from ksdiff.evaluation.run import DEFAULT_BORDER
from ksdiff.evaluation.scenes import Subject, subjects
from ksdiff.inference.sharpen import Sharpener
from ksdiff.training.samples import data_path


def data(folder: str) -> Path:
    """A folder of the data, which the environment variable KSDIFF_DATA names."""
    return data_path("${KSDIFF_DATA}") / folder


def scenes(*folders: str) -> Iterator[Subject]:
    for folder in folders:
        yield from subjects(data(folder), None)


def sensor_name(subject: Subject) -> str | None:
    return subject.sensor.name if subject.sensor.known else None


def scored(subject: Subject, sharpener: Sharpener, **facts: object) -> dict:
    """A row with the quality indexes of a scene sharpened in one piece, with its own sensor."""
    pan, ms = subject.pan[0], subject.ms[0]
    fused = sharpener.sharpen(pan, ms, subject.phase, subject.sensor.name)
    judged = subject.judge(fused[None], DEFAULT_BORDER)
    return {"scene": subject.info.name, **facts, "indexes": judged}


def score_cell(reduced: str, full: str = "") -> Cell:
    """The indexes of a row in one format or the other: those with a truth, those without."""
    return lambda row: (full if "HQNR" in row["indexes"] else reduced).format_map(row["indexes"])

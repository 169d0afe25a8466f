"""The scenes of the studies, and their scores."""

from pathlib import Path

from ksdiff.evaluation.run import DEFAULT_BORDER
from ksdiff.evaluation.scenes import Subject
from ksdiff.inference.sharpen import Sharpener
from ksdiff.training.samples import data_path


def indexes(sharpener: Sharpener, subject: Subject) -> dict[str, float]:
    """Quality indexes of a scene sharpened in one piece, with its own sensor."""
    pan, ms = subject.pan[0], subject.ms[0]
    fused = sharpener.sharpen(pan, ms, subject.phase, subject.sensor.name)
    return subject.judge(fused[None], DEFAULT_BORDER)


def data(folder: str) -> Path:
    """A folder of the data, which the environment variable KSDIFF_DATA names."""
    return data_path("${KSDIFF_DATA}") / folder

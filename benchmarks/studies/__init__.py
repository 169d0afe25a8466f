"""Studies of single choices: each measures the rows of its result files and has their tables."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from ksdiff.errors import KSDiffError
from ksdiff.evaluation.run import DEFAULT_BORDER
from ksdiff.evaluation.scenes import Subject
from ksdiff.inference.sharpen import Sharpener
from ksdiff.training.samples import data_path

_T = TypeVar("_T")


def indexes(sharpener: Sharpener, subject: Subject) -> dict[str, float]:
    """Quality indexes of a scene sharpened in one piece, with its own sensor."""
    pan, ms = subject.pan[0], subject.ms[0]
    fused = sharpener.sharpen(pan, ms, subject.phase, subject.sensor.name)
    return subject.judge(fused[None], DEFAULT_BORDER)


def rows_of(
    row: Callable[[_T], dict], every: Iterable[_T], name: Callable[[_T], str]
) -> list[dict]:
    """A row of each, less those that are refused, which are named on the terminal."""
    rows = []
    for one in every:
        try:
            rows.append(row(one))
        except KSDiffError as error:
            print(f"{name(one)} left out: {error}")
    return rows


def data(folder: str) -> Path:
    """A folder of the data, which the environment variable KSDIFF_DATA names."""
    return data_path("${KSDIFF_DATA}") / folder

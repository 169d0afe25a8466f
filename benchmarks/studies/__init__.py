"""Studies of single choices, each with its command, result file and table."""

import torch

from ksdiff.evaluation.run import DEFAULT_BORDER
from ksdiff.evaluation.scenes import Subject
from ksdiff.inference.sharpen import Sharpener


def indexes(sharpener: Sharpener, subject: Subject) -> dict[str, float]:
    """Quality indexes of a scene sharpened in one piece, with its own sensor."""
    pan, ms = subject.pan[0], subject.ms[0]
    fused: torch.Tensor = sharpener.sharpen(pan, ms, subject.phase, subject.sensor.name)
    return subject.judge(fused[None], DEFAULT_BORDER)

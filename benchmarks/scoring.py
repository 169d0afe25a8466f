"""What the small benchmarks share: scenes sharpened and judged, results written."""

import json
from pathlib import Path

from ksdiff.evaluation.run import DEFAULT_BORDER
from ksdiff.evaluation.scenes import Subject
from ksdiff.inference.sharpen import Sharpener
from ksdiff.io.outputs import atomic


def indexes(sharpener: Sharpener, subject: Subject) -> dict[str, float]:
    """Of the subject sharpened as a whole, with its own sensor."""
    pan, ms = subject.pan[0], subject.ms[0]
    fused = sharpener.sharpen(pan, ms, subject.phase, subject.sensor.name)
    return subject.judge(fused[None], DEFAULT_BORDER)


def write(path: Path, found: dict) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")

"""What registration finds on deliveries, and what it gains.

The share of the variance of PAN's detail that the bands explain where registration puts it, PAN
seen as the bands see it, in blocks of 32 x 32 MS pixels: the better the place, the more. And by how
much a known shift of PAN is missed.
"""

from collections.abc import Iterator
from statistics import fmean, median

import torch

from benchmarks.markdown import noted, table
from benchmarks.results import Result
from benchmarks.studies.scenes import scenes, sensor_name
from ksdiff.errors import KSDiffError
from ksdiff.evaluation.scenes import Subject
from ksdiff.images.inputs import local_detail
from ksdiff.images.pair import ArrayPair
from ksdiff.images.translation import shift
from ksdiff.images.wald import degrade_pan_as_ms
from ksdiff.inference.scene import PreparedScene
from ksdiff.inference.sharpen import Sharpener

MODES = ("off", "shift", "auto", "local")
MOVED = (15.0, -9.3)  # PAN pixels
_BLOCK = 32  # MS pixels


def prepared(subject: Subject, mode: str, by: tuple[float, float] = (0.0, 0.0)) -> PreparedScene:
    pan = shift(subject.pan, *by) if any(by) else subject.pan
    sharpener = Sharpener(method="exp", registration=mode)
    pair = ArrayPair(pan[0], subject.ms[0], subject.phase)
    return sharpener.prepare(pair, sensor_name(subject))


@torch.inference_mode()
def explained(scene: PreparedScene) -> float:
    """The share of the variance of PAN's detail that the bands explain, the mean over blocks."""
    pan, ms = scene.images(scene.pair.read())
    if scene.alignment is not None:
        ms = scene.alignment.together(ms)
    gain = (fmean(scene.gains),)
    seen = degrade_pan_as_ms(pan, gain, scene.pair.ratio, "reflect", scene.pair.phase)
    detail = torch.cat((local_detail(seen), local_detail(ms)), 1)[0]
    side = min(_BLOCK, *detail.shape[1:])
    blocks = detail.unfold(1, side, side).unfold(2, side, side).flatten(3).flatten(1, 2)
    target, bands = blocks[:1].movedim(0, 2), blocks[1:].permute(1, 2, 0)
    missed = target - bands @ torch.linalg.lstsq(bands, target).solution
    energy = target.square().sum((1, 2))
    known = energy > 0
    return (1 - missed.square().sum((1, 2))[known] / energy[known]).mean().item()


def _row(subject: Subject) -> dict:
    found = {mode: prepared(subject, mode) for mode in MODES}
    row = {"scene": subject.info.name, "shares": {m: explained(s) for m, s in found.items()}}
    field = found["auto"].registration.field
    row["field"] = None if field is None else field.kind
    one = found["shift"].registration
    if one.move is not None:
        again = prepared(subject, "shift", MOVED).shift
        row["missed"] = max(
            abs(b - a - by) for a, b, by in zip(one.shift, again, MOVED, strict=True)
        )
    return row


def measure() -> Iterator[dict]:
    for subject in scenes("val", "train", "pairs"):
        try:
            yield _row(subject)
        except KSDiffError as error:
            print(f"{subject.info.name} left out: {error}")


def text(found: Result) -> str:
    """Scenes whose shift varies down, ways to register across; and what a shift is missed by."""
    rows = [
        [row["scene"], row["field"], *(f"{row['shares'][mode]:.3f}" for mode in MODES)]
        for row in found.rows
        if row["field"]
    ]
    others = [row for row in found.rows if not row["field"]]
    mean = [f"{fmean(row['shares'][mode] for row in others):.3f}" for mode in MODES]
    rows.append([f"mean of {len(others)} others", "", *mean])
    missed = [row["missed"] for row in found.rows if "missed" in row]
    note = (
        f"Share of the variance of PAN's detail that the bands explain. PAN moved by another "
        f"{MOVED[0]:g} rows and {-MOVED[1]:g} columns is found again to {median(missed):.2f} "
        f"pixels in the middle one of {len(missed)} scenes, to {max(missed):.2f} in the worst. "
    )
    return noted(table(["scene", "field of auto", *MODES], rows), found, note)

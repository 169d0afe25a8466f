"""Adapts weights to sensors that they have not seen.

`ksdiff train benchmarks/studies/left-out.yaml` makes the weights. For every scene of `SCENES` these
weights are judged as they are and adapted to PAN and MS alone; the bundled ones are adapted to
every validation scene. Truths serve only to judge.
"""

from collections.abc import Iterator

from benchmarks.markdown import noted, pivot
from benchmarks.results import Result
from benchmarks.studies.scenes import data, scenes, score_cell, scored
from ksdiff.baselines import METHODS
from ksdiff.errors import KSDiffError
from ksdiff.evaluation.run import DEFAULT_BORDER
from ksdiff.evaluation.scenes import Subject
from ksdiff.inference.sharpen import Sharpener
from ksdiff.training.adapt import adapt

SCENES = ("geoeye1_london", "wv4_mexico_nat")  # validation scenes of the sensors left out
WEIGHTS = "runs/left-out/weights.safetensors"
MINUTES = 5.0  # for a scene at most
_BASELINE = "mtf-glp-hpm"


def measure() -> Iterator[dict]:
    for subject in scenes("val"):
        facts = {"scene": subject.info.name, "resolution": subject.info.resolution}
        for row in _rows(subject):
            yield facts | row


def _rows(scene: Subject) -> Iterator[dict]:
    if scene.info.name in SCENES:
        classical = METHODS[_BASELINE](scene.measured().pair())
        yield {"method": _BASELINE, "indexes": scene.judge(classical, DEFAULT_BORDER)}
        yield scored(scene, Sharpener(WEIGHTS), method="left out")
        yield _adapted(WEIGHTS, scene) | {"method": "left out, adapted"}
        yield scored(scene, Sharpener(), method="bundled")
    try:
        adapted = _adapted(None, scene)
    except KSDiffError as error:
        adapted = {"refused": str(error)}
    yield adapted | {"method": "bundled, adapted"}


def _adapted(weights: str | None, scene: Subject) -> dict:
    """What adapting did, and the scores of its weights."""
    name, sensor = scene.info.name, scene.sensor.name
    images = (data("val") / f"{name}_{part}.tif" for part in ("pan", "ms"))
    done = adapt(*images, weights=weights, sensor=sensor, minutes=MINUTES)
    return scored(scene, Sharpener(done.model)) | {
        "sensor": sensor,
        "kept": done.kept,
        "steps": done.steps,
        "seconds": done.seconds,
        "error": {"before": done.before.product, "after": done.after.product},
    }


def text(found: Result) -> str:
    """Weights down and scenes across; the steps of adapting last."""
    rows = [row for row in found.rows if row["scene"] in SCENES]
    steps = "steps of adapting the weights left out"
    rows += [row | {"method": steps} for row in rows if row["method"] == "left out, adapted"]
    scores = score_cell("{SAM:.2f} / {ERGAS:.3f} / {Q2n:.3f}")

    def cell(row: dict) -> str:
        return str(row["steps"]) if row["method"] == steps else scores(row)

    lines = pivot(rows, "method", "scene", cell, "SAM / ERGAS / Q2n")
    return noted(lines, found, f"At most {MINUTES:g} minutes a scene. ")

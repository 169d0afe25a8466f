"""Adapts weights to sensors that they have not seen: `python -m benchmarks.studies.adaptation`

First, once: `ksdiff train benchmarks/studies/left-out.yaml`. For every scene of `SCENES` these
weights are judged as they are and adapted to PAN and MS alone; the bundled ones are adapted to
every validation scene. Truths serve only to judge. The result is
benchmarks/results/adaptation.json.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.markdown import indexes as shown
from benchmarks.markdown import origin, table
from benchmarks.results import RESULTS, read, write
from benchmarks.studies import indexes
from ksdiff.baselines import METHODS
from ksdiff.errors import KSDiffError
from ksdiff.evaluation.run import DEFAULT_BORDER
from ksdiff.evaluation.scenes import Subject, subjects
from ksdiff.inference.sharpen import Sharpener
from ksdiff.runtime import machine_header
from ksdiff.training.adapt import adapt

SCENES = ("geoeye1_london", "wv4_mexico_nat")  # validation scenes of the sensors left out
_BASELINE = "mtf-glp-hpm"
_INDEXES = ("SAM", "ERGAS", "Q2n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="runs/left-out/weights.safetensors")
    parser.add_argument("--data", default="../shared/data/val")
    parser.add_argument("--minutes", type=float, default=5.0, help="a scene (default %(default)s)")
    given = parser.parse_args()
    header = machine_header() | {"minutes": given.minutes, "border": DEFAULT_BORDER}
    rows = [
        {"scene": scene.info.name, "resolution": scene.info.resolution, **row}
        for scene in subjects(given.data, None)
        for row in _rows(scene, given.weights, Path(given.data), given.minutes)
    ]
    write(RESULTS / "adaptation.json", header, rows)


def _rows(scene: Subject, weights: str, folder: Path, minutes: float) -> Iterator[dict]:
    if scene.info.name in SCENES:
        classical = METHODS[_BASELINE](scene.measured().pair())
        yield {"method": _BASELINE, "indexes": scene.judge(classical, DEFAULT_BORDER)}
        yield {"method": "left out", "indexes": indexes(Sharpener(weights), scene)}
        yield {"method": "left out, adapted", **_adapted(weights, scene, folder, minutes)}
        yield {"method": "bundled", "indexes": indexes(Sharpener(), scene)}
    try:
        adapted = _adapted(None, scene, folder, minutes)
    except KSDiffError as error:
        adapted = {"refused": str(error)}
    yield {"method": "bundled, adapted", **adapted}


def _adapted(weights: str | None, scene: Subject, folder: Path, minutes: float) -> dict:
    """What adapting did, and the scores of its weights."""
    name, sensor = scene.info.name, scene.sensor.name
    images = folder / f"{name}_pan.tif", folder / f"{name}_ms.tif"
    done = adapt(*images, weights=weights, sensor=sensor, minutes=minutes)
    return {
        "sensor": sensor,
        "kept": done.kept,
        "steps": done.steps,
        "seconds": done.seconds,
        "error": {"before": done.before.product, "after": done.after.product},
        "indexes": indexes(Sharpener(done.model), scene),
    }


def text(path: Path) -> str:
    """Weights down and scenes across; the steps of adapting last."""
    found = read(path)
    rows = [row for row in found.rows if row["scene"] in SCENES]
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        cells.setdefault(row["method"], {})[row["scene"]] = shown(row["indexes"], _INDEXES)
    lines = [[method, *(own[scene] for scene in SCENES)] for method, own in cells.items()]
    steps = [str(row["steps"]) for row in rows if row["method"] == "left out, adapted"]
    lines.append(["steps of adapting the weights left out", *steps])
    note = f"\nAt most {found.header['minutes']:g} minutes a scene. {origin(found.header)}\n"
    return table([" / ".join(_INDEXES), *SCENES], lines) + note


if __name__ == "__main__":
    main()

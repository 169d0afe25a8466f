"""Adapts weights to scenes of sensors they have not seen: `python -m benchmarks.adaptation`

First, once: `ksdiff train benchmarks/adaptation/left-out.yaml`. For every scene of `SCENES` these
weights are judged as they are, adapted to PAN and MS alone, and judged again; the bundled ones are
adapted to every validation scene. Truths are there to judge only. Results go to
benchmarks/results/adaptation.json, the table of the former into docs/training.md, the scores of the
latter into README.md by `python -m benchmarks.readme`.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks import scoring
from benchmarks.text import origin, put_between, table
from ksdiff.baselines import METHODS
from ksdiff.errors import KSDiffError
from ksdiff.evaluation.run import DEFAULT_BORDER
from ksdiff.evaluation.scenes import Subject, subjects
from ksdiff.inference.sharpen import Sharpener
from ksdiff.runtime import machine_header
from ksdiff.training.adapt import adapt

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results/adaptation.json"
PAGE = ROOT / "docs/training.md"
BEGIN, END = "<!-- adaptation:begin -->", "<!-- adaptation:end -->"
SCENES = ("geoeye1_london", "wv4_mexico_nat")  # the validation scenes of the sensors left out
_BASELINE = "mtf-glp-hpm"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="runs/left-out/weights.safetensors")
    parser.add_argument("--data", default="../shared/data/val")
    parser.add_argument("--minutes", type=float, default=5.0, help="a scene (default %(default)s)")
    arguments = parser.parse_args()
    scenes, bundled = [], []
    for subject in subjects(arguments.data, None):
        place = (subject, Path(arguments.data), arguments.minutes)
        if subject.info.name in SCENES:
            scenes.append(_left_out(arguments.weights, *place))
        bundled.append(_bundled(*place))
    found = {
        "header": machine_header() | {"minutes": arguments.minutes, "border": DEFAULT_BORDER},
        "scenes": scenes,
        "bundled": bundled,
    }
    scoring.write(RESULTS, found)
    PAGE.write_text(filled(PAGE.read_text(), found))


def _left_out(weights: str, subject: Subject, folder: Path, minutes: float) -> dict:
    found = _adapted(weights, subject, folder, minutes)
    baseline = METHODS[_BASELINE](subject.measured().pair())
    indexes = {
        _BASELINE: subject.judge(baseline, DEFAULT_BORDER),
        "left out": scoring.indexes(Sharpener(weights), subject),
        "left out, adapted": found.pop("indexes"),
        "bundled": scoring.indexes(Sharpener(), subject),
    }
    return found | {"indexes": indexes}


def _bundled(subject: Subject, folder: Path, minutes: float) -> dict:
    try:
        found = _adapted(None, subject, folder, minutes)
    except KSDiffError as error:
        found = {"scene": subject.info.name, "refused": str(error)}
    return found | {"resolution": subject.info.resolution}


def _adapted(weights: str | None, subject: Subject, folder: Path, minutes: float) -> dict:
    """What adapting has done, and the scores of what came out of it."""
    name, sensor = subject.info.name, subject.sensor.name
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "adapted.safetensors"
        done = adapt(
            folder / f"{name}_pan.tif",
            folder / f"{name}_ms.tif",
            out,
            weights=weights,
            sensor=sensor,
            minutes=minutes,
        )
        return {
            "scene": name,
            "sensor": sensor,
            "kept": done.kept,
            "steps": done.steps,
            "seconds": done.seconds,
            "error": {"before": done.before, "after": done.after},
            "indexes": scoring.indexes(Sharpener(out), subject),
        }


def text(found: dict) -> str:
    """Markdown: SAM / ERGAS / Q2n of every scene before and after, and what adapting has gained."""
    names = list(found["scenes"][0]["indexes"])
    rows = [
        [
            name,
            *(
                "{SAM:.2f} / {ERGAS:.3f} / {Q2n:.3f}".format(**scene["indexes"][name])
                for scene in found["scenes"]
            ),
        ]
        for name in names
    ]
    gains = "; ".join(_gain(scene) for scene in found["scenes"])
    header = found["header"]
    return (
        table(["SAM / ERGAS / Q2n", *(scene["scene"] for scene in found["scenes"])], rows)
        + f"\nERGAS after adapting against before: {gains}. {_BASELINE}: shift and MTF measured. "
        f"At most {header['minutes']:g} minutes a scene on {origin(header)}\n"
    )


def _gain(scene: dict) -> str:
    before, after = (scene["indexes"][name]["ERGAS"] for name in ("left out", "left out, adapted"))
    kept = "" if scene["kept"] else ", where the weights were kept as they were"
    return f"{scene['scene']} {100 * (after / before - 1):+.1f} % ({scene['steps']} steps{kept})"


def filled(page: str, found: dict) -> str:
    """The page's text with the table between its markers."""
    return put_between(page, BEGIN, text(found), END)


if __name__ == "__main__":
    main()

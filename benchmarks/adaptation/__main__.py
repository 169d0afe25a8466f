"""Adapts weights to scenes of sensors they have not seen: `python -m benchmarks.adaptation`

First, once: `ksdiff train benchmarks/adaptation/left-out.yaml`. For every scene of `SCENES` the
weights are judged as they are, adapted to PAN and MS alone, and judged again; the truth is there to
judge only.
Results go to benchmarks/results/adaptation.json, the table into docs/training.md.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks import scoring
from benchmarks.text import origin, put_between, table
from ksdiff.baselines import METHODS
from ksdiff.evaluation.scores import DEFAULT_BORDER
from ksdiff.evaluation.subjects import Subject, subjects
from ksdiff.inference.sharpen import Sharpener
from ksdiff.machine import machine_header
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
    found = {
        "header": machine_header() | {"minutes": arguments.minutes, "border": DEFAULT_BORDER},
        "scenes": [
            _judged(subject, arguments.weights, Path(arguments.data), arguments.minutes)
            for subject in subjects(arguments.data, None)
            if subject.info.name in SCENES
        ],
    }
    scoring.write(RESULTS, found)
    PAGE.write_text(filled(PAGE.read_text(), found))


def _judged(subject: Subject, weights: str, folder: Path, minutes: float) -> dict:
    name, sensor = subject.info.name, subject.sensor.name

    def indexes(chosen: str | Path | None) -> dict[str, float]:
        return scoring.indexes(Sharpener(chosen), subject)

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
        adapted = indexes(out)
    return {
        "name": name,
        "sensor": sensor,
        "kept": done.kept,
        "steps": done.steps,
        "seconds": done.seconds,
        "held_out": {"before": done.before, "after": done.after},
        "indexes": {
            _BASELINE: subject.judge(METHODS[_BASELINE](subject.measured().pair()), DEFAULT_BORDER),
            "left out": indexes(weights),
            "left out, adapted": adapted,
            "bundled": indexes(None),
        },
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
        table(["SAM / ERGAS / Q2n", *(scene["name"] for scene in found["scenes"])], rows)
        + f"\nERGAS after adapting against before: {gains}. {_BASELINE}: shift and MTF measured. "
        f"At most {header['minutes']:g} minutes a scene on {origin(header)}\n"
    )


def _gain(scene: dict) -> str:
    before, after = (scene["indexes"][name]["ERGAS"] for name in ("left out", "left out, adapted"))
    kept = "" if scene["kept"] else ", where the weights were kept as they were"
    return f"{scene['name']} {100 * (after / before - 1):+.1f} % ({scene['steps']} steps{kept})"


def filled(page: str, found: dict) -> str:
    """The page's text with the table between its markers."""
    return put_between(page, BEGIN, text(found), END)


if __name__ == "__main__":
    main()

"""Puts the quality table into README.md: `python -m benchmarks.readme`

The numbers are those of benchmarks/results: of three files that `ksdiff evaluate --json` wrote,
quality.json, quality-measured.json with `--measured` and quality-unmoved.json with
`--methods ksdiff --no-register --contrast deviations`, and of adaptation.json by
`python -m benchmarks.adaptation`.
"""

import json
from pathlib import Path

from benchmarks.text import put_between, table
from ksdiff.baselines import METHODS
from ksdiff.evaluation.run import KSDIFF

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- quality:begin -->", "<!-- quality:end -->"
REDUCED, FULL = ("SAM", "ERGAS", "Q2n"), ("D_lambda_K", "D_s", "HQNR")
_TITLES = {
    "reduced": "against ground truth (SAM in degrees and ERGAS: lower is better; Q2n: higher)",
    "full": "at full resolution, without truth (HQNR: higher is better)",
}
FILES = ("quality", "quality-measured", "quality-unmoved", "adaptation")
_UNMOVED = f"{KSDIFF} --no-register --contrast deviations"
_ADAPTED = f"{KSDIFF} --adapt"
_HIGHER_IS_BETTER = {"Q2n", "HQNR"}
_DIGITS = {"SAM": 2, "ERGAS": 2}


def quality_text(quality: dict, measured: dict, unmoved: dict, adaptation: dict) -> str:
    """Markdown tables, methods down and scenes across; the best of each index is bold.

    ``measured`` holds the same scenes, the classical methods given what KSDiff measures;
    ``unmoved`` KSDiff's scores when it is given what the classical methods take, ``adaptation``
    those of weights adapted to each scene.
    """
    adapted = [scene for scene in adaptation["bundled"] if "indexes" in scene]
    further = [scene | {"method": _ADAPTED} for scene in adapted]
    further += [row | {"method": _UNMOVED} for row in unmoved["rows"]]
    shown = quality | {"rows": quality["rows"] + further}
    parts = [*_tables(shown), _margins(shown)]
    parts.append(
        "<details><summary>The same with the classical methods given what KSDiff takes for itself: "
        "PAN and bands put in place, and the MTF that the images show (<code>--measured</code>)"
        "</summary>\n"
    )
    parts += [*_tables(measured), "</details>\n"]
    header = quality["header"]
    parts.append(
        f"`ksdiff evaluate`, KSDiff {header['ksdiff']}, PyTorch {header['torch']}, "
        f"{header['date'][:10]}, border {header['border']}, seed {header['seed']}."
        f"{_kept(adapted)}\n"
    )
    return "\n".join(parts)


def _margins(quality: dict) -> str:
    """How far KSDiff's errors lie below the best classical method's, scene by scene."""
    texts = []
    for scene in quality["scenes"]:
        if scene["resolution"] == "reduced":
            rows = [row for row in quality["rows"] if row["scene"] == scene["name"]]
            found = {row["method"]: row["indexes"] for row in rows}
            ways = [
                _margin(found, way) + suffix
                for way, suffix in ((KSDIFF, ""), (_ADAPTED, " adapted"))
                if way in found
            ]
            texts.append(f"{scene['name']} {', '.join(ways)}")
    return f"SAM and ERGAS below the best classical method's: {'; '.join(texts)}.\n"


def _margin(found: dict[str, dict[str, float]], way: str) -> str:
    """Of one scene, whose indexes are given by method."""
    less = []
    for name in ("SAM", "ERGAS"):
        best = min(found[method][name] for method in METHODS if method in found)
        less.append(f"{100 * (1 - found[way][name] / best):.0f} %")
    return " and ".join(less)


def _kept(adapted: list[dict]) -> str:
    """Where adapting has left the weights as they were, because it saw no gain."""
    scenes = [scene["scene"] for scene in adapted if not scene["kept"]]
    return f" `--adapt` kept the weights on {', '.join(scenes)}." if scenes else ""


def _tables(quality: dict) -> list[str]:
    parts = []
    for resolution, names in (("reduced", REDUCED), ("full", FULL)):
        scenes = [scene for scene in quality["scenes"] if scene["resolution"] == resolution]
        if scenes:
            rows = [row for row in quality["rows"] if row["resolution"] == resolution]
            parts.append(
                f"{' / '.join(names)}, {_TITLES[resolution]}:\n\n{_table(scenes, rows, names)}"
            )
    return parts


def _table(scenes: list[dict], rows: list[dict], names: tuple[str, ...]) -> str:
    values = {(row["scene"], row["method"]): row["indexes"] for row in rows}
    best = {
        (scene["name"], name): (max if name in _HIGHER_IS_BETTER else min)(
            _shown(indexes, name) for (at, _), indexes in values.items() if at == scene["name"]
        )
        for scene in scenes
        for name in names
    }

    def cell(scene: str, method: str) -> str:
        indexes = values.get((scene, method))
        if indexes is None:
            return "–"
        return " / ".join(
            f"**{_text(indexes, name)}**"
            if _shown(indexes, name) == best[scene, name]
            else _text(indexes, name)
            for name in names
        )

    methods = dict.fromkeys(row["method"] for row in rows)
    head = ["", *(f"{scene['name']} ({scene['sensor']})" for scene in scenes)]
    return table(
        head, [[method, *(cell(scene["name"], method) for scene in scenes)] for method in methods]
    )


def _shown(indexes: dict[str, float], name: str) -> float:
    return round(indexes[name], _DIGITS.get(name, 3))


def _text(indexes: dict[str, float], name: str) -> str:
    return f"{indexes[name]:.{_DIGITS.get(name, 3)}f}"


def filled(readme: str, *results: dict) -> str:
    """The README's text with the tables of the results of `FILES` between its markers."""
    return put_between(readme, BEGIN, quality_text(*results), END)


def main() -> None:
    path = ROOT / "README.md"
    path.write_text(filled(path.read_text(), *committed()))


def committed() -> list[dict]:
    return [json.loads((ROOT / f"benchmarks/results/{name}.json").read_text()) for name in FILES]


if __name__ == "__main__":
    main()

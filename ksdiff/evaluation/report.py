"""Results of an evaluation as Markdown, CSV, LaTeX rows and JSON."""

from __future__ import annotations

import csv
import io
import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from ksdiff.errors import KSDiffError
from ksdiff.io.outputs import atomic

HIGHER_IS_BETTER = frozenset({"Q2n", "SCC", "PSNR", "SSIM", "HQNR", "QNR"})
RESOLUTIONS = ("reduced", "full")
_MOST_TABLES = 10  # scenes with a table of their own on the screen


@dataclass(frozen=True)
class Row:
    """One method on one scene, or its mean over scenes."""

    scene: str
    method: str
    resolution: str  # "reduced": against ground truth; "full": without
    seconds: float
    indexes: dict[str, float]
    deviations: dict[str, float] | None = None  # of a mean: standard deviations (N - 1)


@dataclass(frozen=True)
class SceneInfo:
    name: str
    sensor: str
    bands: int
    ratio: int
    resolution: str
    height: int  # PAN pixels
    width: int
    data_range: float | None  # DN, of PSNR and SSIM


@dataclass(frozen=True)
class Evaluation:
    header: dict[str, object]
    scenes: list[SceneInfo]
    rows: list[Row]
    notes: list[str]

    def means(self, resolution: str) -> list[Row]:
        """One row per method: mean and standard deviation over its scenes of that resolution."""
        rows = [row for row in self.rows if row.resolution == resolution]
        means = []
        for method in dict.fromkeys(row.method for row in rows):
            own = [row for row in rows if row.method == method]
            values = {name: [row.indexes[name] for row in own] for name in own[0].indexes}
            means.append(
                Row(
                    f"mean of {len(own)}",
                    method,
                    resolution,
                    statistics.fmean(row.seconds for row in own),
                    {name: statistics.fmean(each) for name, each in values.items()},
                    {
                        name: statistics.stdev(each) if len(each) > 1 else 0.0
                        for name, each in values.items()
                    },
                )
            )
        return means

    def markdown(self, every_scene: bool = False) -> str:
        """A table per scene, and one of means per resolution; the best of each index is bold.

        Of more than ten scenes only the means are shown, unless ``every_scene``.
        """
        parts = []
        shown = self.scenes if every_scene or len(self.scenes) <= _MOST_TABLES else []
        for scene in shown:
            title = (
                f"{scene.name}: {scene.sensor}, {scene.bands} bands, ratio {scene.ratio}, "
                f"{scene.height} x {scene.width}, {scene.resolution} resolution"
            )
            parts.append(_markdown(title, [row for row in self.rows if row.scene == scene.name]))
        for resolution in RESOLUTIONS:
            count = self._count(resolution)
            if count > 1:
                title = f"Mean ± standard deviation over {count} scenes, {resolution} resolution"
                parts.append(_markdown(title, self.means(resolution), count))
        parts += [f"Note: {note}" for note in self.notes]
        return "\n\n".join(parts) + "\n"

    def latex(self) -> str:
        """Rows of a tabular per resolution: mean, and ± where there are several scenes."""
        parts = []
        for resolution in RESOLUTIONS:
            means = self.means(resolution)
            if not means:
                continue
            count, names = self._count(resolution), list(means[0].indexes)
            arrows = {True: r"$\uparrow$", False: r"$\downarrow$"}
            heads = [f"{_escaped(name)} {arrows[name in HIGHER_IS_BETTER]}" for name in names]
            scenes = "scene" if count == 1 else "scenes"
            lines = [
                f"% {count} {scenes}, {resolution} resolution",
                " & ".join(["Method", *heads]) + r" \\",
            ]
            best = _best(means, count)
            for row in means:
                cells = [
                    _latex_cell(row, name, count, row.indexes[name] == best.get(name))
                    for name in names
                ]
                lines.append(" & ".join([_escaped(row.method), *cells]) + r" \\")
            parts.append("\n".join(lines))
        return "\n\n".join(parts) + "\n"

    def csv(self) -> str:
        """A line per scene and method, then lines of means and of standard deviations."""
        names = list(dict.fromkeys(name for row in self.rows for name in row.indexes))
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow(("scene", "resolution", "method", "seconds", *names))

        def write(row: Row, scene: str, seconds: object, values: dict[str, float]) -> None:
            cells = [values.get(name, "") for name in names]
            table.writerow((scene, row.resolution, row.method, seconds, *cells))

        for row in self.rows:
            write(row, row.scene, row.seconds, row.indexes)
        for resolution in RESOLUTIONS:
            for row in self.means(resolution):
                write(row, "mean", row.seconds, row.indexes)
                write(row, "standard deviation", "", row.deviations or {})
        return out.getvalue()

    def json(self) -> str:
        content = {
            "header": self.header,
            "scenes": [asdict(scene) for scene in self.scenes],
            "rows": [asdict(row) for row in self.rows],
            "means": [asdict(row) for resolution in RESOLUTIONS for row in self.means(resolution)],
            "notes": self.notes,
        }
        return json.dumps(content, indent=1) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the format that the suffix names: .json, .csv, .tex or .md."""
        kind = output_kind(path)
        text = self.markdown(every_scene=True) if kind == "markdown" else getattr(self, kind)()
        with atomic(path) as temporary:
            temporary.write_text(text)

    def _count(self, resolution: str) -> int:
        return sum(scene.resolution == resolution for scene in self.scenes)


def output_kind(path: str | Path) -> str:
    """The format that `Evaluation.save` writes to a path; KSDiffError for an unknown suffix."""
    kinds = {".json": "json", ".csv": "csv", ".tex": "latex", ".md": "markdown"}
    kind = kinds.get(Path(path).suffix.lower())
    if kind is None:
        raise KSDiffError(f"out {path}: expected a name that ends in {', '.join(kinds)}")
    return kind


def _best(rows: list[Row], count: int | None = None) -> dict[str, float]:
    """Per index, among the methods that were scored on all ``count`` scenes."""
    if count is not None:
        rows = [row for row in rows if row.scene == f"mean of {count}"]
    best = {}
    for name in rows[0].indexes if rows else ():
        choose = max if name in HIGHER_IS_BETTER else min
        best[name] = choose(row.indexes[name] for row in rows)
    return best


def _markdown(title: str, rows: list[Row], count: int | None = None) -> str:
    if not rows:
        return f"{title}\n\n(no rows)"
    names = list(rows[0].indexes)
    best = _best(rows, count)
    cells = [["method", *names, "s"]]
    for row in rows:
        values = []
        for name in names:
            text = f"{row.indexes[name]:.4f}"
            if row.deviations is not None:
                text += f" ± {row.deviations[name]:.4f}"
            values.append(f"**{text}**" if row.indexes[name] == best.get(name) else text)
        part = count is not None and row.scene != f"mean of {count}"
        label = f"{row.method} ({row.scene})" if part else row.method
        cells.append([label, *values, f"{row.seconds:.2f}"])
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([title, "", lines[0], rule, *lines[1:]])


def _latex_cell(row: Row, name: str, count: int, best: bool) -> str:
    value = f"{row.indexes[name]:.3f}"
    if best:
        value = rf"\textbf{{{value}}}"
    if count == 1 or row.deviations is None:
        return value
    return rf"{value} $\pm$ {row.deviations[name]:.3f}"


def _escaped(text: str) -> str:
    return text.replace("_", r"\_").replace("%", r"\%").replace("&", r"\&").replace("#", r"\#")

"""Report on the ablations as JSON, Markdown and a plot."""

import json
import math
from pathlib import Path

import numpy as np

from ksdiff.config import config_to_dict
from ksdiff.evaluation.ablation import Ablation, Table
from ksdiff.io.outputs import atomic
from ksdiff.runtime import machine_header

_LEVEL = 0.05
_INDEXES = ("ergas", "sam")
_MOST_NAMED = 8  # scenes
_HOW = (
    "Mean ± standard deviation over seeds {seeds}, each the mean over {scenes}. "
    "p: two-sided paired t-test of the ERGAS against the reference row's, pairs being equal seeds "
    "(the same samples in the same order); not corrected for the {count} comparisons, of which one "
    "in twenty comes out below 0.05 by chance. Shuffling: what the prior of another scene adds to "
    "ERGAS. Distance: of the sampled prior to the true one, in units of the spread of true priors "
    "over windows (1: no better than one mean prior), after 1, 2, 4, 8 sampling steps."
)


def report(ablation: Ablation) -> dict:
    """All numbers of finished trainings, ready for JSON."""
    tables = [_table(ablation, table) for table in ablation.tables]
    first = ablation.tables[0]
    scenes = ablation.results(first.rows[first.reference])[0]["scenes"]
    return {
        "header": machine_header(),
        "seeds": list(ablation.seeds),
        "scenes": list(scenes),
        "config": config_to_dict(first.rows[first.reference]),
        "tables": tables,
    }


def markdown(values: dict) -> str:
    """The tables of :func:`report`, with what they show and what they do not."""
    parts = []
    for table in values["tables"]:
        reference = table["rows"][table["reference"]]
        lines = [
            f"## {table['title']}",
            "",
            "| | parameters | SAM | ERGAS | ERGAS, change | p | shuffling | distance |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for name, row in table["rows"].items():
            change, p = "–", "–"
            if row is not reference:
                change = f"{100 * (row['ergas']['mean'] / reference['ergas']['mean'] - 1):+.1f} %"
                p = "–" if row["p"] is None else f"{row['p']:.3f}"
            cells = (
                f"{row['parameters']:,}",
                *(_spread(row[index]) for index in ("sam", "ergas")),
                change,
                p,
                *_prior_cells(row["prior"]),
            )
            lines.append(f"| {name} | {' | '.join(cells)} |")
        parts.append("\n".join([*lines, "", _statement(table)]))
    how = _HOW.format(
        seeds=", ".join(map(str, values["seeds"])),
        scenes=_named(values["scenes"]),
        count=sum(len(table["rows"]) - 1 for table in values["tables"]),
    )
    return "\n\n".join([*parts, how]) + "\n"


def _named(scenes: list[str]) -> str:
    count = len(scenes)
    return f"{count} scenes" if count > _MOST_NAMED else f"the scenes {', '.join(scenes)}"


def write(values: dict, folder: Path) -> list[Path]:
    """Write ablation.json, ablation.md and ablation.png into ``folder``; their paths."""
    paths = [folder / f"ablation.{ending}" for ending in ("json", "md", "png")]
    for path, save in zip(
        paths,
        (
            lambda file: file.write_text(json.dumps(values, indent=1) + "\n"),
            lambda file: file.write_text(markdown(values)),
            lambda file: _plot(values, file),
        ),
        strict=True,
    ):
        with atomic(path) as temporary:
            save(temporary)
    return paths


def _table(ablation: Ablation, table: Table) -> dict:
    rows = {name: _row(ablation.results(config)) for name, config in table.rows.items()}
    reference = rows[table.reference]["ergas"]["seeds"]
    for name, row in rows.items():
        p = math.nan if name == table.reference else paired_t_test(row["ergas"]["seeds"], reference)
        row["p"] = None if math.isnan(p) else p
    return {"title": table.title, "reference": table.reference, "rows": rows}


def paired_t_test(a: list[float], b: list[float]) -> float:
    """Two-sided p-value of the hypothesis that the pairs' mean difference is 0.

    ``a`` and ``b`` hold the same runs (seeds) in the same order. NaN with fewer than two pairs.
    """
    from scipy.stats import ttest_rel

    if len(a) < 2:
        return math.nan
    return 1.0 if a == b else float(ttest_rel(a, b).pvalue)


def _row(results: list[dict]) -> dict:
    row: dict = {"parameters": results[0]["parameters"]}
    for index in _INDEXES:
        seeds = [
            float(np.mean([scores[index] for scores in result["scenes"].values()]))
            for result in results
        ]
        row[index] = _summary(seeds)
    row["scenes"] = {
        scene: {
            index: _summary([result["scenes"][scene][index] for result in results])
            for index in _INDEXES
        }
        for scene in results[0]["scenes"]
    }
    priors = [result["prior"] for result in results if result["prior"]]
    row["prior"] = None
    if priors:
        row["prior"] = {
            "shuffling": _summary([prior["shuffling"] for prior in priors]),
            "distance": {
                steps: _summary([prior["distance"][steps] for prior in priors])
                for steps in priors[0]["distance"]
            },
            "ergas": {
                name: _summary([prior["ergas"][name] for prior in priors])
                for name in priors[0]["ergas"]
            },
        }
    row["seconds"] = float(np.mean([result["seconds"] for result in results]))
    return row


def _summary(seeds: list[float]) -> dict:
    std = float(np.std(seeds, ddof=1)) if len(seeds) > 1 else 0.0
    return {"mean": float(np.mean(seeds)), "std": std, "seeds": seeds}


def _spread(summary: dict) -> str:
    return f"{summary['mean']:.3f} ± {summary['std']:.3f}"


def _prior_cells(prior: dict | None) -> tuple[str, str]:
    if prior is None:
        return "–", "–"
    shuffling = prior["shuffling"]
    return (
        f"{100 * shuffling['mean']:+.2f} ± {100 * shuffling['std']:.2f} %",
        ", ".join(f"{value['mean']:.2f}" for value in prior["distance"].values()),
    )


def _statement(table: dict) -> str:
    others = {name: row for name, row in table["rows"].items() if row["p"] is not None}
    reference = table["rows"][table["reference"]]["ergas"]["mean"]
    shown = [
        f"{name} ({'higher' if row['ergas']['mean'] > reference else 'lower'}, p = {row['p']:.3f})"
        for name, row in others.items()
        if row["p"] < _LEVEL
    ]
    open_rows = [name for name, row in others.items() if row["p"] >= _LEVEL]
    sentences = []
    if shown:
        sentences.append(f"ERGAS differs from {table['reference']}'s: {', '.join(shown)}.")
    if open_rows:
        sentences.append(f"Not shown to differ: {', '.join(open_rows)}.")
    return " ".join(sentences) or "One seed: nothing can be said of significance."


def _plot(values: dict, path: Path) -> None:
    from matplotlib.figure import Figure

    tables = values["tables"]
    heights = [len(table["rows"]) + 1 for table in tables]
    figure = Figure(figsize=(7, 0.35 * sum(heights) + 0.6 * len(tables)), layout="constrained")
    axes = figure.subplots(len(tables), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, table in zip(axes, tables, strict=True):
        names = list(table["rows"])
        for place, name in enumerate(names):
            ergas = table["rows"][name]["ergas"]
            colour = "tab:red" if name == table["reference"] else "tab:blue"
            axis.plot(ergas["seeds"], [place] * len(ergas["seeds"]), "o", color=colour, alpha=0.4)
            axis.errorbar(ergas["mean"], place, xerr=ergas["std"], color=colour, marker="|")
        axis.set_yticks(range(len(names)), names)
        axis.invert_yaxis()
        axis.set_title(table["title"], fontsize=10)
        axis.set_xlabel("ERGAS")
    figure.savefig(path, dpi=100, format="png", metadata={"Software": None})

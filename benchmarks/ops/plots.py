"""Three plots of the operators' results: speed-up, share of the floor, time against size."""

import math
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.ops.cases import DIRECTIONS, OURS, short
from benchmarks.ops.tables import Measured, by_operator
from benchmarks.results import Result

# Okabe and Ito's colours, which colour-blind people can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
BLACK = "#000000"
MARKERS = ("o", "s", "^", "D", "v", "P")
_SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "float64": "fp64"}


def save(result: Result, folder: Path, name: str) -> None:
    """Write NAME-speed-up.png, NAME-floor.png and NAME-sizes.png, as far as there is data."""
    found = by_operator(result)
    series = {op: own for op, cases in found.items() if len(own := _series(cases)) > 2}
    figures = (
        ("speed-up", "Speed-up over the best PyTorch form of the same run", _speed_ups, found),
        ("floor", "Share of the floor that memory or arithmetic sets", _floors, found),
        ("sizes", "Time against the image's size", _sizes, series),
    )
    machine = "{gpu}, {threads} threads, PyTorch {torch}".format_map(
        result.header | {"gpu": result.header["gpu"] or result.header["processor"]}
    )
    for kind, caption, draw, cases in figures:
        if cases:
            figure = draw(cases)
            figure.suptitle(f"{caption}\n{machine}", fontsize=11)
            figure.savefig(folder / f"{name}-{kind}.png", dpi=110, metadata={"Software": None})


def _speed_ups(found: dict[str, list[Measured]]) -> Figure:
    label = "time of the best PyTorch form / time of ksdiff_ops (right of the line: ours is faster)"
    figure = _points(found, lambda case: case.speed_up, label)
    for axis in figure.axes[: len(found)]:
        shown = [point[0] for points in axis.collections for point in points.get_offsets()]
        low, high = min([0.8, *shown]) / 1.15, max([4, *shown]) * 1.3
        axis.set_xscale("log", base=2)
        axis.set_xlim(low, high)
        axis.axvline(1, color=BLACK, linewidth=1)
        ticks = [2.0**power for power in range(-6, 12) if low <= 2.0**power <= high]
        axis.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
        axis.minorticks_off()
    return figure


def _floors(found: dict[str, list[Measured]]) -> Figure:
    label = "floor / time of ksdiff_ops, %"
    figure = _points(found, lambda case: 100 * case.floor / case.ours["p50"], label)
    for axis in figure.axes[: len(found)]:
        axis.set_xlim(0, max(105, axis.get_xlim()[1]))
        axis.axvline(100, c=BLACK)
    return figure


def _points(
    found: dict[str, list[Measured]], value: Callable[[Measured], float | None], label: str
) -> Figure:
    """A panel per operator in two columns, cases down."""
    names = {op: list(dict.fromkeys(map(_name, own))) for op, own in found.items()}
    counts = [len(own) + 4 for own in names.values()]
    heights = [max(counts[start : start + 2]) for start in range(0, len(counts), 2)]
    figure = Figure(figsize=(11.6, 1.2 + 0.23 * sum(heights)), layout="constrained")
    grid = figure.subplots(len(heights), 2, squeeze=False, height_ratios=heights)
    for empty in grid.flat[len(found) :]:
        empty.set_axis_off()
    handles = {}
    for axis, op in zip(grid.flat, found, strict=False):
        for direction, colour, marker in zip(DIRECTIONS, COLOURS, MARKERS, strict=False):
            points = [
                (value(case), names[op].index(_name(case)))
                for case in found[op]
                if case.facts["direction"] == direction and value(case) is not None
            ]
            if points:
                style = {"c": colour, "marker": marker, "s": 34, "zorder": 3}
                handles[direction] = axis.scatter(*zip(*points, strict=True), **style)
        axis.set_yticks(range(len(names[op])), names[op], fontsize=8)
        axis.set_ylim(len(names[op]) - 0.4, -0.6)
        axis.grid(color="0.9")
        axis.set_axisbelow(True)
        axis.set_title(op, fontsize=10, loc="left")
        axis.tick_params(axis="x", labelsize=8)
    figure.legend(handles.values(), handles, loc="upper right", fontsize=8, frameon=False)
    figure.supxlabel(label, fontsize=9)
    return figure


def _name(case: Measured) -> str:
    return f"{short(case.facts)}  {_SHORT[case.facts['dtype']]}"


def _sizes(series: dict[str, list[Measured]]) -> Figure:
    """A panel per operator: the time of each form against the side of the image."""
    figure = Figure(figsize=(4.2 * len(series), 4.6), layout="constrained")
    axes = figure.subplots(1, len(series), squeeze=False)[0]
    for axis, (op, own) in zip(axes, series.items(), strict=True):
        sides = [case.facts["shape"][-1] for case in own]
        names = dict.fromkeys(name for case in own for name in case.forms)
        for name, colour, marker in zip(names, COLOURS, MARKERS, strict=False):
            times = [1e3 * case.forms.get(name, {}).get("p50", math.nan) for case in own]
            style = {"color": colour, "marker": marker, "markersize": 5, "label": name}
            axis.plot(sides, times, lw=2.2 if name == OURS else 1.2, **style)
        floors = [case.floor * 1e3 for case in own]
        axis.plot(sides, floors, color=BLACK, linestyle="--", linewidth=1, label="floor")
        axis.set_xscale("log", base=2)
        axis.set(yscale="log", xlabel="pixels")
        axis.set_xticks(sides, [f"{side}²" for side in sides])
        facts = own[0].facts
        detail = f"{facts['shape'][1]} channels, k = {facts['kernel']}, float32, forward"
        axis.set_title(f"{op}\n{detail}", fontsize=9)
        axis.grid(color="0.9")
        axis.legend(fontsize=7.5)
    figure.axes[0].set_ylabel("milliseconds")
    return figure


def _series(own: list[Measured]) -> list[Measured]:
    """The longest series of cases that differ only in the image's size; float32, forward."""
    kinds: dict[tuple, list[Measured]] = {}
    for case in own:
        facts = case.facts
        plain = (facts["direction"], facts["dtype"]) == ("forward", "float32")
        if plain and "shape" in facts and facts["shape"][2] == facts["shape"][3]:
            kind = (*facts["shape"][:2], *(facts.get(key) for key in ("out", "kernel", "groups")))
            kinds.setdefault(kind, []).append(case)
    return max(kinds.values(), key=len, default=[])

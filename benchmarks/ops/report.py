"""The operators' part of docs/benchmarks.md: tables, and three pictures."""

import math
from collections.abc import Iterable
from pathlib import Path

from benchmarks.ops.cases import OURS, text
from benchmarks.ops.tables import KEYS, Row, megabytes, row
from benchmarks.text import duration, table

OPERATORS = (
    *("dynamic_conv", "lowrank_dynamic_conv", "tucker_kernel"),
    *("batched_conv2d", "adaptive_conv2d"),
)
HEADS = {"kernel": "k", "groups": "G", "batch": "B", "out": "C_out"}
# Okabe and Ito's colours, which colour-blind people can tell apart.
BLUE, ORANGE, GREEN, PINK, BLACK = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#000000"
COLOURS = (BLUE, ORANGE, GREEN, PINK, "#56B4E9", "#D55E00")
MARKERS = ("o", "s", "^", "D", "v", "P")


def rows(result: dict, op: str) -> list[Row]:
    """The measured cases of an operator, in the order in which they are shown."""
    found = [
        row(entry["extra_info"])
        for entry in result["benchmarks"]
        if entry["extra_info"].get("op") == op and "forms" in entry["extra_info"]
    ]
    return sorted(found, key=lambda one: _order(one.facts))


def _order(facts: dict) -> tuple:
    groups = facts.get("groups", 0)
    return (
        facts["dtype"] != "float32",
        math.prod(facts.get("shape", [])),
        *(facts.get("layer", []), facts.get("batch", 0), facts.get("kernel", 0)),
        math.inf if groups == "C" else int(groups),
        facts["direction"],
    )


def section(result: dict) -> str:
    parts = [_section(result, op) for op in OPERATORS if rows(result, op)]
    return "\n".join(parts)


def _section(result: dict, op: str) -> str:
    found = rows(result, op)
    machine = result["machine_info"]
    keys = [key for key in KEYS if any(key in one.facts for one in found)]
    names = list(dict.fromkeys(name for one in found for name in one.facts["forms"]))
    others = [name for name in names if name != OURS]
    head = [HEADS.get(key, key) for key in keys]
    lead = [[text(one.facts.get(key, "")) for key in keys] for one in found]
    against = [
        [*case, *_ours(one, machine), *_best(one, machine)]
        for case, one in zip(lead, found, strict=True)
    ]
    measured = [
        [*case, *(_form(one.facts["forms"].get(name)) for name in (OURS, *others))]
        for case, one in zip(lead, found, strict=True)
    ]
    columns = (
        *(OURS, "20–80 %", "GB/s", "GFLOP/s", "of the floor", "MB"),
        *("best PyTorch form", "its time", "its MB", "speed-up", "at most"),
    )
    same = ", ".join(
        f"{name} {text(found[0].facts[name])}"
        for name in ("rank", "ranks")
        if name in found[0].facts
    )
    title = f"### `{op}`{f', {same}' if same else ''}\n"
    reasons = sorted(_reasons(found))
    notes = "".join(f"- {reason}\n" for reason in reasons)
    return "\n".join(
        [
            title,
            table([*head, *columns], against),
            f"<details><summary>Every form of <code>{op}</code>: time, peak memory</summary>\n",
            table([*head, OURS, *others], measured),
            "</details>\n",
            *([f"Left out:\n\n{notes}"] if notes else []),
        ]
    )


def _ours(one: Row, machine: dict) -> list[str]:
    ours = one.ours
    return [
        duration(ours["p50"]),
        f"{duration(ours['p20'])} – {duration(ours['p80'])}",
        f"{one.bandwidth:.1f}",
        f"{one.rate:.1f}",
        f"{one.floor(machine) / ours['p50']:.0%}",
        megabytes(ours.get("peak_bytes")),
    ]


def _best(one: Row, machine: dict) -> list[str]:
    if one.best is None:
        return ["", "", "", "", ""]
    best = one.facts["forms"][one.best]
    memory = megabytes(best.get("peak_bytes"))
    most = best["p50"] / one.floor(machine)
    return [one.best, duration(best["p50"]), memory, f"**{one.speed_up:.2f}×**", f"{most:.2f}×"]


def _form(form: dict | None) -> str:
    if form is None:
        return ""
    if "left_out" in form:
        return "left out"
    memory = megabytes(form.get("peak_bytes"))
    return f"{duration(form['p50'])}{f', {memory} MB' if memory else ''}"


def _reasons(found: Iterable[Row]) -> set[str]:
    return {
        f"{name}, {one.label()} {one.facts['dtype']} {one.facts['direction']}: {form['left_out']}"
        for one in found
        for name, form in one.facts["forms"].items()
        if "left_out" in form
    }


def save_pictures(result: dict, folder: Path, name: str) -> list[tuple[str, str]]:
    """Writes the pictures that the result has data for: (file name, what it shows)."""
    machine = result["machine_info"]
    where = f"{machine.get('gpu') or machine['cpu']}, {machine['threads']} threads, " + (
        f"PyTorch {machine['torch']}"
    )
    saved = []
    for kind, draw, caption in (
        ("speed-up", _draw_speed_up, "Speed-up over the best PyTorch form of the same run"),
        ("floor", _draw_floor, "Share of the floor that memory or arithmetic sets"),
        ("sizes", _draw_sizes, "Time against the image's size"),
    ):
        figure = draw(result)
        if figure is not None:
            figure.suptitle(f"{caption}\n{where}", fontsize=11)
            file = f"benchmarks-{name}-{kind}.png"
            figure.savefig(folder / file, dpi=110, metadata={"Software": None})
            saved.append((file, caption))
    return saved


def _panels(result: dict) -> list[tuple[str, list[Row]]]:
    """Operators with what their panel shows: of the per-pixel ones only the usual size."""
    found = []
    for op in OPERATORS:
        main = _main_shape(result, op)
        shown = [one for one in rows(result, op) if main is None or one.facts["shape"] == main]
        if shown:
            found.append((op, shown))
    return found


def _main_shape(result: dict, op: str) -> list[int] | None:
    """The shape that most cases of a per-pixel operator have."""
    if op not in ("dynamic_conv", "lowrank_dynamic_conv"):
        return None
    shapes = [tuple(one.facts["shape"]) for one in rows(result, op)]
    return list(max(set(shapes), key=shapes.count)) if shapes else None


def _series(result: dict, op: str) -> list[Row]:
    """The cases that differ in nothing but the image's size, batch 1, float32, forward."""
    found: dict[str, list[Row]] = {}
    for one in rows(result, op):
        facts = one.facts
        if facts["direction"] == "forward" and facts["dtype"] == "float32" and "shape" in facts:
            b, c, h, w = facts["shape"]
            kind = text([b, c, *(facts.get(key, "") for key in ("out", "kernel", "groups"))])
            if h == w:
                found.setdefault(kind, []).append(one)
    longest = max(found.values(), key=len, default=[])
    return longest if len(longest) > 2 else []


def _figure(panels: list[tuple[str, list[Row]]]):
    """A column of panels for each operator, their heights after the number of their cases."""
    from matplotlib.figure import Figure

    cases = [list(dict.fromkeys(_case(one) for one in found)) for _, found in panels]
    columns = [[], []]
    for number in sorted(range(len(panels)), key=lambda n: -len(cases[n])):
        min(columns, key=lambda column: sum(len(cases[n]) + 4 for n in column)).append(number)
    columns = [sorted(column) for column in columns if column]
    height = max(sum(len(cases[n]) + 4 for n in column) for column in columns)
    figure = Figure(figsize=(5.8 * len(columns), 1.2 + 0.23 * height), layout="constrained")
    axes = {}
    for side, column in zip(
        figure.subfigures(1, len(columns), squeeze=False)[0], columns, strict=True
    ):
        ratios = [len(cases[n]) + 4 for n in column]
        drawn = side.subplots(len(column), 1, squeeze=False, height_ratios=ratios)[:, 0]
        axes |= dict(zip(column, drawn, strict=True))
    return figure, [(axes[n], cases[n]) for n in range(len(panels))]


def _case(one: Row) -> str:
    dtype = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "float64": "fp64"}
    facts = one.facts
    if facts["op"] in ("dynamic_conv", "lowrank_dynamic_conv"):
        words = f"k{facts['kernel']} G{facts['groups']}"
    else:
        words = one.label()
    return f"{words}  {dtype[facts['dtype']]}"


def _draw_points(result: dict, value, label: str, decorate):
    panels = _panels(result)
    if not panels:
        return None
    figure, axes = _figure(panels)
    for (axis, cases), (op, found) in zip(axes, panels, strict=True):
        for direction, colour, marker in (
            ("forward", BLUE, "o"),
            ("forward+backward", ORANGE, "s"),
        ):
            points = [
                (value(one), cases.index(_case(one)))
                for one in found
                if one.facts["direction"] == direction and value(one) is not None
            ]
            if points:
                x, y = zip(*points, strict=True)
                axis.scatter(x, y, c=colour, marker=marker, s=34, label=direction, zorder=3)
        axis.set_yticks(range(len(cases)), cases, fontsize=8)
        axis.set_ylim(len(cases) - 0.4, -0.6)
        axis.grid(axis="x", color="0.88")
        axis.grid(axis="y", color="0.94")
        axis.set_axisbelow(True)
        axis.set_title(op, fontsize=10, loc="left")
        axis.tick_params(axis="x", labelsize=8)
        decorate(axis)
    handles = {
        name: handle
        for axis, _ in axes
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="upper right", fontsize=8, frameon=False)
    figure.supxlabel(label, fontsize=9)
    return figure


def _draw_speed_up(result: dict):
    def decorate(axis) -> None:
        shown = [point[0] for points in axis.collections for point in points.get_offsets()]
        low, high = min([0.8, *shown]) / 1.15, max([4, *shown]) * 1.3
        axis.set_xscale("log", base=2)
        axis.set_xlim(low, high)
        axis.axvline(1, color=BLACK, linewidth=1)
        ticks = [2.0**power for power in range(-6, 12) if low <= 2.0**power <= high]
        axis.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
        axis.minorticks_off()

    label = "time of the best PyTorch form / time of ksdiff_ops (right of the line: ours is faster)"
    return _draw_points(result, lambda one: one.speed_up, label, decorate)


def _draw_floor(result: dict):
    machine = result["machine_info"]

    def decorate(axis) -> None:
        axis.axvline(100, color=BLACK, linewidth=1)
        axis.set_xlim(0, max(105, axis.get_xlim()[1]))

    return _draw_points(
        result,
        lambda one: 100 * one.floor(machine) / one.ours["p50"],
        "floor / time of ksdiff_ops, %",
        decorate,
    )


def _draw_sizes(result: dict):
    from matplotlib.figure import Figure

    series = {op: _series(result, op) for op in OPERATORS}
    series = {op: found for op, found in series.items() if found}
    if not series:
        return None
    figure = Figure(figsize=(4.2 * len(series), 4.6), layout="constrained")
    for axis, (op, found) in zip(
        figure.subplots(1, len(series), squeeze=False)[0], series.items(), strict=True
    ):
        sides = [one.facts["shape"][-1] for one in found]
        names = list(dict.fromkeys(name for one in found for name in one.facts["forms"]))
        for name, colour, marker in zip(names, COLOURS, MARKERS, strict=False):
            points = [
                (side, one.facts["forms"][name]["p50"] * 1e3)
                for side, one in zip(sides, found, strict=True)
                if "p50" in one.facts["forms"].get(name, {})
            ]
            if points:
                width = 2.2 if name == OURS else 1.2
                x, y = zip(*points, strict=True)
                axis.plot(x, y, color=colour, marker=marker, markersize=5, lw=width, label=name)
        floors = [one.floor(result["machine_info"]) * 1e3 for one in found]
        axis.plot(sides, floors, color=BLACK, linestyle="--", linewidth=1, label="floor")
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xticks(sides, [f"{side}²" for side in sides])
        axis.set_xlabel("pixels")
        facts = found[0].facts
        detail = f"{facts['shape'][1]} channels, k = {facts['kernel']}, float32, forward"
        axis.set_title(f"{op}\n{detail}", fontsize=9)
        axis.grid(color="0.9")
        axis.legend(fontsize=7.5)
    figure.axes[0].set_ylabel("milliseconds")
    return figure

"""Turns results into docs/benchmarks.md and plots: `python -m benchmarks.report RESULT.json...`"""

import argparse
import json
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_OURS = "ksdiff_ops"
_OPERATORS = ("dynamic_conv", "lowrank_dynamic_conv", "tucker_kernel")
_INTRODUCTION = """# Benchmarks

Written by `python -m benchmarks.report benchmarks/results/*.json`; `make bench` measures again
(`make bench DEVICE=cuda` or `bash benchmarks/gpu.sh` on a CUDA machine). Times are medians over
the rounds of one run, in which all methods of a row met the same tensors. In brackets is how many
times the first column's time that is: above 1, ours is faster. *Floor* is our time over the time
that a plain copy needs for the bytes that must at least move; on a CPU, tensors that fit a cache
may beat it. A gap is what a run that was cut short did not measure.
"""


def load(paths: list[Path]) -> dict[str, dict]:
    """The results of `pytest benchmarks --benchmark-json` by file stem; other JSON is left out."""
    results = {path.stem: json.loads(path.read_text()) for path in paths}
    return {name: result for name, result in results.items() if result.get("benchmarks")}


def markdown(results: list[dict]) -> str:
    parts = [_INTRODUCTION] if results else [_INTRODUCTION, "No results are committed yet.\n"]
    for result in results:
        machine = result["machine_info"]
        parts.append(f"## {machine.get('gpu') or machine['cpu']}\n")
        parts.append(_machine(machine))
        parts += [_operator_section(result, name) for name in _OPERATORS if _entries(result, name)]
        if _entries(result, "tile"):
            parts.append(_tile_section(result))
    return "\n".join(parts)


def _machine(machine: dict) -> str:
    words = {name: name.replace("_", " ") for name in machine}
    words |= {"copy_gb_per_s": "copy GB/s", "omp_wait_policy": "OMP_WAIT_POLICY"}
    facts = (
        f"{words.get(name, name.replace('_', ' '))}: {value}" for name, value in machine.items()
    )
    return "; ".join(facts) + ".\n"


def _entries(result: dict, op: str) -> list[dict]:
    return [
        entry["extra_info"] | {"seconds": entry["stats"]["median"]}
        for entry in result["benchmarks"]
        if entry["extra_info"]["op"] == op
    ]


def _operator_section(result: dict, op: str) -> str:
    entries = _entries(result, op)
    methods = list(dict.fromkeys(entry["method"] for entry in entries))
    keys = [key for key in ("shape", "dtype", "k", "groups", "direction") if key in entries[0]]
    cases: dict[tuple, dict[str, dict]] = {}
    for entry in entries:
        case = tuple(_cell(entry[key]) for key in keys)
        cases.setdefault(case, {})[entry["method"]] = entry
    bandwidth = result["machine_info"]["copy_gb_per_s"] * 1e9
    rows = []
    for case, timed in cases.items():
        if _OURS not in timed:
            continue
        ours = timed[_OURS]
        floor = ours["seconds"] / (ours["least_bytes"] / bandwidth)
        others = (_against(timed.get(name), ours) for name in methods if name != _OURS)
        rows.append([*case, duration(ours["seconds"]), f"{floor:.1f}", *others])
    head = [*keys, _OURS, "floor", *(name for name in methods if name != _OURS)]
    rank = f", rank {entries[0]['rank']}" if "rank" in entries[0] else ""
    return f"### `{op}`{rank}\n\n{table(head, rows)}"


def _tile_section(result: dict) -> str:
    entries = _entries(result, "tile")
    seconds = {(entry["name"], entry["mode"]): entry["seconds"] for entry in entries}
    modes = list(dict.fromkeys(entry["mode"] for entry in entries))
    rows = [
        [
            name,
            *(duration(seconds[name, mode]) if (name, mode) in seconds else "" for mode in modes),
        ]
        for name in dict.fromkeys(entry["name"] for entry in entries)
    ]
    first = entries[0]
    lines = [
        f"### One tile {_cell(first['shape'])}, {first['parameters']:,} parameters\n",
        table(["part", *modes], rows),
    ]
    for mode in modes:
        both, base = (seconds.get((name, mode)) for name in ("prior + fusion", "base network"))
        if both is None or base is None:
            continue
        factor = both / base
        lines.append(
            f"{mode.capitalize()}: with its prior the network takes {factor:.2f} times as long as "
            "its base network without (the paper: 0.077 s against 0.035 s, 2.2 times).\n"
        )
    return "\n".join(lines)


def _against(entry: dict | None, ours: dict) -> str:
    if entry is None:
        return ""
    return f"{duration(entry['seconds'])} ({entry['seconds'] / ours['seconds']:.2f}×)"


def _cell(value: object) -> str:
    return "×".join(map(str, value)) if isinstance(value, list) else str(value)


def duration(seconds: float) -> str:
    """Three significant digits in the unit that suits: 1.23 s, 45.6 ms, 789 µs."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def save_plot(path: Path, result: dict) -> None:
    """How many times slower the other ways are, per kernel size; and where a tile's time goes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _plot_operators(left, _entries(result, "dynamic_conv"))
    _plot_tile(right, _entries(result, "tile"))
    machine = result["machine_info"]
    figure.suptitle(f"{machine.get('gpu') or machine['cpu']}, {machine['threads']} threads")
    figure.savefig(path, dpi=90, metadata={"Software": None})


def _plot_operators(axis, entries: list[dict]) -> None:
    shown = [e for e in entries if e["dtype"] == "float32" and e["groups"] == "1"]
    cases = list(dict.fromkeys((entry["k"], entry["direction"]) for entry in shown))
    ours = {(e["k"], e["direction"]): e["seconds"] for e in shown if e["method"] == _OURS}
    others = [name for name in dict.fromkeys(e["method"] for e in shown) if name != _OURS]
    width = 0.8 / len(others)
    for number, name in enumerate(others):
        own = {(e["k"], e["direction"]): e["seconds"] for e in shown if e["method"] == name}
        both = [index for index, case in enumerate(cases) if case in own and case in ours]
        heights = [own[cases[index]] / ours[cases[index]] for index in both]
        axis.bar([index + number * width for index in both], heights, width, label=name)
    axis.set_yscale("log")
    axis.axhline(1, color="black", linewidth=1, label=_OURS)
    labels = [f"k={k}\n{direction.replace('forward+', 'fwd+')}" for k, direction in cases]
    axis.set_xticks([index + 0.4 - width / 2 for index in range(len(cases))], labels, fontsize=8)
    axis.set_ylabel("time / time of ksdiff_ops")
    axis.set_title("dynamic_conv, one group, float32")
    axis.legend(fontsize=8)


def _plot_tile(axis, entries: list[dict]) -> None:
    names = list(dict.fromkeys(entry["name"] for entry in entries))
    modes = list(dict.fromkeys(entry["mode"] for entry in entries))
    height = 0.8 / len(modes)
    for number, mode in enumerate(modes):
        own = {e["name"]: e["seconds"] * 1e3 for e in entries if e["mode"] == mode}
        places = [names.index(name) + number * height for name in own]
        axis.barh(places, list(own.values()), height, label=mode)
    axis.set_yticks([index + 0.4 - height / 2 for index in range(len(names))], names)
    axis.invert_yaxis()
    axis.set_xlabel("milliseconds")
    axis.set_title("one 256 × 256 tile, 8 bands")
    axis.legend(fontsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="*", type=Path, help="JSON files of `make bench`")
    parser.add_argument("--docs", type=Path, default=_ROOT / "docs", help="folder to write to")
    arguments = parser.parse_args()
    results = load(sorted(arguments.results))
    pictures = ""
    for name, result in results.items():
        if _entries(result, "dynamic_conv") and _entries(result, "tile"):
            save_plot(arguments.docs / f"benchmarks-{name}.png", result)
            pictures += f"\n![Timings on {name}](benchmarks-{name}.png)\n"
    (arguments.docs / "benchmarks.md").write_text(markdown(list(results.values())) + pictures)


if __name__ == "__main__":
    main()

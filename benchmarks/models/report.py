"""Tables and plots of speed and quality: `python -m benchmarks.models.report [RESULT.json]`

Writes docs/speed.md, docs/speed.png and the part of README.md between its speed markers.
"""

import argparse
import math
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from benchmarks.models import results
from benchmarks.models.names import KSDIFF, SMALL
from benchmarks.report import duration, table

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
INDEXES = ("SAM", "ERGAS", "Q2n")
_SIZE = 256  # PAN pixels a side
_TOLERANCE = 0.02  # of a model's best score: what counts as reached
# GFLOP of one evaluation at 256 x 256 x 8 and the published number of evaluations; rebuilt by
# nobody here: counted from the papers' architectures.
PUBLISHED = {"DDIF": (138, 25), "SSDiff": (104, 10), "PLRDiff": (1434, 500), "TMDiff": (2800, 1000)}


def scores(rows: Iterable[dict]) -> dict[str, dict[str, float]]:
    """Each method's indexes: the mean over scenes of the mean over seeds."""
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        scenes = values.setdefault(row["name"], {})
        for index in INDEXES:
            scenes.setdefault(row["scene"], {}).setdefault(index, []).append(row[index])
    return {
        name: {index: fmean(fmean(scene[index]) for scene in scenes.values()) for index in INDEXES}
        for name, scenes in values.items()
    }


def headline(found: dict[str, dict[str, float]], evaluations: dict[str, int]) -> str:
    """The sampler with the fewest evaluations whose indexes are all within 2 % of the best.

    ``found``: indexes by sampler, of one model. The best is taken index by index.
    """
    best = {
        index: (max if index == "Q2n" else min)(entry[index] for entry in found.values())
        for index in INDEXES
    }

    def reached(entry: dict[str, float]) -> bool:
        return all(
            entry[index] >= best[index] * (1 - _TOLERANCE)
            if index == "Q2n"
            else entry[index] <= best[index] * (1 + _TOLERANCE)
            for index in INDEXES
        )

    enough = [name for name, entry in found.items() if reached(entry)]
    if not enough:  # each index has its best elsewhere
        return min(found, key=lambda name: found[name]["ERGAS"])
    return min(enough, key=lambda name: (evaluations[name], found[name]["ERGAS"]))


def pareto(points: dict[str, tuple[float, float]]) -> list[str]:
    """The names of those that no other beats in both coordinates, from left to right."""
    front, least = [], math.inf
    for name, (_, value) in sorted(points.items(), key=lambda item: item[1]):
        if value < least:
            front.append(name)
            least = value
    return front


def slope(sizes: list[float], seconds: list[float]) -> float:
    """Of the least-squares line through log(seconds) over log(sizes)."""
    x, y = ([math.log(value) for value in values] for values in (sizes, seconds))
    mx, my = fmean(x), fmean(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum(
        (a - mx) ** 2 for a in x
    )


class Results:
    """The sections of a result file, by what a table asks for."""

    def __init__(self, sections: dict[str, dict]) -> None:
        self.sections = sections
        timed = sections.get("latency") or next(iter(sections.values()))
        self.machine = timed["machine"]
        self.cost = {row["name"]: row for row in self.rows("cost")}
        self.evaluations = {name: row["evaluations"] for name, row in self.cost.items()}
        self.scores = scores(self.rows("quality"))

    def rows(self, section: str) -> list[dict]:
        return self.sections.get(section, {"rows": []})["rows"]

    def fastest(self, name: str) -> dict | None:
        """The quickest of the ways in float32, one image of 256 x 256."""
        sections = ("latency", "compiled", "large", "long")
        rows = (row for section in sections for row in self.rows(section))
        found = [row for row in rows if row["name"] == name and row["size"] == _SIZE]
        return min(found, key=lambda row: row["median"], default=None)

    def headline(self) -> str | None:
        samplers = {n: s for n, s in self.scores.items() if n.startswith(f"{SMALL}, ")}
        return headline(samplers, self.evaluations) if samplers else None

    def points(self) -> dict[str, tuple[float, float]]:
        """(seconds per megapixel, ERGAS) of all that has been timed and scored."""
        return {
            name: (row["median"] / (row["size"] ** 2 * 1e-6), self.scores[name]["ERGAS"])
            for name in self.cost
            if name in self.scores and (row := self.fastest(name))
        }


def main_table(found: Results) -> str:
    """Who takes how long for one image, against ksdiff-s at the same size, and how good it is."""
    ours, chosen, rows = found.fastest(KSDIFF), found.headline(), []
    for name, cost in found.cost.items():
        timed = found.fastest(name)
        if timed is None:
            continue
        scored = found.scores.get(name)
        shown = f"**{name}** (headline)" if name == chosen else name
        rows.append(
            [
                f"**{name}**" if name == KSDIFF else shown,
                str(cost["evaluations"]),
                f"{cost['parameters'] / 1e6:.2f} M",
                f"{cost['flops'] / 1e9:,.1f}",
                duration(timed["median"]),
                f"{timed['median'] / ours['median']:.2f}×" if ours else "",
                timed["mode"],
                " / ".join(f"{scored[i]:.{3 if i == 'Q2n' else 2}f}" for i in INDEXES)
                if scored
                else "not trained",
            ]
        )
    head = ["", "evaluations", "parameters", "GFLOP", "time", "/ ksdiff-s", "", "SAM / ERGAS / Q2n"]
    return table(head, rows)


def split_table(found: Results) -> str:
    rows = [row for row in found.rows("latency") if row["name"].startswith(f"{KSDIFF}: ")]
    total = sum(row["median"] for row in rows)
    return table(
        ["part of ksdiff-s", "time", "share"],
        [
            [r["name"].split(": ")[1], duration(r["median"]), f"{100 * r['median'] / total:.0f} %"]
            for r in rows
        ],
    )


def long_table(found: Results) -> str:
    """The longest samplers beside ksdiff-s at the size at which they ran."""
    rows = found.rows("long")
    ours = next(row["median"] for row in rows if row["name"] == KSDIFF)
    size = rows[0]["size"]
    return table(
        [f"one image of {size} × {size}, eager", "time", "/ ksdiff-s"],
        [[r["name"], duration(r["median"]), f"{r['median'] / ours:.1f}×"] for r in rows],
    )


def growth_table(found: Results, section: str, key: str) -> str:
    rows = found.rows(section)
    values = sorted({row[key] for row in rows})
    lines = []
    for name in dict.fromkeys(row["name"] for row in rows):
        own = {row[key]: row["median"] for row in rows if row["name"] == name}
        pixels = {v: (v**2 if key == "size" else v * rows[0]["size"] ** 2) * 1e-6 for v in own}
        lines.append(
            [
                name,
                *(f"{own[v] / pixels[v]:.2f}" if v in own else "" for v in values),
                f"{slope([pixels[v] for v in own], list(own.values())):.2f}",
            ]
        )
    return table([f"seconds per megapixel, {key}", *map(str, values), "log-log slope"], lines)


def steps_table(found: Results) -> str:
    names = [n for n in found.scores if n.startswith(f"{KSDIFF}, ")]
    return table(
        ["ksdiff-s with", *INDEXES],
        [[n.split(", ")[1], *(f"{found.scores[n][i]:.4f}" for i in INDEXES)] for n in names],
    )


def published_table(found: Results) -> str:
    own = found.cost[KSDIFF]["flops"] / 1e9
    return table(
        ["published", "GFLOP an evaluation", "evaluations", "FLOP / ksdiff-s"],
        [
            [name, str(cost), str(steps), f"{cost * steps / own:,.0f}×"]
            for name, (cost, steps) in PUBLISHED.items()
        ],
    )


def machine_text(found: Results) -> str:
    machine = found.machine
    where = machine.get("gpu") or f"{machine['cpu']}, {machine['threads']} threads"
    return (
        f"{where}; PyTorch {machine['torch']}, KSDiff {machine['ksdiff']}, {machine['date'][:10]}"
    )


def quality_text(found: Results) -> str:
    """What the scores rest on: scenes, seeds and training."""
    rows = found.rows("quality")
    if not rows:
        return "Nothing has been scored yet.\n"
    scenes = {row["scene"]: "×".join(map(str, row["size"])) for row in rows}
    steps = {row["name"].split(", DD")[0]: row.get("trained_steps") for row in rows}
    trained = [f"{name} {steps[name]}" for name in (KSDIFF, SMALL, "fusionnet") if steps.get(name)]
    return (
        f"Scores are the mean over {', '.join(f'{n} ({s})' for n, s in scenes.items())} and three "
        "seeds (one for 1000 evaluations), border 21, the same inputs for all, PAN as it lies. One "
        f"small scene decides little. Training steps of 8 crops: {', '.join(trained)}.\n"
    )


def _modes(found: Results) -> str:
    if found.rows("compiled"):
        return "Each row is the faster of eager and compiled"
    return "Eager (torch.compile is not measured yet)"


def readme_text(found: Results) -> str:
    parts = [
        f"One image of 256 × 256 pixels and 8 bands, float32, batch 1, on {machine_text(found)}. "
        f"{_modes(found)}, measured in turn. The pixel U-Nets are "
        "ours: diffusion in pixel space on `diffusers`, on the data and with the loss of ksdiff-s. "
        f"{quality_text(found)}",
        main_table(found),
        verdict(found),
        "![ERGAS over seconds per megapixel](docs/speed.png)\n",
        "[docs/speed.md](docs/speed.md) has the rest and says how to measure it again.\n",
    ]
    return "\n".join(parts)


def verdict(found: Results) -> str:
    """What the numbers say, whichever way they fall."""
    lines = []
    chosen, own = found.headline(), found.fastest(KSDIFF)
    if chosen and own:
        timed = found.fastest(chosen)
        lines.append(
            f"The pixel-space model is within 2 % of its best scores from "
            f"{found.evaluations[chosen]} evaluation(s) on ({chosen.split(', ')[-1]}), which take "
            f"{timed['median'] / own['median']:.1f} times as long as ksdiff-s."
        )
    for row in found.rows("long"):
        if row["name"] == f"{SMALL}, DDPM-1000":
            ours = next(r["median"] for r in found.rows("long") if r["name"] == KSDIFF)
            lines.append(
                f"A thousand DDPM steps take {row['median'] / ours:,.0f} times as long "
                f"({row['size']} × {row['size']} pixels): an upper bound, not the claim."
            )
    points = found.points()
    if KSDIFF in points:
        front = pareto(points)
        pixel = [name for name in front if name.startswith(SMALL)]
        lines.append(f"On the Pareto front of ERGAS and time: {', '.join(front)}.")
        if pixel:
            lines.append(
                "Where a pixel-space sampler is on it, it is by time, not by quality: one "
                "evaluation of a small network that predicts the clean image is a plain regression."
                if all(points[name][1] > points[KSDIFF][1] for name in pixel)
                else "A pixel-space sampler on it has the lower ERGAS: there quality is bought."
            )
    return " ".join(lines) + "\n"


def page(found: Results) -> str:
    sections = [
        "# Speed and quality against pixel-space diffusion\n",
        "Written by `python -m benchmarks.models.report` from the results of\n",
        "    python -m benchmarks.models.train benchmarks/models/configs/pixel-s-8band.yaml\n"
        "    python -m benchmarks.models.train benchmarks/models/configs/fusionnet-8band.yaml\n"
        "    python -m benchmarks.models            # every section; --device cuda on a GPU\n",
        f"On {machine_text(found)}. A multiply-add counts as two operations. Nothing is "
        "extrapolated. The 15.5 M U-Net was timed only: its weights are random.\n",
        quality_text(found),
        main_table(found),
        verdict(found),
        "![ERGAS over seconds per megapixel; growth with size](speed.png)\n",
    ]
    if found.rows("latency"):
        sections += ["## Where ksdiff-s's time goes\n", split_table(found)]
    if found.rows("long"):
        sections += ["## A thousand evaluations\n", long_table(found)]
    if found.rows("growth"):
        sections += ["## Growth with the image\n", growth_table(found, "growth", "size")]
    if found.rows("scene"):
        sections += [
            "Whole scenes through `ksdiff.Sharpener`, from arrays to arrays: statistics, "
            "registration, prior, and windows of 512 pixels that overlap.\n",
            growth_table(found, "scene", "size"),
        ]
    if found.rows("batch"):
        sections += [
            "## Growth with the batch\n",
            "Images of 64 × 64, each with a prior of its own.\n",
            growth_table(found, "batch", "batch"),
        ]
    if found.rows("bf16"):
        times = {row["name"]: row["median"] for row in found.rows("latency")}
        sections += [
            "## bfloat16 (autocast)\n",
            table(
                ["", "time", "/ float32, eager"],
                [
                    [r["name"], duration(r["median"]), f"{r['median'] / times[r['name']]:.2f}×"]
                    for r in found.rows("bf16")
                    if r["name"] in times
                ],
            ),
        ]
    if found.rows("memory"):
        sections += [
            "## Peak memory beyond network and inputs\n",
            table(
                ["", "size", "MiB"],
                [
                    [r["name"], str(r["size"]), f"{r['peak_bytes'] / 2**20:.0f}"]
                    for r in found.rows("memory")
                ],
            ),
        ]
    if found.scores:
        sections += ["## Latent steps\n", steps_table(found)]
    sections += [
        "## As published\n",
        "Operations only, counted from the published architectures for one 256 × 256 × 8 image; "
        "none of these was run.\n",
        published_table(found),
    ]
    return "\n".join(sections)


def save_plot(path: Path, found: Results) -> None:
    """Quality against time with the Pareto front; time over size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    points = found.points()
    for name, (seconds, value) in points.items():
        ours, pixel = name.startswith(KSDIFF), name.startswith(SMALL)
        colour = "tab:red" if ours else "tab:blue" if pixel else "tab:grey"
        left.plot(seconds, value, "o", color=colour)
        left.annotate(name.removeprefix(f"{SMALL}, "), (seconds, value), fontsize=7, rotation=20)
    front = pareto(points)
    left.plot(*zip(*(points[name] for name in front), strict=True), "k--", linewidth=1)
    left.set_xscale("log")
    left.set_xlabel("seconds per megapixel")
    left.set_ylabel("ERGAS (lower is better)")
    left.set_title("quality against time; blue: pixel-space samplers; dashed: Pareto front")
    rows = found.rows("growth")
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [(row["size"], row["median"]) for row in rows if row["name"] == name]
        exponent = slope([size**2 for size, _ in own], [seconds for _, seconds in own])
        right.loglog(*zip(*own, strict=True), "o-", label=f"{name} (pixels^{exponent:.2f})")
    right.set_xlabel("PAN pixels a side")
    right.set_ylabel("seconds")
    right.set_title("one image, eager, float32")
    if rows:
        right.legend(fontsize=8)
    figure.suptitle(machine_text(found), fontsize=9)
    figure.savefig(path, dpi=90, metadata={"Software": None})


def filled(readme: str, text: str) -> str:
    """The README with ``text`` between its markers."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{text}{END}{rest.split(END)[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", nargs="?", type=Path, default=results.default_path("cpu"))
    path = parser.parse_args().result
    sections = results.read(path)
    if "cost" not in sections:
        parser.error(f"{path}: no section cost; python -m benchmarks.models cost makes it")
    found = Results(sections)
    docs = ROOT / "docs"
    (docs / "speed.md").write_text(page(found))
    if found.points():
        save_plot(docs / "speed.png", found)
    readme = (ROOT / "README.md").read_text()
    if BEGIN in readme:
        (ROOT / "README.md").write_text(filled(readme, readme_text(found)))


if __name__ == "__main__":
    main()

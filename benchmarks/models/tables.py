"""Tables of the models' speed and quality, from a folder of results."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean

import numpy as np

from benchmarks.markdown import duration, origin, table
from benchmarks.markdown import indexes as shown
from benchmarks.models.contenders import BF16, EAGER, KSDIFF, LARGE, NO_PRIOR, SMALL, UNFOLD
from benchmarks.models.quality import INDEXES, PIPELINE
from benchmarks.results import read_folder

UNTIMED = ("cost", "quality-", "memory")  # how the names of sections without times begin
BANDS, SIZE = 8, 256  # of the main table; PAN pixels a side
UNAFFECTED = 0.005  # by which share bfloat16 may worsen a score and count as harmless
_SUMMARY = (KSDIFF, "dicnn", "fusionnet", "lagnet", f"{SMALL}, DDIM-1", f"{SMALL}, DDIM-25")
# GFLOP of one evaluation at 256 x 256 x 8 and the published number of evaluations, both counted
# from the papers' architectures; none was run.
PUBLISHED = {"DDIF": (138, 25), "SSDiff": (104, 10), "PLRDiff": (1434, 500), "TMDiff": (2800, 1000)}


class Results:
    """The sections of a folder, by what a table asks for."""

    def __init__(self, folder: Path) -> None:
        self.sections = read_folder(folder, UNTIMED)
        self.header = self.sections["latency"].header
        self.cost = {row["name"]: row for row in self.rows("cost")}
        self.scored = [bands for bands in (4, 8) if f"quality-{bands}" in self.sections]
        self.scores = {bands: scores(self.judged(bands)) for bands in self.scored}

    def rows(self, section: str) -> list[dict]:
        return [row | {"section": section} for row in self.sections[section].rows]

    def judged(self, bands: int, mode: str = EAGER) -> list[dict]:
        if f"quality-{bands}" not in self.sections:
            return []
        return [row for row in self.rows(f"quality-{bands}") if row["mode"] == mode]

    def family(self, name: str) -> str:
        return self.cost[name]["family"] if name in self.cost else name

    def loss_in_bf16(self, family: str, bands: int) -> float | None:
        """The share by which bfloat16 worsens a family's worst index; None if not known."""
        exact = {(r["scene"], r["name"], r["seed"]): r for r in self.judged(bands)}
        pairs = [
            (exact[row["scene"], row["name"], row["seed"]], row)
            for row in self.judged(bands, BF16)
            if self.family(row["name"]) == family
        ]
        if not pairs:
            return None
        signs = {"SAM": 1, "ERGAS": 1, "Q2n": -1}
        return max(
            fmean(sign * (row[index] / own[index] - 1) for own, row in pairs)
            for index, sign in signs.items()
        )

    def admitted(self, row: dict) -> bool:
        """Whether a row's mode leaves quality as it is; unscored baselines are trusted."""
        if BF16 not in row["mode"]:
            return True
        family = self.family(row["name"])
        loss = self.loss_in_bf16(family, row["bands"])
        return family != KSDIFF if loss is None else loss <= UNAFFECTED

    def timed(self, name: str, bands: int, size: int | None, *sections: str) -> dict | None:
        """The row of the quickest admitted mode, of the first section that has any."""
        for section in sections:
            rows = [
                row
                for row in self.rows(section)
                if (row["name"], row["bands"]) == (name, bands)
                and size in (None, row["size"])
                and self.admitted(row)
            ]
            if rows:
                return min(rows, key=lambda row: row["p50"])
        return None

    def fastest(self, name: str, bands: int = BANDS) -> dict | None:
        """For one image of 256 x 256; of a sampler that takes too long there, for a smaller one."""
        at_size = self.timed(name, bands, SIZE, "latency", "long")
        return at_size or self.timed(name, bands, None, "long")

    def ratio(self, row: dict) -> float | None:
        """Over ksdiff-s at the same size, measured in turn with the row."""
        ours = self.timed(KSDIFF, row["bands"], row["size"], row["section"])
        return row["p50"] / ours["p50"] if ours else None

    def over(self, name: str, other: str, mode: str, section: str = "latency") -> float:
        """How many times as long as ``other`` in the same mode."""
        rows = (r for r in self.rows(section) if (r["mode"], r["bands"]) == (mode, BANDS))
        times = {row["name"]: row["p50"] for row in rows}
        return times[name] / times[other]

    def points(self, bands: int) -> dict[str, tuple[float, float]]:
        """(seconds per megapixel, ERGAS) of all that has been timed and scored."""
        return {
            name: (row["p50"] / (row["size"] ** 2 * 1e-6), self.scores[bands][name]["ERGAS"])
            for name in self.cost
            if name in self.scores[bands]
            and (row := self.timed(name, bands, SIZE, "latency", "long"))
        }


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
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def main_table(found: Results, names: Iterable[str] | None = None) -> str:
    """Time of one image, against ksdiff-s at the same size, and quality."""
    quality = [{**found.scores[bands]} for bands in found.scored]

    def scored(name: str) -> list[str]:
        return [shown(own[name], INDEXES, "223") if name in own else "–" for own in quality]

    rows = []
    for name in names or found.cost:
        cost, timed = found.cost[name], found.fastest(name)
        if timed is not None:
            ratio = found.ratio(timed)
            rows.append(
                [
                    f"**{name}**" if name == KSDIFF else name,
                    f"{timed['size']}²",
                    str(cost["evaluations"]),
                    f"{cost['parameters'] / 1e6:.2f} M",
                    f"{cost['flops'] / 1e9:,.1f}",
                    duration(timed["p50"]),
                    f"{ratio:,.{0 if ratio >= 100 else 2}f}×" if ratio else "",
                    timed["mode"],
                    *scored(name),
                ]
            )
    if names is None and any(PIPELINE in own for own in quality):
        rows.append([PIPELINE, *[""] * 7, *scored(PIPELINE)])
    head = ["", "size", "evaluations", "parameters", "GFLOP each", "time", "/ ksdiff-s", "mode"]
    head += [f"{bands} bands: {' / '.join(INDEXES)}" for bands in found.scored]
    return f"{table(head, rows)}\n{origin(found.header)}\n"


def targets_table(found: Results) -> str:
    """Ratios beside their targets or published values."""
    rows = []
    for sampler, target in (("DDIM-25", "at least 50×"), ("DDPM-1000", "at least 1000×")):
        for family in (LARGE, SMALL):
            row = found.fastest(f"{family}, {sampler}")
            ratio = f"{found.ratio(row):,.0f}× ({row['size']}²)"
            rows.append(
                [f"{family}, {sampler} / ksdiff-s", ratio, target if family == LARGE else ""]
            )
    fastest = found.fastest(KSDIFF)["p50"] / found.fastest("fusionnet")["p50"]
    ratios = [
        ("ksdiff-s / fusionnet, each in its fastest mode", fastest, "at most 1.5×"),
        ("ksdiff-s / fusionnet, eager", found.over(KSDIFF, "fusionnet", EAGER), ""),
        ("ksdiff-s / without its prior, eager", found.over(KSDIFF, NO_PRIOR, EAGER), "paper: 2.2×"),
    ]
    for section, where in (("malloc", ", freed memory left to malloc"), ("latency", "")):
        for mode in (EAGER, BF16):
            ratio = found.over(UNFOLD, "lagnet", mode, section)
            ratios.append((f"lagnet on unfold / lagnet, {mode}{where}", ratio, "at least 5×"))
    stages, scenes = _stages(found), _scenes(found).values()
    prior = 1 - stages["network"] / sum(stages.values())
    whole = [entry["whole"] / entry["pixels"] for entry in scenes]
    spread = max(whole) / min(whole) - 1
    rows += [[name, f"{ratio:.2f}×", target] for name, ratio, target in ratios]
    rows += [
        ["share of the prior in ksdiff-s, eager", f"{prior:.0%}", "at most 30%"],
        ["spread of the time per megapixel of whole scenes", f"{spread:.0%}", "at most 15%"],
    ]
    return table(["", "measured", "target"], rows)


def modes_table(found: Results, section: str) -> str:
    """One evaluation of everybody in every mode, and what bfloat16 does to its scores."""
    single = {name for name, cost in found.cost.items() if cost["evaluations"] == 1}
    rows = [row for row in found.rows(section) if row["name"] in single]
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    lines = []
    for bands, name in dict.fromkeys((row["bands"], row["name"]) for row in rows):
        own = {r["mode"]: r["p50"] for r in rows if (r["bands"], r["name"]) == (bands, name)}
        loss = found.loss_in_bf16(found.family(name), bands)
        times = (duration(own[mode]) if mode in own else "" for mode in modes)
        lines.append([name, str(bands), *times, "" if loss is None else f"{100 * loss:+.2f} %"])
    return table(["", "bands", *modes, "bf16 worsens the worst index by"], lines)


def _stages(found: Results) -> dict[str, float]:
    return {
        row["name"].removeprefix(f"{KSDIFF}: "): row["p50"]
        for row in found.rows("latency")
        if row["name"].startswith(f"{KSDIFF}: ")
    }


def stages_table(found: Results) -> str:
    parts = _stages(found)
    total = sum(parts.values())
    rows = [[name, duration(s), f"{100 * s / total:.0f} %"] for name, s in parts.items()]
    return table(["stage of ksdiff-s, eager", "time", "share"], rows)


def long_table(found: Results) -> str:
    """The longest samplers beside ksdiff-s at the sizes at which they ran."""
    rows = [
        [r["name"], f"{r['size']}²", duration(r["p50"]), f"{found.ratio(r):,.1f}×"]
        for r in found.rows("long")
    ]
    return table(["one image, eager", "size", "time", "/ ksdiff-s"], rows)


def growth_table(found: Results, section: str, key: str) -> str:
    rows = found.rows(section)
    values = sorted({row[key] for row in rows})
    pixels = {v: (v**2 if key == "size" else v * rows[0]["size"] ** 2) * 1e-6 for v in values}
    lines = []
    for name in dict.fromkeys(row["name"] for row in rows):
        own = {row[key]: row["p50"] for row in rows if row["name"] == name}
        cells = (f"{own[v] / pixels[v]:.2f}" if v in own else "" for v in values)
        lines.append([name, *cells, f"{slope([pixels[v] for v in own], list(own.values())):.2f}"])
    return table([f"seconds per megapixel, {key}", *map(str, values), "log-log slope"], lines)


def _scenes(found: Results) -> dict[int, dict[str, float]]:
    """By the side of a scene: its megapixels, those the network sees, and seconds."""
    sizes: dict[int, dict[str, float]] = {}
    for row in found.rows("scene"):
        entry = sizes.setdefault(row["size"], {"pixels": row["size"] ** 2 * 1e-6})
        entry[row["name"]] = row["p50"]
        entry["peak"] = row["peak_bytes"]
        entry["seen"] = row["pixels_seen"] * 1e-6
    for entry in sizes.values():
        entry["rest"] = entry["whole"] - entry["prior"] - entry["network"]
    return dict(sorted(sizes.items()))


def scenes_table(found: Results) -> str:
    columns = ("whole", "network", "prior", "rest")
    head = [*(f"{name}, s/Mpx" for name in columns), "network sees", "peak memory"]
    rows = [
        [
            f"{size}²",
            duration(entry["whole"]),
            *(f"{entry[name] / entry['pixels']:.2f}" for name in columns),
            f"{entry['seen'] / entry['pixels']:.2f}×",
            f"{entry['peak'] / 2**20:,.0f} MiB" if entry["peak"] else "not measurable",
        ]
        for size, entry in _scenes(found).items()
    ]
    return table(["scene", "time", *head], rows)


def memory_table(found: Results) -> str:
    rows = [
        [r["name"], f"{r['size']}²", f"{r['peak_bytes'] / 2**20:.0f}"] for r in found.rows("memory")
    ]
    return table(["", "size", "MiB"], rows)


def steps_table(found: Results) -> str:
    rows = [
        [name.split(", ")[1], str(bands), *shown(own, INDEXES, "444").split(" / ")]
        for bands in found.scored
        for name, own in found.scores[bands].items()
        if name.startswith(f"{KSDIFF}, ")
    ]
    return table(["ksdiff-s with", "bands", *INDEXES], rows)


def published_table(found: Results) -> str:
    own = found.cost[KSDIFF]["flops"] / 1e9
    rows = [
        [name, str(cost), str(steps), f"{cost * steps / own:,.0f}×"]
        for name, (cost, steps) in PUBLISHED.items()
    ]
    return table(["published", "GFLOP an evaluation", "evaluations", "FLOP / ksdiff-s"], rows)


def scored_table(found: Results) -> str:
    """The scenes and training steps that the scores rest on."""
    rows = []
    for bands in found.scored:
        judged = found.judged(bands)
        scenes = {row["scene"]: "×".join(map(str, row["size"])) for row in judged}
        trained = {
            found.cost[row["name"]]["family"]: row["trained_steps"]
            for row in judged
            if row["name"] in found.cost
        }
        steps = (f"{name} {count}" for name, count in trained.items())
        places = (f"{name} ({size})" for name, size in scenes.items())
        rows.append([str(bands), ", ".join(places), ", ".join(steps)])
    return table(["bands", "validation scenes with truth", "training steps of 8 crops"], rows)


_TABLES: dict[str, Callable[[Results], str]] = {
    "speed": main_table,
    "speed-summary": lambda found: main_table(found, _SUMMARY),
    "speed-scored": scored_table,
    "speed-targets": targets_table,
    "speed-modes": lambda found: modes_table(found, "latency"),
    "speed-malloc": lambda found: modes_table(found, "malloc"),
    "speed-stages": stages_table,
    "speed-long": long_table,
    "speed-growth": lambda found: growth_table(found, "growth", "size"),
    "speed-batch": lambda found: growth_table(found, "batch", "batch"),
    "speed-scenes": scenes_table,
    "speed-memory": memory_table,
    "speed-steps": steps_table,
    "speed-published": published_table,
}
BLOCKS: dict[str, Callable[[Path], str]] = {
    name: lambda folder, make=make: make(Results(folder)) for name, make in _TABLES.items()
}

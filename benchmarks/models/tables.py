"""Tables of the models' speed and quality, from a folder of results."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean

import numpy as np

from benchmarks.markdown import duration, listing, nested, noted, table, times
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
        sections = read_folder(folder, UNTIMED)
        self.header = sections["latency"].header
        self._rows = {
            name: [row | {"section": name} for row in one.rows] for name, one in sections.items()
        }
        self.cost = {row["name"]: row for row in self.rows("cost")}
        self.scored = [bands for bands in (4, 8) if f"quality-{bands}" in sections]
        self.scores = {bands: scores(self.judged(bands)) for bands in self.scored}

    def rows(self, section: str, **facts: object) -> list[dict]:
        """Those of which the facts are true."""
        own = self._rows.get(section, [])
        return [row for row in own if all(row[key] == value for key, value in facts.items())]

    def judged(self, bands: int, mode: str = EAGER) -> list[dict]:
        return self.rows(f"quality-{bands}", mode=mode)

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

    def timed(self, section: str, **facts: object) -> dict | None:
        """The row of the quickest admitted mode."""
        rows = filter(self.admitted, self.rows(section, **facts))
        return min(rows, key=lambda row: row["p50"], default=None)

    def at_size(self, name: str, bands: int) -> dict | None:
        """For one image of 256 x 256."""
        facts = {"name": name, "bands": bands, "size": SIZE}
        return self.timed("latency", **facts) or self.timed("long", **facts)

    def fastest(self, name: str) -> dict | None:
        """For one image of 256 x 256; of a sampler that takes too long there, for a smaller one."""
        return self.at_size(name, BANDS) or self.timed("long", name=name, bands=BANDS)

    def ratio(self, row: dict) -> float | None:
        """Over ksdiff-s at the same size, measured in turn with the row."""
        ours = self.timed(row["section"], name=KSDIFF, bands=row["bands"], size=row["size"])
        return row["p50"] / ours["p50"] if ours else None

    def over(self, name: str, other: str, mode: str, section: str = "latency") -> float:
        """How many times as long as ``other`` in the same mode."""
        (own,), (base,) = (
            self.rows(section, name=one, mode=mode, bands=BANDS) for one in (name, other)
        )
        return own["p50"] / base["p50"]

    def stages(self) -> dict[str, float]:
        """Seconds of each stage of ksdiff-s, eager."""
        lead = f"{KSDIFF}: "
        rows = (row for row in self.rows("latency") if row["name"].startswith(lead))
        return {row["name"].removeprefix(lead): row["p50"] for row in rows}

    def scenes(self) -> list[dict]:
        """A row for every size of scene, with the seconds of each part."""
        rows = []
        for _, parts in sorted(nested(self.rows("scene"), "size", "name").items()):
            row = parts["whole"] | {name: part["p50"] for name, part in parts.items()}
            row["rest"] = row["whole"] - row["prior"] - row["network"]
            rows.append(row | {"megapixels": row["size"] ** 2 * 1e-6})
        return rows

    def points(self, bands: int) -> dict[str, tuple[float, float]]:
        """(seconds per megapixel, ERGAS) of all that has been timed and scored."""
        return {
            name: (row["p50"] / (SIZE**2 * 1e-6), self.scores[bands][name]["ERGAS"])
            for name in self.cost
            if name in self.scores[bands] and (row := self.at_size(name, bands))
        }


def scores(rows: Iterable[dict]) -> dict[str, dict[str, float]]:
    """Each method's indexes: the mean over scenes of the mean over seeds."""
    seeds: dict[str, dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        seeds[row["name"]][row["scene"]].append(row)
    return {
        name: {
            index: fmean(fmean(row[index] for row in own) for own in scenes.values())
            for index in INDEXES
        }
        for name, scenes in seeds.items()
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

    def scored(name: str) -> list[str]:
        every = found.scores.values()
        return [shown(own[name], INDEXES, "223") if name in own else "–" for own in every]

    head = ["", "size", "evaluations", "parameters", "GFLOP each", "time", "/ ksdiff-s", "mode"]
    lines = []
    for name, row in ((name, found.fastest(name)) for name in names or found.cost):
        if row is None:
            continue
        cost, ratio = found.cost[name], found.ratio(row)
        size = f"{cost['parameters'] / 1e6:.2f} M", f"{cost['flops'] / 1e9:,.1f}"
        times = duration(row["p50"]), f"{ratio:,.{0 if ratio >= 100 else 2}f}×" if ratio else ""
        first = f"**{name}**" if name == KSDIFF else name
        facts = f"{row['size']}²", str(cost["evaluations"]), *size, *times, row["mode"]
        lines.append([first, *facts, *scored(name)])
    if names is None and any(PIPELINE in own for own in found.scores.values()):
        lines.append([PIPELINE, *[""] * (len(head) - 1), *scored(PIPELINE)])
    quality = (f"{bands} bands: {' / '.join(INDEXES)}" for bands in found.scored)
    return noted(table([*head, *quality], lines), found)


def targets_table(found: Results) -> str:
    """Ratios beside their targets or published values."""
    rows = []
    for sampler, target in (("DDIM-25", "at least 50×"), ("DDPM-1000", "at least 1000×")):
        for family, own in ((LARGE, target), (SMALL, "")):
            row = found.fastest(f"{family}, {sampler}")
            ratio = f"{found.ratio(row):,.0f}× ({row['size']}²)"
            rows.append([f"{family}, {sampler} / ksdiff-s", ratio, own])
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
    rows += [[name, f"{ratio:.2f}×", target] for name, ratio, target in ratios]
    stages = found.stages()
    prior = 1 - stages["network"] / sum(stages.values())
    whole = [row["whole"] / row["megapixels"] for row in found.scenes()]
    spread = max(whole) / min(whole) - 1
    rows += [
        ["share of the prior in ksdiff-s, eager", f"{prior:.0%}", "at most 30%"],
        ["spread of the time per megapixel of whole scenes", f"{spread:.0%}", "at most 15%"],
    ]
    return table(["", "measured", "target"], rows)


def modes_table(found: Results, section: str) -> str:
    """One evaluation of everybody in every mode, and what bfloat16 does to its scores."""
    single = {name for name, cost in found.cost.items() if cost["evaluations"] == 1}
    rows = [row for row in found.rows(section) if row["name"] in single]
    modes = dict.fromkeys(row["mode"] for row in rows)
    lines = []
    for (name, bands), own in nested(rows, ("name", "bands"), "mode").items():
        loss = found.loss_in_bf16(found.family(name), bands)
        times = (duration(own[mode]["p50"]) if mode in own else "" for mode in modes)
        lines.append([name, str(bands), *times, "" if loss is None else f"{100 * loss:+.2f} %"])
    return table(["", "bands", *modes, "bf16 worsens the worst index by"], lines)


def stages_table(found: Results) -> str:
    parts = found.stages()
    total = sum(parts.values())
    rows = [[name, duration(s), f"{100 * s / total:.0f} %"] for name, s in parts.items()]
    return table(["stage of ksdiff-s, eager", "time", "share"], rows)


def long_table(found: Results) -> str:
    """The longest samplers beside ksdiff-s at the sizes at which they ran."""
    rows = [row | {"over": found.ratio(row)} for row in found.rows("long")]
    columns = {"one image, eager": "{name}", "size": "{size}²", "time": "{p50:time}"}
    return listing(rows, columns | {"/ ksdiff-s": "{over:,.1f}×"})


def growth_table(found: Results, section: str) -> str:
    """Seconds per megapixel over the side of the image, or over the batch."""
    key = "batch" if section == "batch" else "size"
    lines = nested(found.rows(section), "name", key)
    values = sorted({value for own in lines.values() for value in own})
    rows = []
    for name, own in lines.items():
        sizes = {value: row["batch"] * row["size"] ** 2 * 1e-6 for value, row in own.items()}
        cells = (f"{own[v]['p50'] / sizes[v]:.2f}" if v in own else "" for v in values)
        exponent = slope(list(sizes.values()), [row["p50"] for row in own.values()])
        rows.append([name, *cells, f"{exponent:.2f}"])
    return table([f"seconds per megapixel, {key}", *map(str, values), "log-log slope"], rows)


def scenes_table(found: Results) -> str:
    parts = ("whole", "network", "prior", "rest")
    rows = [
        row
        | {part: f"{row[part] / row['megapixels']:.2f}" for part in parts}
        | {"seen": row["pixels_seen"] / row["size"] ** 2}
        for row in found.scenes()
    ]
    columns = {
        **{"scene": "{size}²", "time": "{p50:time}"},
        **{f"{part}, s/Mpx": f"{{{part}}}" for part in parts},
        **{"network sees": "{seen:.2f}×", "peak memory": "{peak_bytes:MiB}"},
    }
    return listing(rows, columns)


def memory_table(found: Results) -> str:
    rows = [row | {"mib": row["peak_bytes"] / 2**20} for row in found.rows("memory")]
    return listing(rows, {"": "{name}", "size": "{size}²", "MiB": "{mib:.0f}"})


def steps_table(found: Results) -> str:
    rows = [
        [name.split(", ")[1], str(bands), *(f"{own[index]:.4f}" for index in INDEXES)]
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
        places = {f"{row['scene']} ({times(row['size'])})": None for row in judged}
        trained = {
            found.cost[row["name"]]["family"]: row["trained_steps"]
            for row in judged
            if row["name"] in found.cost
        }
        steps = (f"{name} {count}" for name, count in trained.items())
        rows.append([str(bands), ", ".join(places), ", ".join(steps)])
    return table(["bands", "validation scenes with truth", "training steps of 8 crops"], rows)


# By name; a folder of results is given.
BLOCKS: dict[str, Callable[[Path], str]] = {
    name: lambda folder, make=make: make(Results(folder))
    for name, make in {
        "speed": main_table,
        "speed-summary": lambda found: main_table(found, _SUMMARY),
        "speed-scored": scored_table,
        "speed-targets": targets_table,
        "speed-modes": lambda found: modes_table(found, "latency"),
        "speed-malloc": lambda found: modes_table(found, "malloc"),
        "speed-stages": stages_table,
        "speed-long": long_table,
        "speed-growth": lambda found: growth_table(found, "growth"),
        "speed-batch": lambda found: growth_table(found, "batch"),
        "speed-scenes": scenes_table,
        "speed-memory": memory_table,
        "speed-steps": steps_table,
        "speed-published": published_table,
    }.items()
}

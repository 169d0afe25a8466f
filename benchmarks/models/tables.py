"""Tables of the models' speed and quality."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean, linear_regression

from benchmarks.markdown import Row, duration, listing, mebibytes, nested, origin, table, times
from benchmarks.models.contenders import BF16, EAGER, KSDIFF, LARGE, NO_PRIOR, SMALL, UNFOLD
from benchmarks.models.quality import INDEXES, PIPELINE
from benchmarks.results import RESULTS, read

BANDS = 8  # of the main table
UNAFFECTED = 0.005  # by which share bfloat16 may worsen a score and count as harmless
_SUMMARY = (KSDIFF, "dicnn", "fusionnet", "lagnet", f"{SMALL}, DDIM-1", f"{SMALL}, DDIM-25")
# GFLOP of one evaluation at 256 x 256 x 8 and the published number of evaluations, both counted
# from the papers' architectures; none was run.
_PUBLISHED = {
    **{"DDIF": (138, 25), "SSDiff": (104, 10)},
    **{"PLRDiff": (1434, 500), "TMDiff": (2800, 1000)},
}


class Models:
    """The rows of a result and all scores, by what a table asks for."""

    def __init__(self, path: Path, scores: Path = RESULTS / "models-scores.json") -> None:
        self.header, self._rows = read(path)
        self.judged = read(scores).rows
        self.cost = {row["name"]: row for row in self.rows("cost")}
        self.bands = sorted({row["bands"] for row in self.judged})
        self.scores = {bands: _means(self.judged, bands) for bands in self.bands}

    def rows(self, section: str, **facts: object) -> list[dict]:
        """Those of which the facts are true."""
        facts["section"] = section
        return [row for row in self._rows if facts.items() <= row.items()]

    def loss_in_bf16(self, name: str, bands: int) -> float | None:
        """The share by which bfloat16 worsens the worst index of a network; None if not known."""
        family = self.cost[name]["family"]
        judged = [row for row in self.judged if row["bands"] == bands and row["name"] in self.cost]
        own = (row for row in judged if self.cost[row["name"]]["family"] == family)
        pairs = nested(own, ("scene", "name", "seed"), "mode").values()
        pairs = [(pair[BF16], pair[EAGER]) for pair in pairs if BF16 in pair]
        losses = (
            fmean(sign * (half[index] / whole[index] - 1) for half, whole in pairs)
            for index, sign in (("SAM", 1), ("ERGAS", 1), ("Q2n", -1))
        )
        return max(losses) if pairs else None

    def _admitted(self, row: dict) -> bool:
        """Whether a row's mode leaves quality as it is; baselines without scores are trusted."""
        if BF16 not in row["mode"]:
            return True
        loss = self.loss_in_bf16(row["name"], row["bands"])
        return row["name"] != KSDIFF if loss is None else loss <= UNAFFECTED

    def _quickest(self, section: str, **facts: object) -> dict | None:
        rows = filter(self._admitted, self.rows(section, **facts))
        return min(rows, key=lambda row: row["p50"], default=None)

    def fastest(self, name: str, bands: int = BANDS) -> dict | None:
        """In the quickest admitted mode; of what takes too long at 256 x 256, at a smaller size."""
        facts = {"name": name, "bands": bands}
        long = (self._quickest("long", **facts, size=size) for size in (256, 64))
        return next(filter(None, (self._quickest("latency", **facts), *long)), None)

    def ratio(self, row: dict) -> float:
        """Over ksdiff-s at the same size, measured in turn with the row."""
        facts = {key: row[key] for key in ("section", "bands", "size")}
        return row["p50"] / self._quickest(name=KSDIFF, **facts)["p50"]

    def over(self, name: str, other: str, mode: str = EAGER, section: str = "latency") -> float:
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
        """A row for every size of scene, with the seconds of each part per megapixel."""
        return [
            parts["whole"] | {name: own["p50"] / (size**2 * 1e-6) for name, own in parts.items()}
            for size, parts in sorted(nested(self.rows("scene"), "size", "name").items())
        ]

    def points(self, bands: int) -> dict[str, tuple[float, float]]:
        """(seconds per megapixel, ERGAS) of all that has been timed and scored."""
        return {
            name: (row["p50"] / (row["size"] ** 2 * 1e-6), own["ERGAS"])
            for name, own in self.scores[bands].items()
            if name in self.cost and (row := self.fastest(name, bands))
        }


def _means(rows: Iterable[dict], bands: int) -> dict[str, dict[str, float]]:
    """Each method's indexes: the mean over scenes of the mean over seeds."""
    scenes: dict[str, list[dict[str, float]]] = defaultdict(list)
    eager = (row for row in rows if (row["bands"], row["mode"]) == (bands, EAGER))
    for (name, _), seeds in nested(eager, ("name", "scene"), "seed").items():
        scenes[name].append({x: fmean(row[x] for row in seeds.values()) for x in INDEXES})
    return {
        name: {x: fmean(one[x] for one in own) for x in INDEXES} for name, own in scenes.items()
    }


def pareto(points: dict[str, tuple[float, float]]) -> list[str]:
    """The names of those that no other beats in both coordinates, from left to right."""
    front, least = [], math.inf
    for name, (_, value) in sorted(points.items(), key=lambda item: item[1]):
        if value < least:
            front.append(name)
            least = value
    return front


def slope(sizes: Iterable[float], seconds: Iterable[float]) -> float:
    """Of the least-squares line through log(seconds) over log(sizes)."""
    return linear_regression(*([math.log(x) for x in own] for own in (sizes, seconds))).slope


def main_table(found: Models, names: Iterable[str] = ()) -> str:
    """Time of one image, against ksdiff-s at the same size, and quality."""

    def scored(name: str) -> str:
        shown, every = "{SAM:.2f} / {ERGAS:.2f} / {Q2n:.3f}", found.scores.values()
        return " | ".join(shown.format_map(own[name]) if name in own else "–" for own in every)

    timed = [(name, row) for name in names or found.cost if (row := found.fastest(name))]
    rows = [
        found.cost[name]
        | {**row, "over": found.ratio(row), "scored": scored(name)}
        | {"name": f"**{name}**" if name == KSDIFF else name}
        for name, row in timed
    ]
    head = " | size | evaluations | parameters | GFLOP each | time | / ksdiff-s | mode" + "".join(
        f" | {bands} bands: {' / '.join(INDEXES)}" for bands in found.bands
    )

    def cells(r: Row) -> str:
        over = f"{r.over:,.{0 if r.over >= 100 else 2}f}×"
        return (
            f"{r.name} | {r.size}² | {r.evaluations} | {r.parameters / 1e6:.2f} M | "
            f"{r.flops / 1e9:,.1f} | {duration(r.p50)} | {over} | {r.mode} | {r.scored}"
        )

    whole = "" if names else f"| {PIPELINE} |  |  |  |  |  |  |  | {scored(PIPELINE)} |\n"
    return f"{listing(rows, head, cells)}{whole}\n{origin(found.header)}\n"


def targets_table(found: Models) -> str:
    """Ratios beside their targets or published values."""
    lines = []
    for sampler, target in (("DDIM-25", "at least 50×"), ("DDPM-1000", "at least 1000×")):
        for family, own in ((LARGE, target), (SMALL, "")):
            row = found.fastest(f"{family}, {sampler}")
            ratio = f"{found.ratio(row):,.0f}× ({row['size']}²)"
            lines.append((f"{family}, {sampler} / ksdiff-s", ratio, own))
    fastest = found.fastest(KSDIFF)["p50"] / found.fastest("fusionnet")["p50"]
    ratios = [
        ("ksdiff-s / fusionnet, each in its fastest mode", fastest, "at most 1.5×"),
        ("ksdiff-s / fusionnet, eager", found.over(KSDIFF, "fusionnet"), ""),
        ("ksdiff-s / without its prior, eager", found.over(KSDIFF, NO_PRIOR), "paper: 2.2×"),
    ]
    for section, where in (("malloc", ", freed memory left to malloc"), ("latency", "")):
        for mode in (EAGER, BF16):
            ratio = found.over(UNFOLD, "lagnet", mode, section)
            ratios.append((f"lagnet on unfold / lagnet, {mode}{where}", ratio, "at least 5×"))
    stages, whole = found.stages(), [row["whole"] for row in found.scenes()]
    shares = (
        ("share of the prior in ksdiff-s, eager", 1 - stages["network"] / sum(stages.values()), 30),
        ("spread of the time per megapixel of whole scenes", max(whole) / min(whole) - 1, 15),
    )
    lines += [(name, f"{ratio:.2f}×", target) for name, ratio, target in ratios]
    lines += [(name, f"{share:.0%}", f"at most {most}%") for name, share, most in shares]
    return table(["", "measured", "target"], lines)


def modes_table(found: Models, section: str) -> str:
    """One evaluation of everybody in every mode, and what bfloat16 does to its scores."""
    single = {name for name, cost in found.cost.items() if cost["evaluations"] == 1}
    rows = [row for row in found.rows(section) if row["name"] in single]
    modes = dict.fromkeys(row["mode"] for row in rows)
    lines = []
    for (name, bands), own in nested(rows, ("name", "bands"), "mode").items():
        loss = found.loss_in_bf16(name, bands)
        seconds = (duration(own[mode]["p50"]) if mode in own else "" for mode in modes)
        lines.append([name, str(bands), *seconds, "" if loss is None else f"{100 * loss:+.2f} %"])
    return table(["", "bands", *modes, "bf16 worsens the worst index by"], lines)


def stages_table(found: Models) -> str:
    stages = found.stages()
    total = sum(stages.values())
    rows = ([name, duration(own), f"{100 * own / total:.0f} %"] for name, own in stages.items())
    return table(["stage of ksdiff-s, eager", "time", "share"], rows)


def long_table(found: Models) -> str:
    """The longest samplers beside ksdiff-s at the sizes at which they ran."""
    rows = [row | {"over": f"{found.ratio(row):,.1f}×"} for row in found.rows("long")]
    head = "one image, eager | size | time | / ksdiff-s"
    return listing(rows, head, lambda r: f"{r.name} | {r.size}² | {duration(r.p50)} | {r.over}")


def growth_table(found: Models, section: str, key: str) -> str:
    """Seconds per megapixel over ``key``, the side of the image or the batch."""
    rows = []
    lines = nested(found.rows(section), "name", key)
    for name, own in lines.items():
        sizes = [row["batch"] * row["size"] ** 2 * 1e-6 for row in own.values()]
        seconds = [row["p50"] for row in own.values()]
        cells = (f"{time / size:.2f}" for time, size in zip(seconds, sizes, strict=True))
        rows.append([name, *cells, f"{slope(sizes, seconds):.2f}"])
    values = map(str, next(iter(lines.values())))
    return table([f"seconds per megapixel, {key}", *values, "log-log slope"], rows)


def scenes_table(found: Models) -> str:
    return listing(
        found.scenes(),
        "scene | time | whole, s/Mpx | network, s/Mpx | prior, s/Mpx | rest, s/Mpx | "
        "network sees | peak memory",
        lambda r: (
            f"{r.size}² | {duration(r.p50)} | {r.whole:.2f} | {r.network:.2f} | {r.prior:.2f} | "
            f"{r.whole - r.prior - r.network:.2f} | {r.pixels_seen / r.size**2:.2f}× | "
            f"{mebibytes(r.peak_bytes)}"
        ),
    )


def memory_table(found: Models) -> str:
    rows, head = found.rows("memory"), " | size | MiB"
    return listing(rows, head, lambda r: f"{r.name} | {r.size}² | {r.peak_bytes / 2**20:.0f}")


def steps_table(found: Models) -> str:
    rows = [
        [name.removeprefix(f"{KSDIFF}, "), str(bands), *(f"{own[x]:.4f}" for x in INDEXES)]
        for bands, scores in found.scores.items()
        for name, own in scores.items()
        if name.startswith(f"{KSDIFF}, ")
    ]
    return table(["ksdiff-s with", "bands", *INDEXES], rows)


def published_table(found: Models) -> str:
    own = found.cost[KSDIFF]["flops"] / 1e9
    rows = [
        [name, str(flops), str(steps), f"{flops * steps / own:,.0f}×"]
        for name, (flops, steps) in _PUBLISHED.items()
    ]
    return table(["published", "GFLOP an evaluation", "evaluations", "FLOP / ksdiff-s"], rows)


def scored_table(found: Models) -> str:
    """The scenes and training steps that the scores rest on."""
    rows = []
    for bands in found.bands:
        judged = [row for row in found.judged if row["bands"] == bands]
        places = {f"{row['scene']} ({times(row['size'])})": None for row in judged}
        trained = {
            f"{found.cost[row['name']]['family']} {row['trained_steps']}": None
            for row in judged
            if row["name"] in found.cost
        }
        rows.append([str(bands), ", ".join(places), ", ".join(trained)])
    return table(["bands", "validation scenes with truth", "training steps of 8 crops"], rows)


# By name.
TABLES: dict[str, Callable[[Models], str]] = {
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

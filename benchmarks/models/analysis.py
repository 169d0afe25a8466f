"""What a result file says: scores, headline, Pareto front, the fastest mode of everybody."""

import math
from collections.abc import Iterable
from statistics import fmean

from benchmarks.models.names import BF16, EAGER, KSDIFF, QUALITY, SMALL

INDEXES = ("SAM", "ERGAS", "Q2n")
BANDS, SIZE = 8, 256  # of the main table; PAN pixels a side
TOLERANCE = 0.02  # of a model's best score: what counts as reached
UNAFFECTED = 0.005  # by which share bfloat16 may worsen a score and count as the same


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
            entry[index] >= best[index] * (1 - TOLERANCE)
            if index == "Q2n"
            else entry[index] <= best[index] * (1 + TOLERANCE)
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


def affine(sizes: list[float], seconds: list[float]) -> tuple[float, float]:
    """(a, b) of seconds = a + b * size, fitted to the least squares of relative errors."""
    weights = [1 / value**2 for value in seconds]
    total = sum(weights)
    mx, my = (
        sum(w * value for w, value in zip(weights, values, strict=True)) / total
        for values in (sizes, seconds)
    )
    pairs = list(zip(weights, sizes, seconds, strict=True))
    b = sum(w * (x - mx) * (y - my) for w, x, y in pairs) / sum(
        w * (x - mx) ** 2 for w, x, _ in pairs
    )
    return my - b * mx, b


def spread(values: Iterable[float]) -> float:
    """The largest over the least, less one."""
    found = list(values)
    return max(found) / min(found) - 1


class Results:
    """The sections of a result file, by what a table asks for."""

    def __init__(self, sections: dict[str, dict]) -> None:
        self.sections = sections
        timed = sections.get("latency") or next(iter(sections.values()))
        self.machine = timed["machine"]
        self.cost = {row["name"]: row for row in self.rows("cost")}
        self.evaluations = {name: row["evaluations"] for name, row in self.cost.items()}
        scenes: dict[int, set[str]] = {}
        for row in self.quality():
            scenes.setdefault(row["bands"], set()).add(row["scene"])
        # Band counts with the most scenes first: those decide most.
        self.scored = sorted(scenes, key=lambda bands: -len(scenes[bands]))
        self.scores = {bands: scores(self.judged(bands)) for bands in self.scored}

    def rows(self, section: str) -> list[dict]:
        entries = self.sections.get(section, {"rows": []})["rows"]
        return [{**row, "section": section} for row in entries]

    def quality(self) -> list[dict]:
        names = (name for name in self.sections if name.startswith(QUALITY))
        return [row for name in names for row in self.rows(name)]

    def judged(self, bands: int, mode: str = EAGER) -> list[dict]:
        rows = self.quality()
        return [row for row in rows if (row["bands"], row["mode"]) == (bands, mode)]

    def family(self, name: str) -> str:
        return self.cost[name]["family"] if name in self.cost else name

    def loss_in_bf16(self, family: str, bands: int) -> float | None:
        """The share by which bfloat16 worsens a family's worst index; None if it is not known."""
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
        """Whether a row's mode leaves quality as it is; baselines have the benefit of the doubt."""
        if BF16 not in row["mode"]:
            return True
        family = self.family(row["name"])
        loss = self.loss_in_bf16(family, row["bands"])
        return family != KSDIFF if loss is None else loss <= UNAFFECTED

    def timed(self, name: str, bands: int, size: int, *sections: str) -> dict | None:
        """The row of the quickest mode that leaves quality as it is, of the first section."""
        for section in sections:
            rows = [
                row
                for row in self.rows(section)
                if (row["name"], row["bands"], row["size"]) == (name, bands, size)
                and self.admitted(row)
            ]
            if rows:
                return min(rows, key=lambda row: row["median"])
        return None

    def fastest(self, name: str, bands: int = BANDS) -> dict | None:
        """For one image of 256 x 256."""
        return self.timed(name, bands, SIZE, "latency", "long")

    def ratio(self, row: dict) -> float | None:
        """Over ksdiff-s at the same size, measured in turn with the row."""
        ours = self.timed(KSDIFF, row["bands"], row["size"], row["section"])
        return row["median"] / ours["median"] if ours else None

    def headline(self, bands: int) -> str | None:
        found = self.scores.get(bands, {})
        samplers = {n: s for n, s in found.items() if n.startswith(f"{SMALL}, ")}
        return headline(samplers, self.evaluations) if samplers else None

    def points(self, bands: int) -> dict[str, tuple[float, float]]:
        """(seconds per megapixel, ERGAS) of all that has been timed and scored."""
        return {
            name: (row["median"] / (row["size"] ** 2 * 1e-6), self.scores[bands][name]["ERGAS"])
            for name in self.cost
            if name in self.scores[bands] and (row := self.fastest(name, bands))
        }

    def parts(self) -> dict[str, float]:
        """Seconds of each stage of ksdiff-s."""
        return {
            row["name"].removeprefix(f"{KSDIFF}: "): row["median"]
            for row in self.rows("latency")
            if row["name"].startswith(f"{KSDIFF}: ")
        }

    def scenes(self) -> dict[int, dict[str, float]]:
        """By the side of a scene: its megapixels, what the network sees of them, and seconds."""
        sizes: dict[int, dict[str, float]] = {}
        for row in self.rows("scene"):
            entry = sizes.setdefault(row["size"], {"pixels": row["size"] ** 2 * 1e-6})
            entry[row["name"]] = row["median"]
            entry["peak"] = row["peak_bytes"]
            entry["seen"] = row["pixels_seen"] * 1e-6
        for entry in sizes.values():
            entry["rest"] = entry["whole"] - entry["prior"] - entry["network"]
        return dict(sorted(sizes.items()))


def machine_text(found: Results) -> str:
    machine = found.machine
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}"
    where = machine.get("gpu") or f"{machine['cpu']}, {threads}"
    return (
        f"{where}; PyTorch {machine['torch']}, KSDiff {machine['ksdiff']}, {machine['date'][:10]}"
    )

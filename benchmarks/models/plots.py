"""The plots of docs/speed.md."""

from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.markdown import origin
from benchmarks.models.contenders import KSDIFF, LARGE, NO_PRIOR, SMALL
from benchmarks.models.tables import Models, pareto, slope

_CURVES = {"DDIM": ("tab:blue", "o"), "DPM-Solver++": ("tab:cyan", "s"), "DDPM": ("tab:green", "D")}


def save(found: Models, docs: Path, name: str) -> None:
    """Write NAME-quality.png and NAME-growth.png."""
    counts = [bands for bands in found.bands if found.points(bands)]
    quality = Figure(figsize=(7 * len(counts), 5), layout="constrained")
    for axis, bands in zip(quality.subplots(1, len(counts), squeeze=False)[0], counts, strict=True):
        _quality(axis, found, bands)
    growth = Figure(figsize=(7, 4.5), layout="constrained")
    _growth(growth.subplots(), found)
    for figure, kind in ((quality, "quality"), (growth, "growth")):
        figure.suptitle(origin(found.header), fontsize=9)
        figure.savefig(docs / f"{name}-{kind}.png", dpi=90, metadata={"Software": None})


def _quality(axis, found: Models, bands: int) -> None:
    points = found.points(bands)
    for kind, (colour, marker) in _CURVES.items():
        curve = sorted(
            (*point, found.cost[name]["evaluations"])
            for name, point in points.items()
            if name.startswith(f"{SMALL}, {kind}-")
        )
        if not curve:
            continue
        seconds, values, _ = zip(*curve, strict=True)
        label = f"{SMALL}, {kind} (evaluations)"
        axis.plot(seconds, values, marker=marker, color=colour, linewidth=1, label=label)
        beside = (0, -11 if kind == "DPM-Solver++" else 5)
        for *point, count in curve:
            note = {"textcoords": "offset points", "fontsize": 8, "color": colour, "ha": "center"}
            axis.annotate(str(count), point, beside, **note)
    for name, point in points.items():
        if not name.startswith((SMALL, LARGE)):
            colour = "tab:red" if name in (KSDIFF, NO_PRIOR) else "dimgrey"
            axis.plot(*point, "o", color=colour)
            beside = (6, -9 if name == KSDIFF else 3)  # feature modulation lies right of it
            axis.annotate(name, point, beside, textcoords="offset points", fontsize=8, color=colour)
    front = [points[name] for name in pareto(points)]
    axis.plot(*zip(*front, strict=True), "k--", linewidth=1, label="Pareto front", zorder=0)
    scenes = len({row["scene"] for row in found.judged if row["bands"] == bands})
    axis.set(xscale="log", title=f"{bands} bands, {scenes} scene{'s' * (scenes > 1)}")
    axis.set(xlabel="seconds per megapixel, fastest mode", ylabel="ERGAS (lower is better)")
    axis.margins(x=0.12, y=0.1)
    axis.legend(fontsize=8)


def _growth(axis, found: Models) -> None:
    """Time over size, log-log; the whole pipeline beside the networks in one piece."""
    whole = (row | {"name": "ksdiff.Sharpener, whole"} for row in found.rows("scene", name="whole"))
    rows = [*found.rows("growth"), *whole]
    for name in dict.fromkeys(row["name"] for row in rows):
        own = sorted((row["size"], row["p50"]) for row in rows if row["name"] == name)
        exponent = slope([size**2 for size, _ in own], [seconds for _, seconds in own])
        axis.loglog(*zip(*own, strict=True), "o-", label=f"{name} (pixels^{exponent:.2f})")
    sizes = sorted({row["size"] for row in rows})
    axis.set_xticks(sizes, map(str, sizes), minor=False)
    axis.minorticks_off()
    axis.set(xlabel="PAN pixels a side", ylabel="seconds", title="one image, eager, float32")
    axis.legend(fontsize=8)

"""Sentences about the results: each is computed, with what was hoped for beside it."""

from benchmarks.models.analysis import (
    BANDS,
    INDEXES,
    SIZE,
    TOLERANCE,
    UNAFFECTED,
    Results,
    affine,
    pareto,
    spread,
)
from benchmarks.models.names import BF16, EAGER, KSDIFF, LARGE, PIPELINE, SMALL, UNFOLD
from benchmarks.text import duration


def indexes(scored: dict[str, float] | None) -> str:
    if scored is None:
        return "-"
    return " / ".join(f"{scored[i]:.{3 if i == 'Q2n' else 2}f}" for i in INDEXES)


def quality_text(found: Results) -> str:
    """What the scores rest on: scenes, seeds and training."""
    if not found.scored:
        return "Nothing has been scored yet.\n"
    parts = []
    for bands in found.scored:
        rows = found.judged(bands)
        scenes = {row["scene"]: "×".join(map(str, row["size"])) for row in rows}
        # Every network by its family's name: samplers and latent steps are the same weights.
        steps = {found.family(row["name"]): row["trained_steps"] for row in rows}
        trained = {
            name: steps[name]
            for name in dict.fromkeys(row["family"] for row in found.cost.values())
            if steps.get(name)
        }
        parts.append(
            f"{bands} bands: {', '.join(f'{name} ({size})' for name, size in scenes.items())}; "
            "training steps of 8 crops: "
            f"{', '.join(f'{name} {count}' for name, count in trained.items())}."
        )
    return (
        "Scores are means over the validation scenes with truth and over three seeds (one for more "
        "than 10 evaluations), border 21, from the same inputs for all, PAN as it lies; "
        f"{PIPELINE} puts PAN and bands in place and back-projects besides. {' '.join(parts)} A "
        "dash: not trained, or too long to sample at that size.\n"
    )


def modes_text(found: Results) -> str:
    modes = list(dict.fromkeys(row["mode"] for row in found.rows("latency")))
    return (
        f"Each row is the fastest of its modes ({', '.join(modes)}), all measured in turn in one "
        f"process; bf16 counts where it worsens no index by more than {100 * UNAFFECTED:g} %, for "
        "baselines without scores always."
    )


def claims(found: Results) -> list[str]:
    """What the numbers say, whichever way they fall."""
    return [
        *(_headline_claim(found, bands) for bands in found.scored if found.headline(bands)),
        *_sampler_claims(found),
        *_speed_claims(found),
        *(_pareto_claim(found, bands) for bands in found.scored if found.points(bands)),
    ]


def _headline_claim(found: Results, bands: int) -> str:
    chosen, own = found.headline(bands), found.fastest(KSDIFF, bands)
    evaluations = found.evaluations[chosen]
    scenes = len({row["scene"] for row in found.judged(bands)})
    text = (
        f"{bands} bands, {scenes} scene{'s' * (scenes > 1)}: the pixel-space model is within "
        f"{100 * TOLERANCE:.0f} % of its best scores from {evaluations} "
        f"evaluation{'s' * (evaluations > 1)} on ({chosen.split(', ')[-1]}; "
        f"{indexes(found.scores[bands][chosen])}, ksdiff-s "
        f"{indexes(found.scores[bands].get(KSDIFF))})"
    )
    timed = found.fastest(chosen, bands)
    if timed and own:
        text += (
            f", which {'take' if evaluations > 1 else 'takes'} "
            f"{timed['median'] / own['median']:.1f} times as long as ksdiff-s "
            f"({duration(timed['median'])}, {timed['mode']}, against {duration(own['median'])}, "
            f"{own['mode']})"
        )
    return f"{text}."


def _sampler_claims(found: Results) -> list[str]:
    lines = []
    for sampler, hope, remark in (
        ("DDIM-25", "50", ""),
        ("DDPM-1000", "1000", "; an upper bound, not the claim"),
    ):
        said = []
        for family in (LARGE, SMALL):
            name = f"{family}, {sampler}"
            row = found.fastest(name) or next(
                (row for row in found.rows("long") if row["name"] == name), None
            )
            if row and (ratio := found.ratio(row)):
                said.append(f"{ratio:,.0f} times ({family.split(', ')[1]}, {row['size']}²)")
        if said:
            lines.append(
                f"{sampler} takes {' and '.join(said)} as long as ksdiff-s (hoped for: at least "
                f"{hope} with the U-Net of 15.5 M{remark})."
            )
    return lines


def _speed_claims(found: Results) -> list[str]:
    lines = []
    ours, theirs = found.fastest(KSDIFF), found.fastest("fusionnet")
    parts = found.parts()
    if ours and theirs:
        ratio = ours["median"] / theirs["median"]
        text = (
            f"ksdiff-s takes {ratio:.2f} times as long as FusionNet ({ours['mode']} against "
            f"{theirs['mode']}; {_ratio(found, KSDIFF, 'fusionnet', EAGER):.2f} both eager; "
            "wanted: at most 1.5)"
        )
        if parts:
            share = 1 - parts["network"] / sum(parts.values())
            text += f"; its prior is {100 * share:.0f} % of its eager time (wanted: at most 30 %)"
        lines.append(f"{text}.")
    gains = [
        f"{_ratio(found, UNFOLD, 'lagnet', EAGER, section):.1f} times (float32) and "
        f"{_ratio(found, UNFOLD, 'lagnet', BF16, section):.1f} times (bf16) as fast as on unfold "
        f"where {where}"
        for section, where in (
            ("as_it_comes", "freed memory is left to malloc, as PyTorch does by itself"),
            ("latency", "it is kept, as in all that is told here"),
        )
        if any(row["name"] == UNFOLD for row in found.rows(section))
    ]
    if gains:
        lines.append(
            f"LAGNet on `ksdiff_ops.adaptive_conv2d` is {', '.join(gains)} (wanted: at least 5)."
        )
    return lines


def _ratio(found: Results, name: str, other: str, mode: str, section: str = "latency") -> float:
    """How many times as long as ``other``."""
    times = {
        row["name"]: row["median"]
        for row in found.rows(section)
        if (row["mode"], row["bands"]) == (mode, BANDS)
    }
    return times[name] / times[other]


def _pareto_claim(found: Results, bands: int) -> str:
    """Who is on the front; and what a pixel-space sampler pays for ksdiff-s's ERGAS, if it can."""
    points = found.points(bands)
    front = pareto(points)
    text = f"{bands} bands: on the Pareto front of ERGAS and time are {', '.join(front)}"
    samplers = {name: point for name, point in points.items() if name.startswith(f"{SMALL}, ")}
    if KSDIFF not in points or not samplers:
        return f"{text}; no pixel-space sampler is scored."
    seconds, ergas = points[KSDIFF]
    on_it = [
        f"{name} (in {samplers[name][0] / seconds:.2f} of ksdiff-s's time, with an ERGAS "
        f"{100 * (samplers[name][1] / ergas - 1):+.1f} %"
        + (
            "; a single evaluation that predicts the clean image is a plain regression)"
            if found.evaluations[name] == 1
            else ")"
        )
        for name in front
        if name in samplers
    ]
    text += f"; of pixel-space samplers {' and '.join(on_it) or 'none'}"
    equal = {name: point for name, point in samplers.items() if point[1] <= ergas}
    if not equal:
        return f"{text}. At equal ERGAS none is: none reaches ksdiff-s's."
    name = min(equal, key=lambda name: equal[name][0])
    return (
        f"{text}. ksdiff-s's ERGAS is reached by {name} in {equal[name][0] / seconds:.2f} times "
        "its time."
    )


def growth_text(found: Results) -> str:
    """What an image costs whatever its size, and what every megapixel costs."""
    own = {r["size"] ** 2 * 1e-6: r["median"] for r in found.rows("growth") if r["name"] == KSDIFF}
    if len(own) < 2:
        return ""
    once, each = affine(list(own), list(own.values()))
    least = SIZE**2 * 1e-6
    varied = spread(seconds / pixels for pixels, seconds in own.items() if pixels >= least)
    return (
        f"ksdiff-s takes {1e3 * once:.0f} ms whatever the size and {each:.2f} s per "
        f"megapixel (least squares of relative errors); from {SIZE}² on, its time per megapixel "
        f"varies by {100 * varied:.0f} %.\n"
    )


def scene_text(found: Results) -> str:
    """Is the time per megapixel constant, and if not, why?"""
    sizes = found.scenes()
    if len(sizes) < 2:
        return ""
    whole, network, seen = (
        f"{100 * spread(entry[part] / entry[pixels] for entry in sizes.values()):.0f} %"
        for part, pixels in (("whole", "pixels"), ("network", "pixels"), ("network", "seen"))
    )
    first, last = min(sizes), max(sizes)
    small, large = sizes[first], sizes[last]
    return (
        f"From {first}² to {last}² the time per megapixel varies by {whole} through the whole "
        f"`Sharpener` (wanted: at most 15 %), by {network} in the network, and by {seen} in the "
        "network per megapixel that it sees: with their overlaps and margins the windows see "
        f"{large['seen'] / large['pixels']:.2f} times the scene at {last}², "
        f"{small['seen'] / small['pixels']:.2f} times at {first}². The prior is estimated once per "
        "scene, from up to 8 windows of 256², which cover all of it up to 512²: "
        f"{small['prior'] / small['pixels']:.2f} s/Mpx at {first}², "
        f"{large['prior'] / large['pixels']:.2f} at {last}², where it takes "
        f"{duration(large['prior'])} once and everything else "
        f"{(large['whole'] - large['prior']) / large['pixels']:.2f} s per megapixel.\n"
    )

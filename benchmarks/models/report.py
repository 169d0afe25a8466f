"""Tables, text and plots of the models' speed and quality: `python -m benchmarks.models.report`

Writes docs/speed.md, its plots and the part of README.md between its speed markers.
"""

import argparse
from pathlib import Path

from benchmarks.models import results
from benchmarks.models.analysis import INDEXES, Results, machine_text, slope
from benchmarks.models.claims import (
    claims,
    growth_text,
    indexes,
    modes_text,
    quality_text,
    scene_text,
)
from benchmarks.models.names import KSDIFF, LARGE, PIPELINE, SMALL
from benchmarks.models.plots import save_growth, save_quality
from benchmarks.text import duration, put_between, table

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
# Samplers that the README shows besides the headline; docs/speed.md has all.
_IN_README = ("DDPM-1000", "DDIM-25", "DDIM-10", "DDIM-1")
# GFLOP of one evaluation at 256 x 256 x 8 and the published number of evaluations; rebuilt by
# nobody here: counted from the papers' architectures.
PUBLISHED = {"DDIF": (138, 25), "SSDiff": (104, 10), "PLRDiff": (1434, 500), "TMDiff": (2800, 1000)}


def main_table(found: Results, short: bool = False) -> str:
    """Who takes how long for one image, against ksdiff-s at the same size, and how good it is."""
    chosen = {found.headline(bands) for bands in found.scored}
    rows = []
    for name, cost in found.cost.items():
        timed = found.fastest(name) or next(
            (row for row in found.rows("long") if row["name"] == name), None
        )
        sampler = name.removeprefix(f"{cost['family']}, ")
        shown_in_readme = sampler in _IN_README or name in chosen
        if short and cost["family"] in (SMALL, LARGE) and not shown_in_readme:
            continue
        if timed is None:
            continue
        ratio = found.ratio(timed)
        shown = f"**{name}** (headline)" if name in chosen else name
        rows.append(
            [
                f"**{name}**" if name == KSDIFF else shown,
                f"{timed['size']}²",
                str(cost["evaluations"]),
                f"{cost['parameters'] / 1e6:.2f} M",
                f"{cost['flops'] / 1e9:,.1f}",
                duration(timed["median"]),
                f"{ratio:,.{0 if ratio >= 100 else 2}f}×" if ratio else "",
                timed["mode"],
                *(indexes(found.scores[bands].get(name)) for bands in found.scored),
            ]
        )
    whole = [indexes(found.scores[bands].get(PIPELINE)) for bands in found.scored]
    if any(entry != "-" for entry in whole):
        rows.append([PIPELINE, *[""] * 7, *whole])
    head = ["", "size", "evaluations", "parameters", "GFLOP each", "time", "/ ksdiff-s", "mode"]
    return table([*head, *(f"{bands} bands: SAM / ERGAS / Q2n" for bands in found.scored)], rows)


def modes_table(found: Results, section: str = "latency") -> str:
    """One evaluation of everybody in every mode, and what bfloat16 does to its scores."""
    rows = [r for r in found.rows(section) if found.evaluations.get(r["name"]) == 1]
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    lines = []
    for bands, name in dict.fromkeys((row["bands"], row["name"]) for row in rows):
        own = {r["mode"]: r["median"] for r in rows if (r["bands"], r["name"]) == (bands, name)}
        loss = found.loss_in_bf16(found.family(name), bands)
        lines.append(
            [
                name,
                str(bands),
                *(duration(own[mode]) if mode in own else "" for mode in modes),
                "" if loss is None else f"{100 * loss:+.2f} %",
            ]
        )
    return table(["", "bands", *modes, "bf16 worsens the worst index by"], lines)


def split_table(found: Results) -> str:
    parts = found.parts()
    total = sum(parts.values())
    return table(
        ["part of ksdiff-s, eager", "time", "share"],
        [[name, duration(s), f"{100 * s / total:.0f} %"] for name, s in parts.items()],
    )


def long_table(found: Results) -> str:
    """The longest samplers beside ksdiff-s at the sizes at which they ran."""
    return table(
        ["one image, eager", "size", "time", "/ ksdiff-s"],
        [
            [r["name"], f"{r['size']}²", duration(r["median"]), f"{found.ratio(r):,.1f}×"]
            for r in found.rows("long")
        ],
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


def scene_table(found: Results) -> str:
    columns = ("whole", "network", "prior", "rest")
    head = [*(f"{name}, s/Mpx" for name in columns), "network sees", "peak memory"]
    return table(
        ["scene", "time", *head],
        [
            [
                f"{size}²",
                duration(entry["whole"]),
                *(f"{entry[name] / entry['pixels']:.2f}" for name in columns),
                f"{entry['seen'] / entry['pixels']:.2f}×",
                f"{entry['peak'] / 2**20:,.0f} MiB" if entry["peak"] else "not measurable",
            ]
            for size, entry in found.scenes().items()
        ],
    )


def steps_table(found: Results) -> str:
    lines = []
    for bands in found.scored:
        for name, scored in found.scores[bands].items():
            if name.startswith(f"{KSDIFF}, "):
                own = [f"{scored[i]:.4f}" for i in INDEXES]
                lines.append([name.split(", ")[1], str(bands), *own])
    return table(["ksdiff-s with", "bands", *INDEXES], lines)


def published_table(found: Results) -> str:
    own = found.cost[KSDIFF]["flops"] / 1e9
    return table(
        ["published", "GFLOP an evaluation", "evaluations", "FLOP / ksdiff-s"],
        [
            [name, str(cost), str(steps), f"{cost * steps / own:,.0f}×"]
            for name, (cost, steps) in PUBLISHED.items()
        ],
    )


def memory_table(found: Results) -> str:
    return table(
        ["", "size", "MiB"],
        [
            [r["name"], f"{r['size']}²", f"{r['peak_bytes'] / 2**20:.0f}"]
            for r in found.rows("memory")
        ],
    )


def readme_text(found: Results) -> str:
    parts = [
        f"One image of 256 × 256 pixels and 8 bands, batch 1, on {machine_text(found)}. "
        f"{modes_text(found)} The pixel U-Nets are ours: diffusion in pixel space on `diffusers`, "
        f"on the data and with the loss of ksdiff-s. {quality_text(found)}",
        main_table(found, short=True),
        "\n".join(f"- {claim}" for claim in claims(found)) + "\n",
        "![ERGAS over seconds per megapixel](docs/speed.png)\n",
        "[docs/speed.md](docs/speed.md) has the rest and says how to measure it again.\n",
    ]
    return "\n".join(parts)


def page(found: Results) -> str:
    sections = [
        "# Speed and quality against pixel-space diffusion\n",
        "Written by `python -m benchmarks.models.report` from the results of\n",
        "    python -m benchmarks.models.train benchmarks/models/configs/pixel-s-4band.yaml\n"
        "    python -m benchmarks.models.train benchmarks/models/configs/fusionnet-4band.yaml\n"
        "    ksdiff train benchmarks/models/configs/ksdiff/features-s-4band.yaml\n"
        "    ...                                    # and the 8band ones\n"
        "    python -m benchmarks.models            # every section; --device cuda on a GPU\n",
        f"On {machine_text(found)}. A multiply-add counts as two operations. Nothing is "
        "extrapolated. The 15.5 M U-Net was timed only: its weights are random.\n",
        quality_text(found),
        modes_text(found) + "\n",
        main_table(found),
        "\n".join(f"- {claim}" for claim in claims(found)) + "\n",
        "![ERGAS over seconds per megapixel](speed.png)\n",
    ]
    for name, title, parts in (
        ("latency", "Every mode", lambda: [modes_table(found)]),
        (
            "as_it_comes",
            "Memory as PyTorch handles it",
            lambda: [
                "All else here is measured in processes that keep the memory that they have freed "
                "([`ksdiff/runtime.py`](../ksdiff/runtime.py)), as the command `ksdiff` does. In "
                "one that leaves it to malloc:\n",
                modes_table(found, "as_it_comes"),
            ],
        ),
        ("latency", "Where ksdiff-s's time goes", lambda: [split_table(found)]),
        ("long", "A thousand evaluations", lambda: [long_table(found)]),
        (
            "growth",
            "Growth with the image",
            lambda: [
                "One image in one piece, its prior estimated from all of it, eager.\n",
                growth_table(found, "growth", "size"),
                growth_text(found),
                "![seconds over size](speed-growth.png)\n",
            ],
        ),
        (
            "scene",
            "Whole scenes",
            lambda: [
                "Through `ksdiff.Sharpener`, from arrays to arrays: statistics, registration, "
                "prior, network in windows of 512 pixels, back-projection. All seconds are per "
                "megapixel of the scene; the network sees more than that, as windows overlap. "
                "Memory is the peak beyond inputs and result.\n",
                scene_table(found),
                scene_text(found),
            ],
        ),
        (
            "batch",
            "Growth with the batch",
            lambda: [
                f"Images of {found.rows('batch')[0]['size']}², each with a prior of its own, "
                "eager.\n",
                growth_table(found, "batch", "batch"),
            ],
        ),
        ("memory", "Peak memory beyond network and inputs", lambda: [memory_table(found)]),
    ):
        if found.rows(name):
            sections += [f"## {title}\n", *parts()]
    if found.scored:
        sections += ["## Latent steps\n", steps_table(found)]
    sections += [
        "## As published\n",
        "Operations only, counted from the published architectures for one 256 × 256 × 8 image; "
        "none of these was run.\n",
        published_table(found),
    ]
    return "\n".join(sections)


def filled(readme: str, text: str) -> str:
    """The README with ``text`` between its markers."""
    return put_between(readme, BEGIN, text, END)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", nargs="?", type=Path, default=results.default_path("cpu"))
    parser.add_argument(
        "--out", type=Path, help="another folder than docs/; the README stays as it is"
    )
    arguments = parser.parse_args()
    sections = results.read(arguments.result)
    if "cost" not in sections:
        parser.error(
            f"{arguments.result}: no section cost; python -m benchmarks.models cost makes it"
        )
    found = Results(sections)
    docs = arguments.out or ROOT / "docs"
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "speed.md").write_text(page(found))
    save_quality(docs / "speed.png", found)
    save_growth(docs / "speed-growth.png", found)
    if arguments.out is None:
        readme = (ROOT / "README.md").read_text()
        (ROOT / "README.md").write_text(filled(readme, readme_text(found)))


if __name__ == "__main__":
    main()

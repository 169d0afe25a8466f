"""The tables of the models' speed and quality follow from the measurements."""

import pytest

from benchmarks.models import plots, tables
from benchmarks.models.contenders import (
    BF16,
    COMPILED,
    EAGER,
    KSDIFF,
    LARGE,
    NO_PRIOR,
    SMALL,
    UNFOLD,
)
from benchmarks.models.quality import INDEXES, PIPELINE
from benchmarks.results import write
from tests.support.benchmarks import MACHINE


def entry(sam, ergas, q2n):
    return {"SAM": sam, "ERGAS": ergas, "Q2n": q2n}


def test_scores_weigh_scenes_equally_however_many_seeds_they_have():
    rows = [
        {"scene": "x", "name": "m", **entry(1.0, 1.0, 1.0)},
        {"scene": "x", "name": "m", **entry(3.0, 1.0, 1.0)},
        {"scene": "y", "name": "m", **entry(4.0, 1.0, 1.0)},
    ]
    assert tables.scores(rows)["m"]["SAM"] == pytest.approx(3.0)


def test_the_pareto_front_holds_only_those_that_nobody_beats_in_both():
    points = {"slow good": (9, 1.0), "fast bad": (1, 3.0), "beaten": (5, 3.5), "middle": (2, 2.0)}
    assert tables.pareto(points) == ["fast bad", "middle", "slow good"]


def test_the_slope_of_a_power_law_is_its_exponent():
    assert tables.slope([1, 10, 100], [3, 30, 300]) == pytest.approx(1.0)
    assert tables.slope([1, 4, 16], [1, 2, 4]) == pytest.approx(0.5)


@pytest.fixture
def folder(tmp_path):
    """A run in which the small U-Net is as good, and twice as slow in one evaluation."""
    one, thousand = f"{SMALL}, DDIM-1", f"{SMALL}, DDPM-1000"
    facts = {"parameters": 5e5, "size": 256, "flops": 3e9}
    cost = [
        {"name": KSDIFF, "family": KSDIFF, "evaluations": 1, **facts},
        {"name": one, "family": SMALL, "evaluations": 1, **facts},
        {"name": thousand, "family": SMALL, "evaluations": 1000, **facts},
        *(
            {"name": n, "family": n, "evaluations": 1, **facts}
            for n in ("lagnet", UNFOLD, "fusionnet", NO_PRIOR)
        ),
        {"name": f"{SMALL}, DDIM-25", "family": SMALL, "evaluations": 25, **facts},
        {"name": f"{LARGE}, DDIM-25", "family": LARGE, "evaluations": 25, **facts},
        {"name": f"{LARGE}, DDPM-1000", "family": LARGE, "evaluations": 1000, **facts},
    ]

    def row(name, seconds, size=256, mode=EAGER, bands=8):
        entry = {"name": name, "mode": mode, "size": size, "batch": 1, "bands": bands}
        return entry | {"p50": seconds}

    def scored(name, values, mode=EAGER, bands=8, scene="town"):
        entry = {"scene": scene, "size": [9, 9], "name": name, "seed": 0, "mode": mode}
        return (
            entry | {"bands": bands, "trained_steps": 7} | dict(zip(INDEXES, values, strict=True))
        )

    def whole(size, seconds, seen):
        halves = (("whole", 1.0), ("prior", 0.25), ("network", 0.5))
        facts = {"peak_bytes": 2**25, "pixels_seen": seen * size**2}
        return [row(name, share * seconds, size) | facts for name, share in halves]

    sections = {
        "cost": cost,
        "latency": [
            row(KSDIFF, 0.2),
            row(NO_PRIOR, 0.1),
            row("fusionnet", 0.05),
            row("fusionnet", 0.04, mode=BF16),
            row(KSDIFF, 0.1, mode=COMPILED),
            row(KSDIFF, 0.01, mode=BF16),
            row(one, 0.4),
            row(one, 0.3, mode=BF16),
            row(f"{SMALL}, DDIM-25", 3.0, mode=BF16),
            row(f"{LARGE}, DDIM-25", 9.0, mode=BF16),
            row("lagnet", 0.1),
            row("lagnet", 0.1, mode=BF16),
            row(UNFOLD, 0.7),
            row(UNFOLD, 0.3, mode=BF16),
            row(f"{KSDIFF}: network", 0.15),
            row(f"{KSDIFF}: latent steps", 0.05),
            row(KSDIFF, 0.1, bands=4),
            row(one, 0.05, bands=4),
        ],
        "malloc": [
            row(name, seconds, mode=mode)
            for name, seconds in (("lagnet", 0.1), (UNFOLD, 0.8))
            for mode in (EAGER, BF16)
        ],
        "long": [
            row(KSDIFF, 0.3),
            row(thousand, 50.0),
            row(KSDIFF, 0.1, 64),
            row(f"{LARGE}, DDPM-1000", 200.0, 64),
        ],
        "growth": [row(KSDIFF, 0.1), row(KSDIFF, 0.4, 512)],
        "scene": [*whole(256, 1.0, 1), *whole(1024, 8.0, 1.2), *whole(2048, 20.0, 1.5)],
        "batch": [row(KSDIFF, 0.1, 64), row(KSDIFF, 0.2, 64) | {"batch": 2}],
        "memory": [{"name": KSDIFF, "size": 1024, "batch": 1, "peak_bytes": 2**25}],
        "quality-8": [
            scored(KSDIFF, (2.0, 3.0, 0.9)),
            scored(KSDIFF, (2.0, 3.1, 0.9), BF16),  # more than half a per cent worse
            scored(f"{KSDIFF}, 1 latent steps", (2.0, 3.0, 0.9)),
            scored(PIPELINE, (1.5, 2.5, 0.95)),
            scored(one, (2.0, 3.1, 0.9)),
            scored(one, (2.0, 3.1, 0.9), BF16),
            scored(thousand, (2.5, 4.0, 0.8)),
        ],
        "quality-4": [
            *(scored(KSDIFF, (2.0, 3.0, 0.9), bands=4, scene=s) for s in ("sea", "wood")),
            *(scored(one, (2.0, 2.9, 0.9), bands=4, scene=s) for s in ("sea", "wood")),
        ],
    }
    for name, rows in sections.items():
        write(tmp_path / f"{name}.json", MACHINE, rows)
    return tmp_path


def test_every_row_is_in_the_fastest_mode_that_leaves_quality_as_it_is(folder):
    found = tables.Results(folder)
    assert found.fastest(KSDIFF)["mode"] == COMPILED  # bfloat16 costs it quality
    assert found.fastest(f"{SMALL}, DDIM-1")["mode"] == BF16
    assert found.fastest(f"{LARGE}, DDIM-25")["mode"] == BF16  # unscored baselines are trusted
    assert found.loss_in_bf16(KSDIFF, 8) == pytest.approx(0.1 / 3)
    assert found.loss_in_bf16(LARGE, 8) is None and found.loss_in_bf16(KSDIFF, 4) is None


def test_ratios_are_of_what_was_measured_in_turn(folder):
    found = tables.Results(folder)
    assert found.ratio(found.fastest(f"{SMALL}, DDIM-1")) == pytest.approx(3.0)
    # By the section it was measured in: 0.3 s there, not 0.1 s.
    assert found.ratio(found.fastest(f"{SMALL}, DDPM-1000")) == pytest.approx(50 / 0.3)


def test_the_main_table_has_times_ratios_modes_and_scores(folder):
    text = tables.main_table(tables.Results(folder))
    assert f"| {SMALL}, DDIM-1 | 256² | 1 | 0.50 M | 3.0 | 300 ms | 3.00× | bf16" in text
    assert f"| **{KSDIFF}** | 256² | 1 | 0.50 M | 3.0 | 100 ms | 1.00× | compiled" in text
    assert "50 s | 167× | eager" in text and "| 64² | 1000 |" in text
    assert f"| {PIPELINE} |" in text and "1.50 / 2.50 / 0.950" in text
    assert "Abacus 2, 2 threads; KSDiff 0.1.0" in text


@pytest.mark.parametrize(
    "name, row",
    [
        ("speed-targets", f"| {LARGE}, DDIM-25 / ksdiff-s | 90× (256²) | at least 50× |"),
        ("speed-targets", f"| {LARGE}, DDPM-1000 / ksdiff-s | 2,000× (64²) | at least 1000× |"),
        ("speed-targets", "| ksdiff-s / fusionnet, each in its fastest mode | 2.50× |"),
        ("speed-targets", "| ksdiff-s / without its prior, eager | 2.00× | paper: 2.2× |"),
        ("speed-targets", "| share of the prior in ksdiff-s, eager | 25% | at most 30% |"),
        ("speed-targets", "| lagnet on unfold / lagnet, bf16 | 3.00× | at least 5× |"),
        ("speed-targets", "eager, freed memory left to malloc | 8.00× | at least 5× |"),
        ("speed-targets", "| spread of the time per megapixel of whole scenes | 220% |"),
        ("speed-scored", "| 8 | town (9×9) | ksdiff-s 7, pixel U-Net, matched 7 |"),
        ("speed-modes", f"| {KSDIFF} | 8 | 200 ms | 10 ms | 100 ms | +3.33 % |"),
        ("speed-stages", "| latent steps | 50 ms | 25 % |"),
        ("speed-long", f"| {SMALL}, DDPM-1000 | 256² | 50 s | 166.7× |"),
        ("speed-growth", f"| {KSDIFF} | 1.53 | 1.53 | 1.00 |"),
        ("speed-batch", f"| {KSDIFF} | 24.41 | 24.41 | 1.00 |"),
        ("speed-scenes", "| 2048² | 20 s | 4.77 | 2.38 | 1.19 | 1.19 | 1.50× | 32 MiB |"),
        ("speed-memory", f"| {KSDIFF} | 1024² | 32 |"),
        ("speed-steps", "| 1 latent steps | 8 | 2.0000 | 3.0000 | 0.9000 |"),
        ("speed-published", "| DDIF | 138 | 25 | 1,150× |"),
    ],
)
def test_a_table_shows(folder, name, row):
    assert row in tables.BLOCKS[name](folder)


def test_plots_are_drawn(folder, tmp_path):
    plots.save(folder, tmp_path)
    for kind in ("quality", "growth"):
        path = tmp_path / f"{folder.name}-{kind}.png"
        assert path.read_bytes().startswith(b"\x89PNG")

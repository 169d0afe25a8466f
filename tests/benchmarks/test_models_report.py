"""What the tables of benchmarks.models say is what the measurements say."""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

pytest.importorskip("diffusers", reason="the baseline's schedulers; pip install '.[test]'")

from benchmarks.models import __main__ as command
from benchmarks.models import (
    analysis,
    claims,
    measure,
    plots,
    quality,
    report,
    results,
    scenes,
    speed,
)
from benchmarks.models import train as training
from benchmarks.models.contenders import MODES, contenders
from benchmarks.models.names import (
    BF16,
    COMPILED,
    EAGER,
    FEATURES,
    KSDIFF,
    LARGE,
    NO_PRIOR,
    PIPELINE,
    SMALL,
    UNFOLD,
)
from benchmarks.models.one_pass import OnePass, on_unfold
from benchmarks.models.pixel_diffusion import PixelDiffusion
from ksdiff.errors import KSDiffError
from ksdiff.models.ksdiff import KSDiff
from ksdiff.training.validation import Scene
from tests.support.models import random_inputs, small_config

INDEXES = analysis.INDEXES
MACHINE = {"device": "cpu", "cpu": "Abacus 2", "threads": 2, "torch": "2.13", "ksdiff": "0.1"}
MACHINE |= {"cores": 2, "date": "2026-01-02 03:04 UTC"}


@pytest.fixture
def inputs():
    return random_inputs(2, 4, 32, 48)


def entry(sam, ergas, q2n):
    return {"SAM": sam, "ERGAS": ergas, "Q2n": q2n}


def test_the_headline_is_the_fewest_evaluations_within_two_per_cent_in_every_index():
    found = {"a": entry(1.0, 2.0, 0.90), "b": entry(1.01, 2.03, 0.895), "c": entry(1.0, 2.1, 0.90)}
    assert analysis.headline(found, {"a": 25, "b": 10, "c": 1}) == "b"
    assert analysis.headline({**found, "c": entry(1, 2, 0.88)}, {"a": 25, "b": 10, "c": 1}) == "b"


def test_without_a_sampler_near_every_best_the_headline_is_the_one_of_least_ergas():
    found = {"a": entry(1.0, 3.0, 0.9), "b": entry(2.0, 2.0, 0.9)}
    assert analysis.headline(found, {"a": 1, "b": 50}) == "b"


def test_scores_weigh_scenes_equally_however_many_seeds_they_have():
    rows = [
        {"scene": "x", "name": "m", **entry(1.0, 1.0, 1.0)},
        {"scene": "x", "name": "m", **entry(3.0, 1.0, 1.0)},
        {"scene": "y", "name": "m", **entry(4.0, 1.0, 1.0)},
    ]
    assert analysis.scores(rows)["m"]["SAM"] == pytest.approx(3.0)


def test_the_pareto_front_holds_only_those_that_nobody_beats_in_both():
    points = {"slow good": (9, 1.0), "fast bad": (1, 3.0), "beaten": (5, 3.5), "middle": (2, 2.0)}
    assert analysis.pareto(points) == ["fast bad", "middle", "slow good"]


def test_the_slope_of_a_power_law_is_its_exponent():
    assert analysis.slope([1, 10, 100], [3, 30, 300]) == pytest.approx(1.0)
    assert analysis.slope([1, 4, 16], [1, 2, 4]) == pytest.approx(0.5)


def test_a_round_robin_gives_long_calls_fewer_rounds_but_one_at_least(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(measure, "synchronised_time", lambda: clock[0])

    def lasting(seconds):
        def call():
            clock[0] += seconds

        return call

    times = measure.round_robin({"short": lasting(0.5), "long": lasting(30.0)}, budget=10)
    assert times["short"] == {"median": 0.5, "q1": 0.5, "q3": 0.5, "rounds": 10}
    assert times["long"] == {"median": 30.0, "q1": 30.0, "q3": 30.0, "rounds": 1}
    assert clock[0] == 30.0 + 12 * 0.5  # what is very long is not repeated


def test_sections_of_different_machines_or_versions_are_not_put_into_one_file(tmp_path):
    path = tmp_path / "results.json"
    results.write(path, "latency", MACHINE, [])
    results.write(path, "long", MACHINE | {"date": "later"}, [])
    results.write(path, "cost", MACHINE | {"threads": 1}, [])
    others = (("torch", "2.14"), ("cpu", "Abacus 3"), ("threads", 4), ("operators", "abc"))
    for fact, value in others:
        with pytest.raises(KSDiffError, match=f"{fact} differs"):
            results.write(path, "growth", MACHINE | {fact: value}, [])
        with pytest.raises(KSDiffError, match=f"{fact} differs"):
            results.start(path, ["growth", "latency"], MACHINE | {fact: value})
    with pytest.raises(KSDiffError, match="torch differs"):
        results.write(path, "quality-4", MACHINE | {"torch": "2.14"}, [])
    assert set(results.read(path)) == {"latency", "long", "cost"}
    content = json.loads(path.read_text())
    content["sections"]["long"]["machine"]["cpu"] = "Abacus 9"
    path.write_text(json.dumps(content))
    with pytest.raises(KSDiffError, match="cpu differs"):
        results.read(path)


def test_measuring_everything_again_on_another_machine_starts_the_file_anew(tmp_path):
    path = tmp_path / "results.json"
    results.start(path, ["latency"], MACHINE)  # without a file there is nothing to compare
    for name in ("latency", "cost"):
        results.write(path, name, MACHINE, [{"name": name}])
    results.start(path, ["latency", "cost"], MACHINE)
    assert set(results.read(path)) == {"latency", "cost"}
    # Operations are counted, not timed: theirs may stay.
    results.start(path, ["latency", "cost"], MACHINE | {"cpu": "Abacus 3"})
    assert set(results.read(path)) == {"cost"}
    results.start(path, ["latency", "cost"], MACHINE | {"torch": "2.14"})
    assert results.read(path) == {}


def test_without_a_gpu_the_command_says_how_it_would_run(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["models", "latency", "--device", "cuda"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main() == 0
    assert "python -m benchmarks.models --device cuda" in capsys.readouterr().out


def test_missing_scenes_skip_the_section_with_what_to_do(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("KSDIFF_DATA", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["m", "quality-8", "--json", str(tmp_path / "r.json")])
    monkeypatch.setattr(command, "describe", lambda device: MACHINE)
    assert command.main() == 1
    said = capsys.readouterr().out
    assert "KSDIFF_DATA=DIR" in said and "python -m benchmarks.models quality-8" in said
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    "program, known",
    [("import os; os.kill(os.getpid(), 9)", KSDiffError), ("1 / 0", RuntimeError)],
)
def test_a_program_that_fails_is_told_from_one_that_is_killed(program, known):
    with pytest.raises(known, match="run to measure memory"):
        measure.peak_memory("", program, "cpu")


def test_too_little_memory_skips_a_section_and_other_failures_do_not(monkeypatch, capsys, tmp_path):
    def failing(device, budget):
        torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr("sys.argv", ["m", "growth", "--json", str(tmp_path / "r.json")])
    monkeypatch.setattr(command, "describe", lambda device: MACHINE)
    monkeypatch.setattr(command, "SECTIONS", {"growth": failing})
    assert command.main() == 1
    said = capsys.readouterr().out
    assert "growth: skipped" in said and "python -m benchmarks.models growth" in said
    monkeypatch.setattr(command, "SECTIONS", {"growth": lambda *_: torch.ones(2) @ torch.ones(3)})
    with pytest.raises(RuntimeError):
        command.main()


def test_a_section_that_could_not_stand_in_the_file_is_not_even_measured(
    monkeypatch, capsys, tmp_path
):
    path = tmp_path / "r.json"
    results.write(path, "growth", MACHINE | {"threads": 4}, [])
    monkeypatch.setattr("sys.argv", ["m", "latency", "--json", str(path)])
    monkeypatch.setattr(command, "describe", lambda device: MACHINE)
    monkeypatch.setattr(command, "SECTIONS", {"latency": None})
    assert command.main() == 1
    assert "threads differs" in capsys.readouterr().out


@pytest.mark.parametrize("trained", [(), ("pixel-s",)])
def test_baselines_that_are_not_trained_are_named_with_their_command(
    trained, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    for stem in trained:
        config = training.load_baseline_config(training.CONFIGS / f"{stem}-4band.yaml")
        (tmp_path / config.run_dir).mkdir(parents=True)
        file = tmp_path / config.run_dir / "weights.safetensors"
        training.save_baseline(file, config.build(), config)
    inputs = random_inputs(1, 4, 64, 64)
    scene = Scene("town", inputs, inputs.lms.roll(1, -1), torch.full((1, 4, 1, 1), 300.0))
    monkeypatch.setattr(quality, "SEEDS", (0,))
    monkeypatch.setattr(quality, "_MOST", 4 * 64 * 64)
    monkeypatch.setattr(quality, "_through_sharpener", lambda *_: iter(()))
    monkeypatch.setattr(
        quality, "validation_scenes", lambda config: [scene] if config.model.bands == 4 else []
    )
    with pytest.raises(KSDiffError, match="no validation scenes of 8 bands with truth"):
        quality.quality(8, "cpu", 0)
    rows = quality.quality(4, "cpu", 0)
    said = capsys.readouterr().out
    assert "benchmarks.models.train" in said and "fusionnet-4band.yaml makes it" in said
    assert f"{FEATURES}: skipped" in said and "ksdiff train" in said
    assert (SMALL in said) == (not trained)
    by_mode = {mode: {r["name"] for r in rows if r["mode"] == mode} for mode in (EAGER, BF16)}
    assert {KSDIFF, NO_PRIOR, f"{KSDIFF}, 2 latent steps", "lms"} <= by_mode[EAGER]
    assert {KSDIFF, NO_PRIOR} <= by_mode[BF16]
    samplers = {f"{SMALL}, {name}" for name in ("DDIM-1", "DDIM-4", "DPM-Solver++-4")}
    for names in by_mode.values():
        assert {name for name in names if name.startswith(SMALL)} == (
            samplers if trained else set()
        )


def test_what_is_timed_is_ksdiff_as_it_is_scored(inputs):
    model = KSDiff(small_config()).eval()
    torch.nn.init.normal_(model.network.head.weight)  # untrained it is zero and hides the kernels
    one = type(inputs)(*(tensor[:1] for tensor in inputs))
    with torch.no_grad():
        ways = {c.name: c for c in contenders({KSDIFF: model}, "cpu")}
        noise = torch.Generator().manual_seed(5)
        expected = model.fuse(one, model.estimate_kernels(one, noise))
        assert torch.equal(ways[KSDIFF].run(one, 5), expected)
        assert not torch.equal(ways[NO_PRIOR].run(one), expected)


def test_lagnet_on_unfold_is_the_same_network(inputs):
    torch.manual_seed(0)
    ours = OnePass(4, "lagnet", width=8, blocks=1)
    torch.testing.assert_close(on_unfold(ours)(inputs), ours(inputs))


def test_a_sampler_is_timed_in_the_modes_its_network_is_fastest_in(monkeypatch):
    found = {KSDIFF: KSDiff(small_config()), SMALL: PixelDiffusion(4, widths=(8, 16))}
    clock = {"now": 0.0}
    speed_of = {EAGER: 2.0, BF16: 1.0, COMPILED: 3.0}

    def fake(networks, device, mode):
        def run(inputs, seed=0, *, evaluations):
            clock["now"] += evaluations * speed_of[mode]

        return [
            dataclasses.replace(c, run=functools.partial(run, evaluations=c.evaluations))
            for c in contenders(networks, device, mode)
        ]

    monkeypatch.setattr(speed, "contenders", fake)
    monkeypatch.setattr(measure, "synchronised_time", lambda: clock["now"])
    rows = speed._latency(found, speed_of, "cpu", 4, 1.0)
    modes = {}
    for row in rows:
        modes.setdefault(row["name"], set()).add(row["mode"])
    assert modes[KSDIFF] == modes[f"{SMALL}, DDIM-1"] == set(speed_of)
    # Should bfloat16 turn out to cost quality, the fastest in float32 is there.
    assert modes[f"{SMALL}, DDIM-25"] == modes[f"{SMALL}, DPM-Solver++-4"] == {EAGER, BF16}
    assert f"{SMALL}, DDPM-1000" not in modes


def test_without_a_compiler_the_other_modes_are_measured(monkeypatch, capsys, inputs):
    def broken(*_):
        raise TorchDynamoException("no C++ compiler")

    way = dataclasses.replace(contenders({KSDIFF: KSDiff(small_config())}, "cpu")[0], run=broken)
    assert speed._scout([way], inputs, COMPILED) == {}
    said = capsys.readouterr().out
    assert "no C++ compiler" in said and "python -m benchmarks.models latency" in said
    assert COMPILED in MODES


def test_a_whole_scene_is_timed_with_its_halves_and_its_peak(monkeypatch):
    monkeypatch.setattr(scenes, "SCENES", (64, 128))
    rows = scenes.scene("cpu", 0.0)
    table = {(row["size"], row["name"]): row for row in rows}
    assert set(table) == {(s, n) for s in (64, 128) for n in ("whole", "prior", "network")}
    for size in (64, 128):
        whole = table[size, "whole"]
        halves = table[size, "prior"]["median"] + table[size, "network"]["median"]
        assert 0 < halves < whole["median"]
        assert whole["peak_bytes"] is None or whole["peak_bytes"] > 0
        assert whole["pixels_seen"] == size**2  # one window is enough


def measured() -> dict:
    """A run in which the small U-Net is as good, and twice as slow in one evaluation."""
    one, thousand = f"{SMALL}, DDIM-1", f"{SMALL}, DDPM-1000"
    facts = {"parameters": 5e5, "size": 256, "flops": 3e9}
    cost = [
        {"name": KSDIFF, "family": KSDIFF, "evaluations": 1, **facts},
        {"name": one, "family": SMALL, "evaluations": 1, **facts},
        {"name": thousand, "family": SMALL, "evaluations": 1000, **facts},
        *({"name": n, "family": n, "evaluations": 1, **facts} for n in ("lagnet", UNFOLD)),
        {"name": f"{LARGE}, DDIM-25", "family": LARGE, "evaluations": 25, **facts},
    ]

    def row(name, seconds, size=256, mode=EAGER, bands=8):
        entry = {"name": name, "mode": mode, "size": size, "batch": 1, "bands": bands}
        return entry | {"median": seconds}

    def scored(name, values, mode=EAGER, bands=8, scene="town"):
        entry = {"scene": scene, "size": [9, 9], "name": name, "seed": 0, "mode": mode}
        return (
            entry | {"bands": bands, "trained_steps": 7} | dict(zip(INDEXES, values, strict=True))
        )

    def whole(size, seconds, seen):
        halves = (("whole", 1.0), ("prior", 0.25), ("network", 0.5))
        facts = {"peak_bytes": 2**25, "pixels_seen": seen * size**2}
        return [row(name, share * seconds, size) | facts for name, share in halves]

    tables = {
        "cost": cost,
        "latency": [
            row(KSDIFF, 0.2),
            row(KSDIFF, 0.1, mode=COMPILED),
            row(KSDIFF, 0.01, mode=BF16),
            row(one, 0.4),
            row(one, 0.3, mode=BF16),
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
        "as_it_comes": [
            row(name, seconds, mode=mode)
            for name, seconds in (("lagnet", 0.1), (UNFOLD, 0.8))
            for mode in (EAGER, BF16)
        ],
        "long": [row(KSDIFF, 0.3), row(thousand, 50.0), row(KSDIFF, 0.1, 64)],
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
    return {name: {"machine": MACHINE, "rows": rows} for name, rows in tables.items()}


def test_every_row_is_in_the_fastest_mode_that_leaves_quality_as_it_is():
    found = analysis.Results(measured())
    assert found.fastest(KSDIFF)["mode"] == COMPILED  # bfloat16 costs it quality
    assert found.fastest(f"{SMALL}, DDIM-1")["mode"] == BF16
    assert found.fastest(f"{LARGE}, DDIM-25")["mode"] == BF16  # nobody knows, so it may
    assert found.loss_in_bf16(KSDIFF, 8) == pytest.approx(0.1 / 3)
    assert found.loss_in_bf16(LARGE, 8) is None and found.loss_in_bf16(KSDIFF, 4) is None


def test_ratios_are_of_what_was_measured_in_turn():
    found = analysis.Results(measured())
    assert found.ratio(found.fastest(f"{SMALL}, DDIM-1")) == pytest.approx(3.0)
    # By the section it was measured in: 0.3 s there, not 0.1 s.
    assert found.ratio(found.fastest(f"{SMALL}, DDPM-1000")) == pytest.approx(50 / 0.3)


def test_the_page_names_the_headline_the_ratios_the_scenes_and_the_training(tmp_path):
    found = analysis.Results(measured())
    text = report.page(found)
    one = f"**{SMALL}, DDIM-1** (headline) | 256² | 1 | 0.50 M | 3.0 | 300 ms | 3.00× | bf16"
    assert one in text
    assert "50 s | 167× | eager" in text
    assert f"**{KSDIFF}** | 256² | 1 | 0.50 M | 3.0 | 100 ms | 1.00× | compiled" in text
    assert "town (9×9)" in text and "steps of 8 crops: ksdiff-s 7, pixel U-Net, matched 7." in text
    assert f"| {PIPELINE} |" in text and "1.50 / 2.50 / 0.950" in text
    assert text.index("4 bands: SAM") < text.index("8 bands: SAM")  # two scenes go before one
    assert "log-log slope" in text and "| 1.00 |" in text
    assert "+3.33 %" in text
    readme = f"a\n{report.BEGIN}\nold\n{report.END}\nb\n"
    once = report.filled(readme, report.readme_text(found))
    assert "\nold\n" not in once and report.filled(once, report.readme_text(found)) == once
    for name, save in (("quality.png", plots.save_quality), ("growth.png", plots.save_growth)):
        save(tmp_path / name, found)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_the_claims_follow_from_the_numbers():
    said = "\n".join(claims.claims(analysis.Results(measured())))
    assert (
        "8 bands, 1 scene: the pixel-space model is within 2 % of its best scores from 1 " in said
    )
    assert "takes 3.0 times as long as ksdiff-s (300 ms, bf16, against 100 ms, compiled)" in said
    assert "DDIM-25 takes 90 times (15.5 M, 256²) as long" in said
    assert "DDPM-1000 takes 167 times (matched, 256²) as long" in said
    assert (
        "adaptive_conv2d` is 8.0 times (float32) and 8.0 times (bf16) as fast as on unfold where "
        "freed memory is left to malloc, as PyTorch does by itself, 7.0 times (float32) and 3.0 "
        "times (bf16) as fast as on unfold where it is kept"
    ) in said
    assert "8 bands: on the Pareto front of ERGAS and time are ksdiff-s; of pixel-space" in said
    assert "samplers none. At equal ERGAS none is: none reaches ksdiff-s's." in said
    # At four bands the sampler is both faster and better, and that is said.
    assert f"4 bands: on the Pareto front of ERGAS and time are {SMALL}, DDIM-1; of" in said
    assert "ERGAS is reached by pixel U-Net, matched, DDIM-1 in 0.50 times its time." in said


def test_the_text_on_scenes_tells_windows_and_prior_apart():
    text = claims.scene_text(analysis.Results(measured()))
    # 1 s for 0.066 megapixels, 20 s for 4.19; there the network sees half as much again.
    assert "varies by 220 % through the whole `Sharpener`" in text
    assert "the windows see 1.50 times the scene at 2048², 1.00 times at 256²" in text
    assert "3.81 s/Mpx at 256², 1.19 at 2048², where it takes 5 s once" in text
    assert "everything else 3.58 s per megapixel" in text


def test_an_affine_fit_finds_what_is_paid_once_and_what_by_the_pixel():
    assert analysis.affine([1, 2, 10], [3.5, 4, 8]) == pytest.approx((3, 0.5))
    assert analysis.spread([2, 3, 2.5]) == pytest.approx(0.5)
    text = claims.growth_text(analysis.Results(measured()))  # 0.1 s at 256², 0.4 s at 512²
    assert "takes 0 ms whatever the size and 1.53 s per megapixel" in text
    assert "from 256² on, its time per megapixel varies by 0 %" in text


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_peak_memory_of_a_program_is_not_that_of_the_process_which_started_it():
    ours = np.ones(2**26)  # 512 MiB here are no business of the program's
    found = measure.peak_memory("import numpy as np", "x = np.ones(2**24)", "cpu")
    assert ours[0] == 1 and 2**27 <= found < 2**27 + 2**25

"""What the tables of benchmarks.models say is what the measurements say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers", reason="the baseline's schedulers; pip install '.[test]'")

from benchmarks.models import __main__ as command
from benchmarks.models import measure, report, results
from benchmarks.models.names import KSDIFF, SMALL
from ksdiff.errors import KSDiffError

MACHINE = {"device": "cpu", "cpu": "Abacus 2", "threads": 2, "torch": "2.13", "ksdiff": "0.1"}
MACHINE |= {"cores": 2, "date": "2026-01-02 03:04 UTC"}


def entry(sam, ergas, q2n):
    return {"SAM": sam, "ERGAS": ergas, "Q2n": q2n}


def test_the_headline_is_the_fewest_evaluations_within_two_per_cent_in_every_index():
    found = {"a": entry(1.0, 2.0, 0.90), "b": entry(1.01, 2.03, 0.895), "c": entry(1.0, 2.1, 0.90)}
    assert report.headline(found, {"a": 25, "b": 10, "c": 1}) == "b"
    assert report.headline({**found, "c": entry(1, 2, 0.88)}, {"a": 25, "b": 10, "c": 1}) == "b"


def test_without_a_sampler_near_every_best_the_headline_is_the_one_of_least_ergas():
    found = {"a": entry(1.0, 3.0, 0.9), "b": entry(2.0, 2.0, 0.9)}
    assert report.headline(found, {"a": 1, "b": 50}) == "b"


def test_scores_weigh_scenes_equally_however_many_seeds_they_have():
    rows = [
        {"scene": "x", "name": "m", **entry(1.0, 1.0, 1.0)},
        {"scene": "x", "name": "m", **entry(3.0, 1.0, 1.0)},
        {"scene": "y", "name": "m", **entry(4.0, 1.0, 1.0)},
    ]
    assert report.scores(rows)["m"]["SAM"] == pytest.approx(3.0)


def test_the_pareto_front_holds_only_those_that_nobody_beats_in_both():
    points = {"slow good": (9, 1.0), "fast bad": (1, 3.0), "beaten": (5, 3.5), "middle": (2, 2.0)}
    assert report.pareto(points) == ["fast bad", "middle", "slow good"]


def test_the_slope_of_a_power_law_is_its_exponent():
    assert report.slope([1, 10, 100], [3, 30, 300]) == pytest.approx(1.0)
    assert report.slope([1, 4, 16], [1, 2, 4]) == pytest.approx(0.5)


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
    for fact, value in (("torch", "2.14"), ("cpu", "Abacus 3"), ("threads", 4)):
        with pytest.raises(KSDiffError, match=f"{fact} differs"):
            results.write(path, "growth", MACHINE | {fact: value}, [])
    with pytest.raises(KSDiffError, match="torch differs"):
        results.write(path, "quality", MACHINE | {"torch": "2.14"}, [])
    assert set(results.read(path)) == {"latency", "long", "cost"}
    content = json.loads(path.read_text())
    content["sections"]["long"]["machine"]["cpu"] = "Abacus 9"
    path.write_text(json.dumps(content))
    with pytest.raises(KSDiffError, match="cpu differs"):
        results.read(path)


def test_without_a_gpu_the_command_says_how_it_would_run(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["models", "latency", "--device", "cuda"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main() == 0
    assert "python -m benchmarks.models --device cuda" in capsys.readouterr().out


def test_missing_scenes_skip_the_section_with_what_to_do(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("KSDIFF_DATA", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["m", "quality", "--json", str(tmp_path / "r.json")])
    monkeypatch.setattr(command, "describe", lambda device: MACHINE)
    assert command.main() == 1
    assert "KSDIFF_DATA=DIR" in capsys.readouterr().out
    assert not (tmp_path / "r.json").exists()


def measured() -> dict:
    """A run in which the small U-Net is as good and twice as slow in one evaluation."""
    one, thousand = f"{SMALL}, DDIM-1", f"{SMALL}, DDPM-1000"
    facts = {"parameters": 5e5, "size": 256}
    cost = [
        {"name": KSDIFF, "family": KSDIFF, "evaluations": 1, "flops": 3e9, **facts},
        {"name": one, "family": SMALL, "evaluations": 1, "flops": 3e9, **facts},
        {"name": thousand, "family": SMALL, "evaluations": 1000, "flops": 3e12, **facts},
    ]

    def row(name, seconds, size=256, mode="eager"):
        return {"name": name, "mode": mode, "size": size, "batch": 1, "median": seconds}

    tables = {
        "cost": cost,
        "latency": [row(KSDIFF, 0.2), row(one, 0.4), row(f"{KSDIFF}: network", 0.15)],
        "compiled": [row(KSDIFF, 0.1, mode="compiled")],
        "long": [row(KSDIFF, 0.3), row(thousand, 50.0)],
        "growth": [row(KSDIFF, 0.1), row(KSDIFF, 0.4, 512)],
        "quality": [
            {"scene": "town", "size": [9, 9], "name": name, "seed": 0, "trained_steps": 7}
            | entry(*values)
            for name, values in (
                (KSDIFF, (2.0, 3.0, 0.9)),
                (f"{KSDIFF}, 1 latent steps", (2.0, 3.0, 0.9)),
                (one, (2.0, 3.1, 0.9)),
                (thousand, (2.5, 4.0, 0.8)),
            )
        ],
    }
    return {name: {"machine": MACHINE, "rows": rows} for name, rows in tables.items()}


def test_the_page_names_the_headline_the_ratios_the_scenes_and_the_training(tmp_path):
    found = report.Results(measured())
    text = report.page(found)
    assert f"**{SMALL}, DDIM-1** (headline) | 1 | 0.50 M | 3.0 | 400 ms | 4.00× | eager" in text
    assert "50 s | 500.00×" in text and "take 167 times as long (256 × 256 pixels)" in text
    assert "town (9×9)" in text and "ksdiff-s 7, pixel U-Net, matched 7." in text
    assert f"**{KSDIFF}** | 1 | 0.50 M | 3.0 | 100 ms | 1.00× | compiled" in text
    assert "Pareto front of ERGAS and time: ksdiff-s." in text
    assert "log-log slope" in text and "| 1.00 |" in text
    readme = f"a\n{report.BEGIN}\nold\n{report.END}\nb\n"
    once = report.filled(readme, report.readme_text(found))
    assert "old" not in once and report.filled(once, report.readme_text(found)) == once
    report.save_plot(tmp_path / "plot.png", found)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_peak_memory_of_a_program_is_not_that_of_the_process_which_started_it():
    ours = np.ones(2**26)  # 512 MiB here are no business of the program's
    found = measure.peak_memory("import numpy as np", "x = np.ones(2**24)", "cpu")
    assert ours[0] == 1 and 2**27 <= found < 2**27 + 2**25

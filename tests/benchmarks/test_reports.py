"""Numbers in README and docs are those of the committed results."""

import json
from pathlib import Path

import pytest

from benchmarks import readme, report

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results"


@pytest.fixture
def timings() -> list[dict]:
    found = report.load(sorted(RESULTS.glob("*.json")))
    if not found:
        pytest.skip("no timings in benchmarks/results; make bench measures them")
    return list(found.values())


@pytest.fixture
def quality() -> dict:
    path = RESULTS / "quality.json"
    if not path.exists():
        pytest.skip("no scores in benchmarks/results; ksdiff evaluate --json writes them")
    return json.loads(path.read_text())


def row(scene, method, resolution="reduced", **indexes):
    return {
        **{"scene": scene, "method": method, "resolution": resolution, "seconds": 1.0},
        "indexes": indexes,
    }


QUALITY = {
    "header": {
        "ksdiff": "0.1.0",
        "torch": "2.13.0",
        "date": "2026-01-02T",
        "border": 21,
        "seed": 0,
    },
    "scenes": [
        {"name": "town", "sensor": "wv3", "resolution": "reduced"},
        {"name": "farm", "sensor": "gf2", "resolution": "reduced"},
        {"name": "lake", "sensor": "wv3", "resolution": "full"},
    ],
    "rows": [
        row("town", "exp", SAM=5.0, ERGAS=7.0, Q2n=0.6),
        row("town", "ksdiff", SAM=3.001, ERGAS=2.0, Q2n=0.9),
        row("farm", "exp", SAM=1.0, ERGAS=3.0, Q2n=0.8),
        row("lake", "exp", "full", D_lambda_K=0.1, D_s=0.2, HQNR=0.72),
        row("lake", "ksdiff", "full", D_lambda_K=0.2, D_s=0.1, HQNR=0.72),
    ],
}


def test_quality_table_marks_the_best_of_each_index_and_leaves_gaps_visible():
    text = readme.quality_text(QUALITY)
    assert "| exp | 5.00 / 7.00 / 0.600 | **1.00** / **3.00** / **0.800** |" in text
    assert "| ksdiff | **3.00** / **2.00** / **0.900** | – |" in text
    assert "| exp | **0.100** / 0.200 / **0.720** |" in text


def test_filling_the_readme_twice_changes_nothing_more():
    text = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n"
    once = readme.filled(text, QUALITY)
    assert "old" not in once
    assert once.startswith("before\n") and once.endswith("\nafter\n")
    assert readme.filled(once, QUALITY) == once


def test_the_readme_table_is_the_committed_evaluation(quality):
    text = (ROOT / "README.md").read_text()
    assert readme.filled(text, quality) == text


def test_the_benchmark_page_is_the_committed_results():
    results = report.load(sorted(RESULTS.glob("*.json")))
    text = (ROOT / "docs/benchmarks.md").read_text()
    assert text.startswith(report.markdown(list(results.values())))


def test_committed_timings_are_complete_and_name_no_host(timings):
    for result in timings:
        machine = result["machine_info"]
        needed = {"cpu", "cores", "threads", "torch", "python", "triton", "date", "commit"}
        assert needed <= set(machine)
        assert "node" not in machine
        for entry in result["benchmarks"]:
            assert "data" not in entry["stats"]


def test_every_operator_timing_has_its_competitors_beside_it(timings):
    for result in timings:
        for op in ("dynamic_conv", "lowrank_dynamic_conv", "tucker_kernel"):
            groups: dict[tuple, set] = {}
            for entry in result["benchmarks"]:
                facts = entry["extra_info"]
                if facts["op"] == op:
                    keys = ("dtype", "k", "groups", "direction", "shape")
                    case = tuple(str(facts.get(key)) for key in keys)
                    groups.setdefault(case, set()).add(facts["method"])
            assert all("ksdiff_ops" in methods and len(methods) > 2 for methods in groups.values())


def operator_entry(method, seconds, k=3):
    facts = {"op": "dynamic_conv", "method": method, "dtype": "float32", "k": k, "groups": "1"}
    facts |= {"direction": "forward", "shape": [1, 2, 3, 4], "least_bytes": 10_000_000}
    return {"extra_info": facts, "stats": {"median": seconds}}


def tile_entry(name, mode, seconds):
    facts = {"op": "tile", "name": name, "mode": mode, "shape": [1, 8, 9, 9], "parameters": 1234}
    return {"extra_info": facts, "stats": {"median": seconds}}


def run_cut_short():
    return {
        "machine_info": {"cpu": "Abacus 2", "threads": 2, "copy_gb_per_s": 10.0},
        "benchmarks": [
            operator_entry("ksdiff_ops", 0.002),
            operator_entry("eager shift", 0.005),
            operator_entry("compiled shift", 0.003),
            operator_entry("ksdiff_ops", 0.004, k=5),
            operator_entry("eager shift", 0.02, k=5),
            operator_entry("eager shift", 0.03, k=7),
            tile_entry("prior + fusion", "eager", 0.3),
            tile_entry("base network", "eager", 0.2),
            tile_entry("base network", "compiled", 0.1),
        ],
    }


def test_the_page_gives_ratios_floors_and_gaps():
    text = report.markdown([run_cut_short()])
    row = "| 1×2×3×4 | float32 | {} | 1 | forward | {} |"
    assert row.format(3, "2 ms | 2.0 | 5 ms (2.50×) | 3 ms (1.50×)") in text
    assert row.format(5, "4 ms | 4.0 | 20 ms (5.00×) | ") in text
    assert "| 7 |" not in text
    assert "| prior + fusion | 300 ms |  |" in text
    assert "takes 1.50 times as long" in text


def test_the_plot_is_drawn_from_a_run_cut_short(tmp_path):
    report.save_plot(tmp_path / "plot.png", run_cut_short())
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "seconds, text", [(1.2345, "1.23 s"), (0.04, "40 ms"), (7.891e-4, "789 µs"), (1e-3, "1 ms")]
)
def test_durations_have_three_digits_and_a_fitting_unit(seconds, text):
    assert report.duration(seconds) == text

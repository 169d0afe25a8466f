"""Numbers in README and docs are those of the committed results."""

from pathlib import Path

import pytest

from benchmarks import readme, report, results
from tests.benchmarks.results_of_ops import result

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results"


@pytest.fixture
def timings() -> list[dict]:
    found = results.load_all(sorted(RESULTS.glob("*.json")))
    if not found:
        pytest.skip("no timings in benchmarks/results; make bench measures them")
    return list(found.values())


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


UNMOVED = {"rows": [row("lake", "ksdiff", "full", D_lambda_K=0.3, D_s=0.3, HQNR=0.9)]}
ADAPTED = {
    "bundled": [
        {"scene": "town", "resolution": "reduced", "refused": "too small"},
        {
            **{"scene": "lake", "resolution": "full", "kept": False},
            "indexes": {"D_lambda_K": 0.4, "D_s": 0.4, "HQNR": 0.36},
        },
        {
            **{"scene": "farm", "resolution": "reduced", "kept": True},
            "indexes": {"SAM": 0.5, "ERGAS": 2.5, "Q2n": 0.7},
        },
    ]
}


def test_quality_table_marks_the_best_of_each_index_and_leaves_gaps_visible():
    text = readme.quality_text(QUALITY, QUALITY, UNMOVED, ADAPTED)
    without, beside = text.split("</summary>")
    assert "| exp | 5.00 / 7.00 / 0.600 | 1.00 / 3.00 / **0.800** |" in without
    assert "| exp | 5.00 / 7.00 / 0.600 | **1.00** / **3.00** / **0.800** |" in beside
    assert "| ksdiff --adapt | – | **0.50** / **2.50** / 0.700 |" in without
    assert "method's: town 40 % and 71 %; farm 50 % and 17 % adapted.\n" in without
    assert text.endswith("seed 0. `--adapt` kept the weights on lake.\n")
    assert "| ksdiff | **3.00** / **2.00** / **0.900** | – |" in text
    assert "| exp | **0.100** / 0.200 / 0.720 |" in without
    assert "| ksdiff --no-register --contrast deviations | 0.300 / 0.300 / **0.900** |" in without
    assert "| exp | **0.100** / 0.200 / **0.720** |" in beside


def test_filling_the_readme_twice_changes_nothing_more():
    text = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n"
    once = readme.filled(text, QUALITY, QUALITY, UNMOVED, ADAPTED)
    assert "old" not in once
    assert once.startswith("before\n") and once.endswith("\nafter\n")
    assert readme.filled(once, QUALITY, QUALITY, UNMOVED, ADAPTED) == once


def test_the_readme_table_is_the_committed_evaluation():
    text = (ROOT / "README.md").read_text()
    quality, measured, unmoved, adaptation = readme.committed()
    assert measured["header"]["measured"] and not quality["header"]["measured"]
    assert unmoved["header"]["contrast"] == "deviations" and not unmoved["header"]["register"]
    assert readme.filled(text, quality, measured, unmoved, adaptation) == text


def test_the_benchmark_page_is_the_committed_results(tmp_path):
    paths = map(str, sorted(RESULTS.glob("*.json")))
    report.main([*paths, "--docs", str(tmp_path)])
    docs = ROOT / "docs"
    assert (docs / "benchmarks.md").read_text() == (tmp_path / "benchmarks.md").read_text()
    drawn, kept = (
        {path.name for path in folder.glob("benchmarks-*.png")} for folder in (tmp_path, docs)
    )
    assert drawn == kept


def test_committed_timings_are_complete_and_name_no_host(timings):
    for found in timings:
        machine = found["machine_info"]
        needed = {"cpu", "cores", "threads", "torch", "python", "triton", "date", "commit"}
        assert needed <= set(machine)
        assert "node" not in machine
        for entry in found["benchmarks"]:
            assert "data" not in entry["stats"]


def test_every_operator_timing_has_its_competitors_beside_it(timings):
    for found in timings:
        for entry in found["benchmarks"]:
            forms = entry["extra_info"].get("forms")
            if forms is not None:
                assert "p50" in forms["ksdiff_ops"]
                assert sum("p50" in form for form in forms.values()) > 2


def tile_entry(name, mode, seconds):
    facts = {"op": "tile", "name": name, "mode": mode, "shape": [1, 8, 9, 9], "parameters": 1234}
    return {"extra_info": facts, "stats": {"median": seconds}}


def test_the_page_tells_what_the_prior_costs_of_a_tile_and_leaves_gaps():
    entries = [
        tile_entry("prior + fusion", "eager", 0.3),
        tile_entry("base network", "eager", 0.2),
        tile_entry("base network", "compiled", 0.1),
    ]
    text = report.markdown([result(*entries)])
    assert "| prior + fusion | 300 ms |  |" in text
    assert "takes 1.50 times as long" in text

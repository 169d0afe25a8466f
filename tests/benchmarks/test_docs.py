"""Pages hold the tables of the committed results, and nothing else is generated."""

import re

import pytest

from benchmarks import docs, quality
from benchmarks.markdown import duration
from benchmarks.results import RESULTS, read, write
from ksdiff.errors import KSDiffError
from tests.support.benchmarks import MACHINE


@pytest.mark.parametrize("path", docs.pages(), ids=lambda path: path.name)
def test_a_page_holds_the_committed_results(path):
    page = path.read_text()
    assert docs.filled(page, path.name) == page
    assert page.count(":begin -->") == page.count(":end -->")


def test_every_table_has_its_place_in_a_page():
    text = "".join(path.read_text() for path in docs.pages())
    assert set(docs.BLOCKS) == set(re.findall(r"<!-- ([\w-]+)(?:@[\w./-]+)?:begin", text))


def test_a_block_may_name_another_result_and_an_unknown_block_is_refused():
    begin, end = "<!-- speed-memory@models-cpu-xeon:begin -->", "<!-- speed-memory:end -->"
    page = f"a\n{begin}\nstale text\n{end}\nb\n"
    once = docs.filled(page)
    assert "stale text" not in once and "ksdiff-s | 1024²" in once
    assert once.startswith("a\n") and once.endswith("\nb\n") and docs.filled(once) == once
    with pytest.raises(KSDiffError, match="page: block 'x': expected one of ablation"):
        docs.filled("<!-- x:begin -->\n<!-- x:end -->")


def test_committed_results_name_no_host_and_no_path():
    for path in RESULTS.rglob("*.json"):
        text = path.read_text()
        assert "node" not in text and "/home/" not in text and "/root/" not in text


def test_every_committed_operator_timing_has_its_competitors_beside_it():
    cases = {}
    for row in read(RESULTS / "ops-cpu.json").rows:
        case = tuple(str(row.get(k)) for k in ("op", "shape", "layer", "batch", "out", "kernel"))
        case += tuple(str(row.get(k)) for k in ("groups", "dtype", "direction"))
        cases.setdefault(case, {})[row["form"]] = row
    assert len(cases) > 100
    for forms in cases.values():
        assert "p50" in forms["ksdiff_ops"] and sum("p50" in form for form in forms.values()) > 2


def score(scene, method, resolution="reduced", **indexes):
    return {"scene": scene, "method": method, "resolution": resolution, "indexes": indexes}


@pytest.fixture
def scores(tmp_path):
    """A folder of results: two scenes with truth, one without."""
    head = MACHINE | {"border": 21, "seed": 0}
    tables = {
        "quality": [
            score("town", "exp", SAM=5.0, ERGAS=7.0, Q2n=0.6),
            score("town", "ksdiff", SAM=3.001, ERGAS=2.0, Q2n=0.9),
            score("farm", "exp", SAM=1.0, ERGAS=3.0, Q2n=0.8),
            score("lake", "exp", "full", D_lambda_K=0.1, D_s=0.2, HQNR=0.72),
            score("lake", "ksdiff", "full", D_lambda_K=0.2, D_s=0.1, HQNR=0.72),
        ],
        "quality-unmoved": [score("lake", "ksdiff", "full", D_lambda_K=0.3, D_s=0.3, HQNR=0.9)],
        "adaptation": [
            {"scene": "town", "resolution": "reduced", "method": "bundled, adapted", "refused": ""},
            score("farm", "bundled, adapted", SAM=0.5, ERGAS=2.5, Q2n=0.7),
            score("farm", "left out", SAM=0.1, ERGAS=0.1, Q2n=0.9),
        ],
    }
    for name, rows in tables.items():
        write(tmp_path / f"{name}.json", head, rows)
    return tmp_path


def test_quality_marks_the_best_of_each_index_and_leaves_gaps_visible(scores):
    reduced, full = (
        quality.indexes(scores / "quality.json", resolution) for resolution in ("reduced", "full")
    )
    assert "| exp | 5.00 / 7.00 / 0.600 | 1.00 / 3.00 / **0.800** |" in reduced
    assert "| ksdiff | **3.00** / **2.00** / **0.900** | – |" in reduced
    assert "| ksdiff --adapt | – | **0.50** / **2.50** / 0.700 |" in reduced
    assert "left out" not in reduced and "border 21, seed 0. Abacus 2, 2 threads" in reduced
    assert "| exp | **0.100** / 0.200 / 0.720 |" in full
    assert "| ksdiff --registration off --contrast deviations | 0.300 / 0.300 / **0.900** |" in full


def test_margins_are_those_to_the_best_classical_method(scores):
    text = quality.margins(scores / "quality.json")
    assert "| town | 40 % | 71 % | – | – |" in text and "| farm | – | – | 50 % | 17 % |" in text


@pytest.mark.parametrize(
    "seconds, text", [(1.2345, "1.23 s"), (0.04, "40 ms"), (7.891e-4, "789 µs"), (1e-3, "1 ms")]
)
def test_durations_have_three_digits_and_a_fitting_unit(seconds, text):
    assert duration(seconds) == text

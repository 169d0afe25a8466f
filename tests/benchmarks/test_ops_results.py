"""Results of the operators' benchmarks are put together, compared and shown without mixing."""

import json

import pytest

from benchmarks import compare, merge, report, results
from benchmarks.ops.tables import row
from benchmarks.text import duration
from tests.benchmarks.results_of_ops import entry, form, result


def put(path, content):
    path.write_text(json.dumps(content))
    return path


def test_pieces_of_one_machine_become_one_result_with_its_best_limits():
    pieces = {
        "a": result(entry(3), copy_gb_per_s=9.0, load_before=0.1),
        "b": result(entry(5), copy_gb_per_s=11.0, load_before=0.7),
    }
    merged = results.merge(pieces)
    assert len(merged["benchmarks"]) == 2
    assert merged["machine_info"]["copy_gb_per_s"] == 11.0
    assert merged["machine_info"]["load_before"] == 0.7


@pytest.mark.parametrize("fact", ["cpu", "threads", "torch", "triton", "ksdiff", "operators"])
def test_another_machine_or_version_is_not_merged_and_gets_its_own_section(fact):
    pieces = {"a": result(entry(3)), "b": result(entry(5), **{fact: "other"})}
    with pytest.raises(results.ResultError, match=f"a and b do not go together: {fact}: .*other"):
        results.merge(pieces)
    assert list(results.groups(pieces)) == ["a", "b"]


def test_a_case_measured_twice_is_refused_with_both_files():
    with pytest.raises(results.ResultError, match="a and b both hold test_per_pixel"):
        results.merge({"a": result(entry(3)), "b": result(entry(3, ours=1.0))})


@pytest.mark.parametrize(
    "text, problem",
    [
        ("{", "no JSON"),
        (json.dumps({"machine_info": {"cpu": "x"}, "benchmarks": []}), "lacks copy_gb_per_s"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path, capsys, text, problem):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(SystemExit) as stopped:
        report.main([str(path), "--docs", str(tmp_path)])
    assert str(path) in str(stopped.value) and problem in str(stopped.value)
    assert not (tmp_path / "benchmarks.md").exists()


def test_merge_writes_a_file_that_the_report_takes(tmp_path):
    pieces = [put(tmp_path / f"{n}.json", result(entry(n))) for n in (3, 5)]
    merge.main([str(tmp_path / "cpu.json"), *map(str, pieces)])
    report.main([str(tmp_path / "cpu.json"), "--docs", str(tmp_path)])
    text = (tmp_path / "benchmarks.md").read_text()
    assert text.count("## Abacus 2, 2 threads, PyTorch 2.13.0") == 1


def test_merge_refuses_json_of_another_kind(tmp_path):
    path = put(tmp_path / "quality.json", {"rows": []})
    with pytest.raises(SystemExit, match=r"quality.json: no result"):
        merge.main([str(tmp_path / "out.json"), str(path)])


def test_a_row_counts_speed_up_floor_and_rates():
    one = row(entry()["extra_info"])
    machine = {"copy_gb_per_s": 10.0, "fma_gflop_per_s": 100.0}
    assert one.best == "compiled shift"
    assert one.speed_up == pytest.approx(1.5)
    assert (one.bandwidth, one.rate) == (pytest.approx(5.0), pytest.approx(20.0))
    assert one.floor(machine) == pytest.approx(1e-3)
    assert one.floor(machine | {"fma_gflop_per_s": 10.0}) == pytest.approx(4e-3)


def test_the_page_gives_ours_the_best_form_and_why_one_is_missing():
    text = report.markdown([result(entry(3), entry(5, compiled=None))])
    row_of_three = (
        "| 1×2×4×4 | 3 | 1 | float32 | forward | 2 ms | 1.98 ms – 2.02 ms | 5.0 | 20.0 | 50% | 1.0 "
        "| compiled shift | 3 ms | 1.0 | **1.50×** |"
    )
    assert row_of_three in text
    assert "| eager shift | 5 ms | 1.0 | **2.50×** |" in text
    assert "does not compile: LoweringException: too large" in text
    assert "| 20 ms, 9.0 MB |" in text


def test_pictures_are_drawn_for_what_was_measured(tmp_path):
    sizes = [entry(5, side) for side in (4, 8, 16, 32)]
    both = [entry(k, 8, direction="forward+backward") for k in (3, 5, 7)]
    path = put(tmp_path / "cpu.json", result(*sizes, *both))
    report.main([str(path), "--docs", str(tmp_path)])
    for kind in ("speed-up", "floor", "sizes"):
        picture = tmp_path / f"benchmarks-cpu-{kind}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert f"]({picture.name})" in (tmp_path / "benchmarks.md").read_text()


def test_a_report_of_nothing_says_so(tmp_path):
    report.main(["--docs", str(tmp_path)])
    assert "No results are committed yet" in (tmp_path / "benchmarks.md").read_text()


def test_compare_tells_what_moved_and_not_the_machine_s_drift():
    before = result(*(entry(k) for k in (3, 5, 7)))
    drifted = {"unfold": 22.0, "shift": 5.5, "compiled": 3.3}
    after = result(
        entry(3, ours=2.2, **drifted), entry(5, ours=1.1, **drifted), entry(7, ours=4.4, **drifted)
    )
    found = compare.compare(before, after)
    assert found.drift == pytest.approx(1.1)
    assert [(change.name, round(change.ratio, 2)) for change in found.moved()] == [
        ("dynamic_conv 1×2×4×4 k5 G1 float32 forward", 0.55),
        ("dynamic_conv 1×2×4×4 k7 G1 float32 forward", 2.2),
    ]
    assert "SLOWER" in compare.report(found)


def test_compare_does_not_tell_what_the_percentiles_span():
    noisy = entry(3, ours=2.0)
    noisy["extra_info"]["forms"]["ksdiff_ops"] = form(2.0, spread=0.2)
    found = compare.compare(result(noisy), result(entry(3, ours=2.3)))
    assert not found.moved()
    assert "Nothing moved" in compare.report(found)


def test_compare_names_what_only_one_run_has():
    text = compare.report(compare.compare(result(entry(3)), result(entry(5))))
    assert "Only in the first: dynamic_conv 1×2×4×4 k3" in text
    assert "Only in the second: dynamic_conv 1×2×4×4 k5" in text


def test_compare_refuses_another_machine_unless_told(tmp_path, capsys):
    paths = [
        put(tmp_path / "a.json", result(entry(3))),
        put(tmp_path / "b.json", result(entry(3), cpu="Abacus 3", torch="2.14.0")),
    ]
    with pytest.raises(SystemExit, match="cpu: Abacus 2 / Abacus 3"):
        compare.main(list(map(str, paths)))
    compare.main([*map(str, paths), "--other-machine"])
    shown = capsys.readouterr().out
    assert "Differs: cpu" in shown and "Differs: torch: 2.13.0 / 2.14.0" in shown


@pytest.mark.parametrize(
    "seconds, text", [(1.2345, "1.23 s"), (0.04, "40 ms"), (7.891e-4, "789 µs"), (1e-3, "1 ms")]
)
def test_durations_have_three_digits_and_a_fitting_unit(seconds, text):
    assert duration(seconds) == text

"""Comparing two results shows what moved, and neither noise nor the machine's drift."""

import pytest

from benchmarks import compare
from benchmarks.results import write
from tests.support.benchmarks import MACHINE, rows


def test_what_moved_is_told_from_the_drift_of_the_machine():
    before = rows(3) + rows(5) + rows(7)
    drifted = {"unfold": 22.0, "shift": 5.5, "compiled": 3.3}
    after = rows(3, ours=2.2, **drifted) + rows(5, ours=1.1, **drifted)
    after += rows(7, ours=4.4, **drifted)
    found = compare.compare(before, after)
    assert found.drift == pytest.approx(1.1)
    assert [(change["name"], round(change["ratio"], 2)) for change in found.moved] == [
        ("dynamic_conv 1×2×4×4 5 1 float32 forward ksdiff_ops", 0.5),
        ("dynamic_conv 1×2×4×4 7 1 float32 forward ksdiff_ops", 2.0),
    ]
    assert "SLOWER" in compare.report(found)


def test_what_the_percentiles_span_has_not_moved():
    found = compare.compare(rows(ours=2.0, spread=0.2), rows(ours=2.3))
    assert not found.moved
    assert "None moved" in compare.report(found)


def test_what_only_one_run_has_is_named():
    text = compare.report(compare.compare(rows(3), rows(5)))
    assert "Only in the first: dynamic_conv 1×2×4×4 3 1 float32 forward compiled shift" in text
    assert "Only in the second: dynamic_conv 1×2×4×4 5 1" in text


def test_another_machine_is_refused_unless_wanted_and_a_missing_file_is_named(tmp_path, capsys):
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    write(paths[0], MACHINE, rows())
    write(paths[1], MACHINE | {"processor": "Abacus 3", "torch": "2.14.0"}, rows())
    with pytest.raises(SystemExit, match="processor: Abacus 2 / Abacus 3"):
        compare.main(*paths)
    compare.main(*paths, other_machine=True)
    shown = capsys.readouterr().out
    assert "Differs: processor: Abacus 2 / Abacus 3" in shown and "torch: 2.13.0 / 2.14.0" in shown
    with pytest.raises(SystemExit, match=r"c\.json: No such file"):
        compare.main(paths[0], tmp_path / "c.json")

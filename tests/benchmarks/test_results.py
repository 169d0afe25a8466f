"""The one format of results: written, read, and refused where machines or versions differ."""

import json

import pytest

from benchmarks import results
from ksdiff.errors import KSDiffError
from tests.support.benchmarks import MACHINE, rows


def test_a_result_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "new/ops.json"
    results.write(path, MACHINE, rows())
    assert results.read(path) == (MACHINE, rows())
    assert path.read_text().count('"form"') == sum('"form"' in x for x in path.open())
    results.write(path, MACHINE, [])
    assert results.read(path).rows == []
    assert [file.name for file in path.parent.iterdir()] == ["ops.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"header": {}}'])
def test_a_broken_file_is_refused_by_name(tmp_path, text):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(KSDiffError, match=r"broken\.json: expected JSON with header and rows"):
        results.read(path)
    with pytest.raises(KSDiffError, match=r"none\.json: No such file"):
        results.read(tmp_path / "none.json")


def test_sections_of_other_machines_or_versions_do_not_go_together(tmp_path):
    results.write(tmp_path / "latency.json", MACHINE, [])
    for fact, value in {"torch": "2.14", "processor": "Abacus 3", "threads": 4}.items():
        results.write(tmp_path / "growth.json", MACHINE | {fact: value}, [])
        with pytest.raises(KSDiffError, match=f"growth and latency differ in {fact}: {value}"):
            results.read_folder(tmp_path)
    results.write(tmp_path / "growth.json", MACHINE | {"date": "later"}, [])
    results.write(tmp_path / "cost.json", MACHINE | {"threads": 1}, [])
    found = results.read_folder(tmp_path, untimed=("cost",))
    assert set(found) == {"latency", "growth", "cost"}
    with pytest.raises(KSDiffError, match="threads"):
        results.read_folder(tmp_path)
    results.write(tmp_path / "cost.json", MACHINE | {"ksdiff": "0.2"}, [])
    with pytest.raises(KSDiffError, match="ksdiff"):
        results.read_folder(tmp_path, untimed=("cost",))


def test_a_header_names_what_must_agree_and_no_host(monkeypatch):
    monkeypatch.setattr(results, "limits", lambda device: {name: 9.0 for name in results.LIMITS})
    found = results.header("cpu")
    json.dumps(found)
    wanted = {*results.MACHINE, *results.VERSIONS, *results.LIMITS} - {"cuda"}
    assert wanted <= set(found) and found["gpu"] is None

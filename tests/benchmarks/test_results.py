"""The one format of results: written, read, and refused where machines or versions differ."""

import json

import pytest

from benchmarks import results
from ksdiff.errors import KSDiffError
from ksdiff.runtime import Machine
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


@pytest.mark.parametrize("fact, value", [("torch", "2.14"), ("processor", "Abacus 3")])
def test_rows_of_another_machine_or_version_are_not_joined(tmp_path, fact, value):
    path = tmp_path / "ops.json"
    assert results.kept(path, MACHINE) == (MACHINE, [])
    earlier = MACHINE | {"date": "earlier"}
    results.write(path, earlier, rows())
    assert results.kept(path, MACHINE) == (earlier, rows())
    with pytest.raises(
        KSDiffError, match=rf"ops\.json: measured with another {fact}: .* / {value}"
    ):
        results.kept(path, MACHINE | {fact: value})
    assert results.kept(path, MACHINE | {"threads": 4}, results.VERSIONS).rows == rows()


def test_a_header_names_what_must_agree_and_no_host(monkeypatch):
    monkeypatch.setattr(results, "measure_machine", lambda device: Machine(9e9, 8e9))
    found = results.header("cpu")
    json.dumps(found)
    wanted = {*results.MACHINE, *results.VERSIONS, *results.LIMITS} - {"cuda"}
    assert wanted <= set(found) and found["gpu"] is None
    assert (found["copy_gb_per_s"], found["fma_gflop_per_s"]) == (8.0, 9.0)

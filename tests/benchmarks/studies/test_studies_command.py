"""The command that measures studies writes their results and prints their tables."""

import pytest

from benchmarks.results import read
from benchmarks.studies import STUDIES
from benchmarks.studies import __main__ as command
from tests.support.benchmarks import MACHINE


@pytest.fixture(autouse=True)
def quick_machine(monkeypatch):
    monkeypatch.setattr(command, "header", lambda device: dict(MACHINE))


def test_a_study_is_measured_with_its_options_into_its_file(tmp_path, capsys):
    options = ["graph-memory", "--most-numbers", "3000", "--out", str(tmp_path)]
    command.app(options, standalone_mode=False)  # else it ends the process
    rows = read(tmp_path / "graph-memory.json").rows
    assert {row["network"] for row in rows} == {"small"}
    assert "| small | dynamic_conv 1×1×16×16 k 3×3 G 1 | 0.01 | 0.00 |" in capsys.readouterr().out


def test_what_a_study_needs_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match=r"studies: files: gdal_pansharpen\.py: not on PATH"):
        command.app(["files", "--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_tells_what_it_does(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.app([name, "--help"])
    assert stopped.value.code == 0
    assert "--out" in capsys.readouterr().out

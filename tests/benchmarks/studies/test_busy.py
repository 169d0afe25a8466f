"""The study of a busy machine runs each setting in a process and leaves no loop behind."""

import subprocess
import sys

import pytest

from benchmarks.results import read
from benchmarks.studies import busy
from tests.support.benchmarks import MACHINE


def test_every_setting_is_a_row_and_the_table_has_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(busy, "header", lambda device: dict(MACHINE))
    found = []

    def measured(policy, size):
        found.append((policy, size))
        return {"p20": 1.0, "p50": 2.0, "p80": 3.0, "rounds": 3}

    monkeypatch.setattr(busy, "_in_process", measured)
    path = tmp_path / "busy.json"
    busy.main(["--size", "64", "--json", str(path)])
    assert found == [("unset", 64), ("PASSIVE", 64)] * 2
    assert "omp_wait_policy" not in read(path).header
    shown = capsys.readouterr().out
    assert "| 0 of 2 | unset | 2 s | 1 s – 3 s |" in shown and "| 1 of 2 | PASSIVE |" in shown


@pytest.mark.parametrize("policy, wanted", [("unset", "None"), ("PASSIVE", "PASSIVE")])
def test_a_process_has_the_policy_of_its_setting(monkeypatch, policy, wanted):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    run = subprocess.run

    def child(command, **options):
        shown = "import json, os; print(json.dumps(str(os.environ.get('OMP_WAIT_POLICY'))))"
        return run([sys.executable, "-c", shown], **options)

    monkeypatch.setattr(subprocess, "run", child)
    assert busy._in_process(policy, 64) == wanted


def test_loops_end_with_the_measurement():
    with busy._loops(1) as loops:
        assert loops[0].poll() is None
    assert loops[0].poll() is not None

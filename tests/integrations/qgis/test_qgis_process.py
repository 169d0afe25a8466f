"""The QGIS plugin runs the command: progress, log, errors and cancelling."""

import os
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksdiff.inference.progress import tell_line
from tests.support.qgis import plugin

process = plugin("process")
CLEANS_UP = """
import pathlib, signal, sys, time
part = pathlib.Path(sys.argv[1])
part.write_text("x")
signal.signal(signal.SIGTERM, lambda *_: (part.unlink(), sys.exit(143)))
print("begun", flush=True)
time.sleep(60)
"""
LEAVES_WORKER = """
import pathlib, subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
(pathlib.Path(sys.argv[1]) / ".a.tif.7.part.plain.tif").write_text("x")
print(worker.pid, flush=True)
time.sleep(60)
"""
STUBBORN = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(sys.argv[1]).write_text("x")
print(child.pid, flush=True)
time.sleep(60)
"""


def run(code: str, *words, cancel: bool = False, **more):
    """Whether it ended by itself, its stages and its other lines; cancelled after the first."""
    told, logged = [], []
    ended = process.run(
        [sys.executable, "-c", code, *map(str, words)],
        dict(os.environ),
        progress=lambda *at: told.append(at),
        log=logged.append,
        cancelled=lambda: cancel and bool(logged),
        **more,
    )
    return ended, told, logged


def test_lines_of_progress_are_told_apart_from_the_rest(capsys):
    for done in (0, 1, 2):
        tell_line("Sharpening", done, 2)
    lines = capsys.readouterr().err
    code = (
        f"import sys; sys.stderr.write({lines!r} + 'a note\\n{{\"no\": 1}}\\n'); print('é result')"
    )
    ended, told, logged = run(code)
    assert ended
    assert told == [("Sharpening", done, 2) for done in (0, 1, 2)]
    assert sorted(logged) == ["a note", '{"no": 1}', "é result"]


def test_a_failure_says_what_the_command_said():
    code = "import sys; print('fine'); sys.stderr.write('error: pan: no such file\\n'); sys.exit(1)"
    with pytest.raises(process.CommandFailed, match=r"^pan: no such file$"):
        run(code)
    with pytest.raises(process.CommandFailed, match="exit status 3"):
        run("raise SystemExit(3)")


def test_a_command_that_cannot_be_started_is_named(tmp_path):
    nothing = {"progress": print, "log": print, "cancelled": lambda: False}
    with pytest.raises(process.CommandFailed, match=r"ksdiff cannot be started: No such file"):
        process.run([str(tmp_path / "ksdiff")], {}, **nothing)


def test_cancelling_lets_the_command_remove_what_it_has_begun(tmp_path):
    ended, _, logged = run(CLEANS_UP, tmp_path / "begun", cancel=True)
    assert (ended, logged) == (False, ["begun"])
    assert not list(tmp_path.iterdir())


def test_what_workers_of_a_command_have_begun_is_removed_with_them(tmp_path):
    ended, _, logged = run(LEAVES_WORKER, tmp_path, cancel=True, outputs=[str(tmp_path)])
    assert not ended
    assert not list(tmp_path.iterdir())
    assert ends(int(logged[0]))


def test_a_command_that_does_not_end_is_killed_with_its_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "_GRACE", 0.2)
    part, other = tmp_path / ".a[1].tif.7.part.tif", tmp_path / ".b.tif.7.part.tif"
    other.write_text("of another program")
    ended, _, logged = run(STUBBORN, part, cancel=True, outputs=[str(tmp_path / "a[1].tif")])
    assert not ended
    assert [path.name for path in tmp_path.iterdir()] == [other.name]
    assert ends(int(logged[0]))


def ends(number: int) -> bool:
    """Whether a process has ended, or does within seconds."""
    for _ in range(100):
        if not alive(number):
            return True
        time.sleep(0.1)
    return False


def alive(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


steps = st.lists(
    st.tuples(st.sampled_from(["Starting", "Surveying", "Sharpening", "Other"]), st.integers(0, 9))
)


@given(steps)
def test_the_share_never_falls_and_ends_with_the_last_stage(told):
    share = process.Share({"Starting": 1, "Surveying": 2, "Sharpening": 7})
    seen = [share.percent(stage, done, 9) for stage, done in told]
    assert seen == sorted(seen)
    assert all(0 <= percent <= 100 for percent in seen)
    assert share.percent("Sharpening", 9, 9) == pytest.approx(100)

"""build_support/check_wheel.py, without the downloads."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "build_support/check_wheel.py"
LIBRARY = "0123456789ab"


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("check_wheel", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "built_library", lambda wheel: LIBRARY)
    return module


def outcome(version: str, **changes) -> dict:
    fields = {"torch": version, "library": LIBRARY, "seconds": 1.0, "output": ""}
    counts = {"tests": 9, "failures": 0, "errors": 0, "skipped": 2}
    return fields | counts | changes


def call(script, monkeypatch, check, *options: str) -> int:
    monkeypatch.setattr(script, "check", check)
    monkeypatch.setattr(sys, "argv", ["check_wheel.py", "--wheel", "some.whl", *options])
    return script.main()


def test_one_wheel_goes_through_the_oldest_that_of_ci_and_the_newest(script, monkeypatch, capsys):
    seen = []

    def check(version, wheel, folder, with_dependencies):
        seen.append((version, wheel, with_dependencies))
        return outcome(version)

    assert call(script, monkeypatch, check) == 0
    assert seen == [(name, Path("some.whl"), True) for name in ("2.10.0", "2.13.0", "newest")]
    assert f"| 2.13.0 | {LIBRARY} | 7 | 0 | 2 | 1 |" in capsys.readouterr().out


@pytest.mark.parametrize(("version", "wanted"), [("2.10.0", "torch==2.10.0"), ("newest", "torch")])
def test_the_newest_is_what_pip_finds(script, monkeypatch, tmp_path, version, wanted):
    commands = []

    def run(*command, folder=None):
        commands.append([str(part) for part in command])
        if wanted in commands[-1]:
            raise script.Failed("far enough")

    monkeypatch.setattr(script, "run", run)
    with pytest.raises(script.Failed, match="far enough"):
        script.check(version, Path("some.whl"), tmp_path, True)
    assert commands[-1][-1] == wanted


def test_a_version_that_cannot_be_installed_does_not_keep_the_others_from_running(
    script, monkeypatch, capsys
):
    def check(version, *_):
        if version == "2.10.0":
            raise script.Failed("no matching distribution")
        return outcome(version)

    assert call(script, monkeypatch, check) == 1
    text = capsys.readouterr().out
    assert "| newest |" in text
    assert "PyTorch 2.10.0:\nno matching distribution" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"library": "another"}, "another library than the wheel's was loaded under 9.9"),
        ({"failures": 1, "output": "test_x failed"}, "PyTorch 9.9:\ntest_x failed"),
    ],
)
def test_another_library_or_a_failed_test_is_a_failure(script, monkeypatch, capsys, changes, words):
    check = lambda version, *_: outcome(version, **changes)  # noqa: E731
    assert call(script, monkeypatch, check, "--torch", "9.9") == 1
    assert words in capsys.readouterr().out

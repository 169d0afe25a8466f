"""build_support/check_wheel.py, without the downloads."""

import re
import runpy
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT

FOLDER = ROOT / "build_support"
LIBRARY = b"machine code"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import check_wheel

    return check_wheel


def a_wheel(folder: Path, *, requires: str = "torch>=2.10", tag: str = "py3-none-any", **files):
    """A small file that passes for the operators' wheel, but for what is named; None omits."""
    path = folder / "ksdiff_ops-1.0-py3-none-any.whl"
    needs = f"Requires-Dist: {requires}\nRequires-Dist: triton; extra == 'triton'\n"
    content = {
        "ksdiff_ops/__init__.py": "",
        "ksdiff_ops/py.typed": "",
        "ksdiff_ops/_C.so": LIBRARY,
        "ksdiff_ops-1.0.dist-info/METADATA": f"Name: ksdiff-ops\n{needs}",
        "ksdiff_ops-1.0.dist-info/WHEEL": f"Tag: {tag}\n",
        **files,
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in content.items():
            if text is not None:
                archive.writestr(name, text)
    return path


def row(script, **changes) -> dict:
    usual = {"Python": "3.13.0", "PyTorch": "9.9", "beside PyTorch": "nothing", "seconds": "1"}
    counts = {"passed": 7, "failed": 0, "skipped": 2, "output": ""}
    return usual | counts | {"library": script.library_digest(LIBRARY)} | changes


def call(script, monkeypatch, wheel: Path, check, *options: str) -> int:
    monkeypatch.setattr(script, "check", check)
    monkeypatch.setattr(sys, "argv", ["check_wheel.py", "--wheel", str(wheel), *options])
    return script.main()


def test_one_wheel_goes_through_the_oldest_pytorch_that_of_ci_and_the_newest(
    script, monkeypatch, capsys, tmp_path
):
    seen = []

    def check(python, torch, wheel, folder, *, deps, tests):
        seen.append((python, torch, deps, tests))
        return row(script)

    wheel = a_wheel(tmp_path)
    assert call(script, monkeypatch, wheel, check) == 0
    expected = ("2.10.0", "2.13.0", "newest")
    assert seen == [(sys.executable, torch, True, True) for torch in expected]
    assert "| nothing | 7 | 0 | 2 | 1 |" in capsys.readouterr().out


def test_every_python_meets_every_pytorch(script, monkeypatch, tmp_path):
    seen = []

    def check(python, torch, *_, tests, **__):
        seen.append((python, torch))
        assert not tests
        return row(script, passed="", failed="", skipped="")

    options = ("--python", "a", "b", "--torch", "1", "2", "--quick")
    assert call(script, monkeypatch, a_wheel(tmp_path), check, *options) == 0
    assert seen == [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]


@pytest.mark.parametrize(("version", "wanted"), [("2.10.0", "torch==2.10.0"), ("newest", "torch")])
def test_the_newest_is_what_pip_finds(script, monkeypatch, tmp_path, version, wanted):
    commands = []

    def run(*command, folder=None):
        commands.append([str(part) for part in command])
        if wanted in commands[-1]:
            raise script.Failed("far enough")

    monkeypatch.setattr(script, "run", run)
    with pytest.raises(script.Failed, match="far enough"):
        script.check("python3", version, Path("some.whl"), tmp_path, deps=True, tests=True)
    assert commands[-1][-1] == wanted


def test_an_environment_that_cannot_be_made_does_not_keep_the_others_from_running(
    script, monkeypatch, capsys, tmp_path
):
    def check(python, torch, *_, **__):
        if torch == "2.10.0":
            raise script.Failed("no matching distribution")
        return row(script, PyTorch=torch)

    assert call(script, monkeypatch, a_wheel(tmp_path), check) == 1
    text = capsys.readouterr().out
    assert "| newest |" in text
    assert "PyTorch 2.10.0:\nno matching distribution" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"library": "another"}, "PyTorch 9.9:\nanother library than the wheel's was loaded"),
        ({"failed": 1, "output": "test_x failed"}, "PyTorch 9.9:\ntest_x failed"),
    ],
)
def test_another_library_or_a_failed_test_is_a_failure(
    script, monkeypatch, capsys, tmp_path, changes, words
):
    check = lambda *_, **__: row(script, **changes)  # noqa: E731
    assert call(script, monkeypatch, a_wheel(tmp_path), check, "--torch", "9.9") == 1
    assert words in capsys.readouterr().out


def test_a_wheel_in_order_has_no_problems(script, tmp_path):
    assert script.wheel_contents.problems(a_wheel(tmp_path)) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"ksdiff_ops/py.typed": None}, "ksdiff_ops/py.typed is missing"),
        ({"ksdiff_ops.libs/libc10.so": b""}, "not the operators': ksdiff_ops.libs/libc10.so"),
        ({"ksdiff/__init__.py": ""}, "not the operators': ksdiff/__init__.py"),
        ({"requires": "numpy"}, "it requires numpy, not torch>=2.10"),
        ({"tag": "cp311-cp311-any"}, "it is for cp311-cp311-any, not for every Python"),
    ],
)
def test_what_a_wheel_must_not_hold_is_named(script, tmp_path, changes, problem):
    (told,) = script.wheel_contents.problems(a_wheel(tmp_path, **changes))
    assert problem in told


def test_the_first_calls_pass_and_run_the_examples(monkeypatch, capsys):
    pages = [str(ROOT / "ops/README.md")]
    told = runpy.run_path(str(FOLDER / "first_calls.py"))["main"](pages)
    text = capsys.readouterr().out
    assert told == 0
    assert re.search(r'"examples": 1\b', text)
    assert all(name in text for name in ("dynamic_conv", "tucker_kernel", "adaptive_conv2d"))

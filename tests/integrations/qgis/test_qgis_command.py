"""The QGIS plugin finds the command and keeps QGIS's own environment from it."""

from pathlib import Path

import pytest

from tests.support.qgis import plugin

command = plugin("command")
NOWHERE = {"PATH": "/nowhere"}


def make(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def test_what_is_told_may_be_the_command_or_the_folder_of_its_environment(tmp_path):
    told = make(tmp_path / "env/bin/ksdiff")
    for name in (told, tmp_path / "env", tmp_path / "env/bin", f"  {told} "):
        assert command.find_command(str(name), NOWHERE, tmp_path / "home") == told


def test_what_is_told_is_not_replaced_by_what_is_found(tmp_path):
    make(tmp_path / "home/ksdiff/.venv/bin/ksdiff")
    with pytest.raises(command.CommandMissing, match=r"no is neither .* change ksdiff/command"):
        command.find_command(str(tmp_path / "no"), NOWHERE, tmp_path / "home")


def test_path_comes_before_the_active_environment_and_that_before_the_home_folder(tmp_path):
    home, active, path = (tmp_path / name for name in ("home", "active", "path"))
    environ = {"PATH": str(path), "VIRTUAL_ENV": str(active)}
    make(path / "ksdiff", mode=0o644)  # cannot be run
    for place in (home / "ksdiff/.venv/bin/ksdiff", active / "bin/ksdiff", path / "ksdiff"):
        made = make(place)
        assert command.find_command("", environ, home) == made


def test_a_command_that_is_nowhere_is_missed_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_SYSTEM", ())
    with pytest.raises(command.CommandMissing, match=r"pip install.*ksdiff/command"):
        command.find_command("", NOWHERE, tmp_path)


def test_nothing_of_the_environment_of_qgis_reaches_the_command():
    foreign = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "GDAL_DATA", "PROJ_LIB")
    clean = command.clean_environment({**dict.fromkeys(foreign, "x"), "HOME": "y"})
    assert not set(foreign) & set(clean)
    assert clean["HOME"] == "y"
    assert clean["PYTHONUTF8"] == "1"

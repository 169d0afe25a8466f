"""Where the command ``ksdiff`` is, and the environment it runs in. Needs no QGIS."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

WINDOWS = sys.platform == "win32"
_NAMES = ("ksdiff.exe", "ksdiff.bat", "ksdiff.cmd") if WINDOWS else ("ksdiff",)
_BIN = "Scripts" if WINDOWS else "bin"

# What QGIS sets for its own Python, GDAL and Qt, and what would break those of another environment.
_FOREIGN = (
    *("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH", "DYLD_FALLBACK_LIBRARY_PATH"),
    *("GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_LIB", "PROJ_DATA", "GEOTIFF_CSV"),
    *("QT_PLUGIN_PATH", "QT_QPA_PLATFORM"),
)
# In the home folder, after the environments that are active.
_ENVIRONMENTS = (
    *("ksdiff", "ksdiff/.venv", "KSDiff/.venv", ".venv", "venv", ".virtualenvs/ksdiff"),
    *(".local", ".local/share/pipx/venvs/ksdiff", ".local/share/uv/tools/ksdiff"),
    *("miniforge3/envs/ksdiff", "miniconda3/envs/ksdiff", "mambaforge/envs/ksdiff"),
    *("anaconda3/envs/ksdiff", "micromamba/envs/ksdiff", ".conda/envs/ksdiff"),
)
_SYSTEM = () if WINDOWS else ("/opt/ksdiff", "/usr/local", "/opt/homebrew")


class CommandMissing(Exception):
    """There is no command ``ksdiff``; the message says where it was looked for."""


def find_command(told: str, environ: Mapping[str, str], home: Path) -> Path:
    """The command that is told, or else the first that is found.

    Args:
        told: the command itself or the folder of its environment; empty: look on PATH, then in the
            active environment, then where environments usually lie.

    Raises:
        CommandMissing: there is none. What is told is never replaced by what is found.
    """
    if told.strip():
        place = Path(told.strip()).expanduser()
        for path in (place, *_commands_of(place), *(place / name for name in _NAMES)):
            if _runs(path):
                return path
        raise CommandMissing(
            f"{place} is neither the command ksdiff nor the folder of an environment with it; "
            "change ksdiff/command in Settings ‣ Options ‣ Processing ‣ Providers ‣ KSDiff"
        )
    on_path = shutil.which("ksdiff", path=environ.get("PATH", ""))
    if on_path is not None:
        return Path(on_path)
    for folder in _usual(environ, home):
        for path in _commands_of(folder):
            if _runs(path):
                return path
    raise CommandMissing(
        "the command ksdiff was found neither on PATH nor in the usual places; install KSDiff "
        "(pip install, in any Python environment) and name the command under ksdiff/command in "
        "Settings ‣ Options ‣ Processing ‣ Providers ‣ KSDiff"
    )


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Of QGIS, without what is meant for QGIS's own libraries."""
    clean = {name: value for name, value in environ.items() if name not in _FOREIGN}
    return {**clean, "PYTHONUTF8": "1", "NO_COLOR": "1"}


def _usual(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if environ.get(name):
            yield Path(environ[name])
    yield from (home / name for name in _ENVIRONMENTS)
    yield from map(Path, _SYSTEM)


def _commands_of(environment: Path) -> Iterator[Path]:
    return (environment / _BIN / name for name in _NAMES)


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)

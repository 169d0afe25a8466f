"""Atomic output: checks before the work, a temporary name during it."""

from __future__ import annotations

import contextlib
import glob
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ksdiff.errors import KSDiffError

_ABANDONED = 3600  # seconds since anything was written to a temporary file


def check_output(path: str | Path, overwrite: bool, option: str = "out") -> Path:
    """See that ``path`` can be written, before any work is spent on it.

    Raises:
        KSDiffError: it exists and ``overwrite`` is false, it is a folder, a device, a FIFO or a
            socket, its folder is missing, or nothing can be created there.
    """
    given = Path(path)
    try:
        path = _target(given)
        if path.is_symlink():
            raise KSDiffError(f"{option} {given}: is a symbolic link that leads to itself")
        if path.is_dir():
            raise KSDiffError(f"{option} {given}: is a folder; name a file in it")
        if path.exists() and not path.is_file():
            raise KSDiffError(
                f"{option} {given}: is not a regular file but a device, a FIFO or a socket; "
                "name a file"
            )
        if path.exists() and not overwrite:
            raise KSDiffError(
                f"{option} {given}: exists already; choose another name or pass --overwrite "
                "(overwrite=True in Python)"
            )
        if not path.parent.is_dir():
            raise KSDiffError(
                f"{option} {given}: there is no folder {path.parent}; create it first"
            )
        probe = _temporary(path)
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY | os.O_TRUNC))
        probe.unlink()
    except OSError as error:
        raise KSDiffError(f"{option} {given}: cannot be written: {error.strerror}") from None
    return given


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that takes its place when the block ends without error.

    Until then, and after any error, whatever was under ``path`` stays as it was. Where ``path`` is
    a symbolic link, this is about the file that it leads to; the link stays. Files that GDAL keeps
    beside a raster (NAME.png.aux.xml, NAME.hdr) come along.
    """
    path = _target(path)
    _remove_abandoned(path)
    temporary = _temporary(path)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        # What GDAL kept beside the raster that is replaced would speak of the new one.
        for suffix in (".aux.xml", ".ovr", ".msk"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        for part in _beside(temporary):
            os.replace(part, path.with_name(path.stem + part.name.removeprefix(temporary.stem)))
        os.replace(temporary, path)
    except OSError as error:
        raise KSDiffError(f"{path}: writing failed: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
        for part in _beside(temporary):
            part.unlink(missing_ok=True)


def _target(path: str | Path) -> Path:
    """Where symbolic links lead."""
    return Path(os.path.realpath(path))


def _temporary(path: Path) -> Path:
    """Hidden, and with the ending by which writers choose their format."""
    return path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")


def _beside(temporary: Path) -> list[Path]:
    found = temporary.parent.glob(f"{glob.escape(temporary.stem)}.*")
    return sorted(part for part in found if part != temporary)


def _remove_abandoned(path: Path) -> None:
    """Remove temporary files that crashed runs left for this path.

    An old file only: on a shared disk, a process that is not here may be alive on another machine.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part*"):
        owner = left.name.removeprefix(f".{path.name}.").partition(".part")[0]
        with contextlib.suppress(OSError):
            old = time.time() - left.stat().st_mtime > _ABANDONED
            if old and owner.isdecimal() and not _lives(int(owner)):
                left.unlink()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True

"""The files of a delivery: of a folder, or of an archive as it was downloaded."""

from __future__ import annotations

import os
import re
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ksdiff.errors import KSDiffError

_DEPTH = 4  # folders below the one that is given: an order of Maxar has three
_TAR = re.compile(r"\.(tar|tar\.gz|tgz)$", re.IGNORECASE)
_ZIP = re.compile(r"\.zip$", re.IGNORECASE)


@dataclass(frozen=True)
class Files:
    """Files by their names within the delivery, with ``/`` between folders."""

    place: str  # of the folder or archive, as the user gave it
    names: tuple[str, ...]
    prefix: str  # before a name, for GDAL
    _read: Callable[[str], bytes]

    @classmethod
    def of(cls, path: Path, depth: int = _DEPTH) -> Files:
        """The files of a folder, or of a .tar or .zip archive.

        Args:
            depth: how many folders below it are looked into.

        Raises:
            KSDiffError: it cannot be read, or is neither.
        """
        try:
            if path.is_dir():
                names = sorted(_walk(path, depth))
                return cls(str(path), tuple(names), str(path), lambda n: (path / n).read_bytes())
            if _TAR.search(path.name):
                with tarfile.open(path) as tar:
                    files = (each.name for each in tar.getmembers() if each.isfile())
                    names = sorted(name.removeprefix("./") for name in files)
                return cls(str(path), tuple(names), f"/vsitar/{path.resolve()}", _from_tar(path))
            if _ZIP.search(path.name):
                with zipfile.ZipFile(path) as archive:
                    names = sorted(n for n in archive.namelist() if not n.endswith("/"))
                return cls(str(path), tuple(names), f"/vsizip/{path.resolve()}", _from_zip(path))
        except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise KSDiffError(f"{path}: cannot be read: {error}") from None
        raise KSDiffError(f"{path}: expected a folder or a .tar or .zip archive")

    def matching(self, pattern: str) -> list[str]:
        """Names whose last part matches a regular expression as a whole, in any case."""
        whole = re.compile(pattern, re.IGNORECASE)
        return [name for name in self.names if whole.fullmatch(name.rpartition("/")[2])]

    def gdal(self, name: str) -> str:
        """The name by which GDAL opens a file, and which messages show."""
        return f"{self.prefix}/{name}"

    def text(self, name: str) -> str:
        """The text of a metadata file.

        Raises:
            KSDiffError: it cannot be read.
        """
        try:
            return self._read(name).decode("utf-8-sig", errors="replace")
        except (OSError, KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise KSDiffError(f"{self.gdal(name)}: cannot be read: {error}") from None

    def beside(self, name: str, other: str) -> str:
        """The name of ``other``, as the file ``name`` calls it."""
        folder = name.rpartition("/")[0]
        return os.path.normpath(f"{folder}/{other}" if folder else other).replace(os.sep, "/")

    def only(self, name: str) -> Files:
        """A copy that knows only this file."""
        return replace(self, names=(name,))

    def find(self, name: str) -> str | None:
        """The file of that name, in any case; None where there is none."""
        if name in self.names:
            return name
        return next((each for each in self.names if each.lower() == name.lower()), None)


def is_archive(path: Path) -> bool:
    return bool(_TAR.search(path.name) or _ZIP.search(path.name))


def without_ending(name: str) -> str:
    return _ZIP.sub("", _TAR.sub("", name))


def _walk(folder: Path, depth: int) -> list[str]:
    names: list[str] = []
    for at, folders, files in os.walk(folder):
        inside = Path(at).relative_to(folder)
        if len(inside.parts) >= depth:
            folders.clear()
        names += [(inside / file).as_posix() for file in files]
    return names


def _from_tar(path: Path) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        with tarfile.open(path) as tar:
            names = tar.getnames()
            file = tar.extractfile(name if name in names else f"./{name}")
            return file.read() if file is not None else b""

    return read


def _from_zip(path: Path) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)

    return read

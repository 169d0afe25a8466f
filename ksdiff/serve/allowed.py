"""The rasters that jobs may read."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ksdiff.errors import KSDiffError


class Allowed:
    """Files under roots, and addresses that begin in certain ways.

    Args:
        roots: folders; symbolic links in them count as what they lead to.
        urls: ``https://HOST/FOLDER/`` or ``http://...``.

    Raises:
        KSDiffError: a root that is no folder, an address of another kind.
    """

    def __init__(self, roots: Sequence[str], urls: Sequence[str]) -> None:
        for root in roots:
            if not Path(root).is_dir():
                raise KSDiffError(f"root {root}: there is no such folder")
        self._roots = [Path(root).resolve() for root in roots]
        self._urls = [_split(url) for url in urls]

    def __call__(self, role: str, name: str) -> str:
        """What GDAL is given for a name in a request: a whole path, or the address as it is.

        Raises:
            KSDiffError: nothing that is allowed is there. What else is on the machine is not told.
        """
        if "://" in name:
            return self._address(role, name)
        for root in self._roots:
            path = _file(root, name)
            if path is None:
                continue
            with path.open("rb") as file:
                if file.read(64).lstrip().startswith(b"<"):
                    raise KSDiffError(
                        f"{role} {name}: expected a raster, got a description of other files"
                    )
            return str(path)
        raise KSDiffError(f"{role} {name}: there is no such file in the folders that are served")

    def _address(self, role: str, name: str) -> str:
        scheme, host, path = _split(name)
        for allowed_scheme, allowed_host, folder in self._urls:
            same = (scheme, host) == (allowed_scheme, allowed_host)
            if same and (path == folder or path.startswith(folder.rstrip("/") + "/")):
                return name
        raise KSDiffError(f"{role} {name}: is not among the allowed addresses")

    def hidden(self, text: str) -> str:
        """A message without the places of the roots."""
        for root in self._roots:
            text = text.replace(f"{root}/", "")
        return text


def _file(root: Path, name: str) -> Path | None:
    """Where a name leads, if that is a file under the root."""
    try:
        path = (root / name).resolve()
        return path if path.is_relative_to(root) and path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # links in a circle, a zero byte, too long
        return None


def _split(url: str) -> tuple[str, str, str]:
    """Scheme, host with port, and the path that is really meant."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise KSDiffError(f"{url!r}: is not an address") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise KSDiffError(f"{url}: expected https://HOST/PATH or http://HOST/PATH")
    host = parts.hostname if port is None else f"{parts.hostname}:{port}"
    path = unquote(parts.path)
    if "\\" in path or "%" in path or ".." in path.split("/"):
        raise KSDiffError(f"{url}: expected a plain path without .. in it")
    return parts.scheme, host, posixpath.normpath(path or "/")

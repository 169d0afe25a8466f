"""How to serve: every option once, for Python and for the command."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import Annotated

from ksdiff.errors import KSDiffError


@dataclass(frozen=True)
class ServeOptions:
    """Argument of `ksdiff.serve.serve`, options of ``ksdiff serve``.

    Raises:
        KSDiffError: naming an option with a value that it does not take.
    """

    root: Annotated[
        tuple[str, ...], "Folder whose rasters may be named in jobs. Can be repeated."
    ] = ()
    urls: Annotated[
        tuple[str, ...],
        "Beginning of addresses that jobs may name, https://HOST/FOLDER/. Can be repeated.",
    ] = ()
    host: Annotated[str, "Address to listen at; other machines reach it unless loopback."] = (
        "127.0.0.1"
    )
    port: Annotated[int, "Port to listen at; 0 takes a free one."] = 8000
    token: Annotated[
        str | None,
        "What clients must send as Authorization: Bearer TOKEN. Better in the environment, as "
        "KSDIFF_TOKEN. Needed unless the address is loopback.",
    ] = None
    state: Annotated[str, "Folder for jobs and results; made if it is not there."] = "ksdiff-jobs"
    workers: Annotated[int, "Scenes at a time."] = 1
    queue: Annotated[int, "Jobs that may wait or run; more are refused."] = 100
    megapixels: Annotated[float, "PAN pixels of a scene, in millions, at most."] = 1000.0
    minutes: Annotated[float, "Time for a job, at most."] = 60.0
    keep: Annotated[float, "Hours after which finished jobs and their results are removed."] = 24.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", tuple(self.root))
        object.__setattr__(self, "urls", tuple(self.urls))
        object.__setattr__(self, "token", self.token or os.environ.get("KSDIFF_TOKEN"))
        if not self.root and not self.urls:
            raise KSDiffError("root: name a folder, or urls, of which jobs may take rasters")
        for name in ("workers", "queue", "megapixels", "minutes", "keep"):
            if not getattr(self, name) > 0:
                raise KSDiffError(f"{name}: expected more than 0, got {getattr(self, name)}")
        if not self.token and not self.loopback:
            raise KSDiffError(
                f"host: {self.host} is reached from other machines; set a token (KSDIFF_TOKEN)"
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

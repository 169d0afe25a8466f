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

    root: Annotated[tuple[str, ...], "Folder whose rasters jobs may read. Can be repeated."] = ()
    urls: Annotated[
        tuple[str, ...],
        "Start of addresses that jobs may read, https://HOST/FOLDER/. Can be repeated.",
    ] = ()
    host: Annotated[
        str, "Address to listen on; other machines can reach it unless it is loopback."
    ] = "127.0.0.1"
    port: Annotated[int, "Port to listen on; 0 chooses a free one."] = 8000
    token: Annotated[
        str | None,
        "Token that clients send as Authorization: Bearer TOKEN. Better set in the environment, "
        "as KSDIFF_TOKEN. Required unless the address is loopback.",
    ] = None
    state: Annotated[str, "Folder for jobs and results; created if missing."] = "ksdiff-jobs"
    workers: Annotated[int, "Scenes that are fused at a time."] = 1
    queue: Annotated[int, "Jobs that may wait or run; more are refused."] = 100
    megapixels: Annotated[float, "Largest scene, in millions of PAN pixels."] = 1000.0
    minutes: Annotated[float, "Time limit of a job, in minutes."] = 60.0
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

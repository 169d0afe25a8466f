"""Connections on which nothing comes."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 10.0  # seconds for the head of a request, and for its body


class Punctual(H11Protocol):
    """Closes a connection on which no request's head is complete within `PATIENCE`.

    uvicorn waits without a limit for a first request, and after another one every byte starts its
    time anew.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_another_than(None)

    def on_response_complete(self) -> None:
        answered = self.cycle
        super().on_response_complete()
        self._expect_another_than(answered)

    def _expect_another_than(self, last: Any) -> None:
        self.loop.call_later(PATIENCE, self._close_after, last)

    def _close_after(self, last: Any) -> None:
        if self.cycle is last:
            self.transport.close()

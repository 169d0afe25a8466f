"""What is refused before a route sees it: strangers, and requests that are long or late."""

from __future__ import annotations

import asyncio
import hmac

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ksdiff.serve.connections import PATIENCE

_MOST_BODY = 65_536  # bytes
_MOST_HEADERS = 16_384


class Known:
    """Lets in who knows the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                title, asks = "expected Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
                return await _refusal(401, title, asks)(scope, receive, send)
        await self._app(scope, receive, send)


class Bounded:
    """Refuses requests that are long or long in coming."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        read = await _read(scope, receive)
        if not isinstance(read, bytes):
            return await read(scope, receive, send)
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": read, "more_body": False}

        await self._app(scope, replay, send)


async def _read(scope: Scope, receive: Receive) -> bytes | JSONResponse:
    """The body of a request, or why it is refused."""
    close = {"Connection": "close"}
    if sum(len(name) + len(value) for name, value in scope["headers"]) > _MOST_HEADERS:
        return _refusal(431, f"the headers are longer than {_MOST_HEADERS} bytes", close)
    try:
        body = await asyncio.wait_for(_body(receive), PATIENCE)
    except asyncio.TimeoutError:
        return _refusal(408, f"the request did not come within {PATIENCE:g} seconds", close)
    if body is None:
        return _refusal(413, f"the request is longer than {_MOST_BODY} bytes", close)
    return body


async def _body(receive: Receive) -> bytes | None:
    """Of a request; None where it is too long."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _MOST_BODY:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def _refusal(status: int, title: str, headers: dict[str, str]) -> JSONResponse:
    return JSONResponse({"title": title, "status": status}, status, headers)

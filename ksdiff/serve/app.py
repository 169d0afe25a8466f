"""The HTTP side: requests in, jobs and results out."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import MISSING, fields
from datetime import datetime, timezone
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Path, Request
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import ksdiff
from ksdiff.errors import KSDiffError
from ksdiff.inference.options import SharpenOptions
from ksdiff.io.input_options import InputOptions
from ksdiff.io.output_options import OutputOptions
from ksdiff.serve.allowed import Allowed
from ksdiff.serve.options import ServeOptions
from ksdiff.serve.store import DISMISSED, DONE, Full, Job, Store

_MOST_BODY = 65_536  # bytes
_MOST_HEADERS = 16_384
_PATIENCE = 10.0  # seconds for a request's body
_LISTED = 1000  # jobs
_OWN = {"device", "tile", "co"}  # options that are the server's affair
_OGC = "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf"
_TYPES = {".tif": "image/tiff; application=geotiff", ".html": "text/html"}

_Names = Annotated[list[str], Field(min_length=1, max_length=64)]
_Identity = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


class Asked(BaseModel):
    """What to sharpen, and how."""

    model_config = ConfigDict(extra="forbid")

    pan: str | _Names
    ms: str | _Names
    options: dict[str, Any] = {}
    reading: dict[str, Any] = {}
    output: dict[str, Any] = {}
    report: bool = False


class Execution(BaseModel):
    """The same as OGC API - Processes wraps it."""

    inputs: Asked


def create_app(
    store: Store, allowed: Allowed, options: ServeOptions, life: Callable[[], Any]
) -> FastAPI:
    """The application.

    Args:
        life: context manager that spans the serving.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with life():
            yield

    app = FastAPI(title="KSDiff", version=ksdiff.__version__, lifespan=lifespan)
    app.add_middleware(_Bounded)
    if options.token:
        app.add_middleware(_Known, token=options.token)
    else:
        # A page in this machine's browser must not reach the server by a name of its own.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=_LOCAL)

    @app.exception_handler(KSDiffError)
    async def refused(_: Request, error: KSDiffError) -> JSONResponse:
        status = 429 if isinstance(error, Full) else 422
        return JSONResponse({"title": allowed.hidden(str(error)), "status": status}, status)

    @app.exception_handler(sqlite3.Error)
    async def full(_: Request, error: sqlite3.Error) -> JSONResponse:
        return JSONResponse({"title": f"jobs cannot be kept: {error}", "status": 507}, 507)

    def accept(asked: Asked, request: Request) -> JSONResponse:
        job = store.add(_checked(asked, allowed), options.queue)
        address = str(request.url_for("job", job=job.id))
        return JSONResponse(_status(job, request), 201, {"Location": address})

    @app.post("/sharpen", status_code=201)
    def sharpen(asked: Asked, request: Request) -> JSONResponse:
        return accept(asked, request)

    @app.post("/processes/sharpen/execution", status_code=201)
    def execute(execution: Execution, request: Request) -> JSONResponse:
        return accept(execution.inputs, request)

    @app.get("/jobs")
    def jobs(request: Request) -> dict:
        return {"jobs": [_status(job, request) for job in store.newest(_LISTED)], "links": []}

    @app.get("/jobs/{job}", name="job")
    def job(job: _Identity, request: Request) -> dict:
        return _status(_found(store, job), request)

    @app.delete("/jobs/{job}")
    def dismiss(job: _Identity, request: Request) -> dict:
        _found(store, job)
        store.dismiss(job)
        return _status(_found(store, job), request)

    @app.get("/jobs/{job}/results")
    def results(job: _Identity, request: Request) -> dict:
        known = _finished(store, job)
        files = {"fused": "fused.tif"} | (
            {"report": "report.html"} if known.request["report"] else {}
        )
        links = {
            name: {"href": str(request.url_for("file", job=job, name=file))}
            for name, file in files.items()
        }
        return {**links, "summary": known.summary}

    @app.get("/jobs/{job}/results/{name}", name="file")
    def file(job: _Identity, name: str) -> FileResponse:
        suffixes = {"fused.tif": ".tif", "report.html": ".html"}
        _finished(store, job)
        path = store.result(job, suffixes.get(name, ".none"))
        if not path.is_file():
            raise HTTPException(404, f"job {job} has no {name}")
        return FileResponse(path, media_type=_TYPES[path.suffix])

    @app.get("/")
    def landing(request: Request) -> dict:
        links = {"processes": "processes", "jobs": "jobs", "conformance": "conformance"}
        base = str(request.base_url)
        return {
            "title": f"KSDiff {ksdiff.__version__}",
            "links": [{"rel": name, "href": base + path} for name, path in links.items()],
        }

    @app.get("/conformance")
    def conformance() -> dict:
        return {
            "conformsTo": [f"{_OGC}/{name}" for name in ("core", "json", "job-list", "dismiss")]
        }

    @app.get("/processes")
    def processes() -> dict:
        return {"processes": [_summary()], "links": []}

    @app.get("/processes/sharpen")
    def process() -> dict:
        return _summary() | {
            "inputs": _inputs(),
            "outputs": {
                "fused": {"schema": {"type": "string", "contentMediaType": _TYPES[".tif"]}},
                "report": {"schema": {"type": "string", "contentMediaType": _TYPES[".html"]}},
            },
        }

    return app


_LOCAL = ["127.0.0.1", "localhost", "[::1]", "::1"]


def _checked(asked: Asked, allowed: Allowed) -> dict:
    """A request as it is stored. Files are looked at here and once more when the job begins."""
    request = asked.model_dump()
    for role in ("pan", "ms"):
        names = request[role]
        request[role] = [names] if isinstance(names, str) else names
        for name in request[role]:
            allowed(role, name)
    for part, kind in _PARTS.items():
        _of(part, kind, request[part])
    return request


_PARTS: dict[str, type] = {
    "options": SharpenOptions,
    "reading": InputOptions,
    "output": OutputOptions,
}


def _of(part: str, kind: type, values: dict[str, Any]) -> None:
    """Raise KSDiffError unless the values are an option's each."""
    known = {each.name: each.default for each in fields(kind) if each.name not in _OWN}
    for name, value in values.items():
        if name not in known:
            raise KSDiffError(f"{part}: unknown {name!r}; expected one of {', '.join(known)}")
        default = known[name]
        kinds = (str, type(None)) if default is None else (type(default),)
        if type(value) not in kinds:
            raise KSDiffError(
                f"{part}: {name}: expected {' or '.join(each.__name__ for each in kinds)}, "
                f"got {value!r}"
            )
    kind(**values)


def _status(job: Job, request: Request) -> dict:
    """As OGC API - Processes says it."""
    said = {
        "jobID": job.id,
        "processID": "sharpen",
        "type": "process",
        "status": job.status,
        "progress": job.progress,
        "message": job.message,
        "links": [{"rel": "self", "href": str(request.url_for("job", job=job.id))}],
    }
    for name in ("created", "started", "finished"):
        at = getattr(job, name)
        if at is not None:
            said[name] = datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")
    return said


def _found(store: Store, job: str) -> Job:
    known = store.get(job)
    if known is None:
        raise HTTPException(404, f"there is no job {job}")
    return known


def _finished(store: Store, job: str) -> Job:
    known = _found(store, job)
    if known.status == DISMISSED:
        raise HTTPException(410, f"job {job} was dismissed")
    if known.status != DONE:
        raise HTTPException(404, f"job {job} is {known.status}: {known.message}")
    return known


def _summary() -> dict:
    return {
        "id": "sharpen",
        "version": ksdiff.__version__,
        "title": "Fuse a PAN and an MS raster into a sharp MS raster",
        "jobControlOptions": ["async-execute", "dismiss"],
    }


def _inputs() -> dict:
    schema = Asked.model_json_schema()
    inputs = {name: {"schema": each} for name, each in schema["properties"].items()}
    for part, kind in _PARTS.items():
        inputs[part]["schema"] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                each.name: {"default": None if each.default is MISSING else each.default}
                for each in fields(kind)
                if each.name not in _OWN
            },
        }
    return inputs


class _Known:
    """Lets in who knows the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                answer = JSONResponse(
                    {"title": "expected Authorization: Bearer TOKEN", "status": 401},
                    401,
                    {"WWW-Authenticate": "Bearer"},
                )
                return await answer(scope, receive, send)
        await self._app(scope, receive, send)


class _Bounded:
    """Refuses requests that are long or long in coming."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        body = None
        if sum(len(name) + len(value) for name, value in scope["headers"]) > _MOST_HEADERS:
            problem = (431, f"the headers are longer than {_MOST_HEADERS} bytes")
        else:
            problem = (413, f"the request is longer than {_MOST_BODY} bytes")
            try:
                body = await asyncio.wait_for(_body(receive), _PATIENCE)
            except asyncio.TimeoutError:
                problem = (408, f"the request did not come within {_PATIENCE:g} seconds")
        if body is None:
            status, title = problem
            refusal = {"title": title, "status": status}
            answer = JSONResponse(refusal, status, {"Connection": "close"})
            return await answer(scope, receive, send)
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)


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

"""The HTTP side: requests in, jobs and results out."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timezone
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, HTTPException, Path, Request
from fastapi.responses import FileResponse, JSONResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

import ksdiff
from ksdiff.errors import KSDiffError
from ksdiff.serve.allowed import Allowed
from ksdiff.serve.guard import Bounded, Known
from ksdiff.serve.options import ServeOptions
from ksdiff.serve.request import Asked, Execution, checked, described
from ksdiff.serve.store import DISMISSED, DONE, Full, Job, Store

_LISTED = 1000  # jobs
_LOCAL = ["127.0.0.1", "localhost", "[::1]", "::1"]
_OGC = "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf"
_TIFF, _HTML = "image/tiff; application=geotiff", "text/html"
# Of a finished job, by name: its suffix in the store, and its type.
_RESULTS = {"fused.tif": (".tif", _TIFF), "report.html": (".html", _HTML)}

_Identity = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


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
    app.add_middleware(Bounded)
    if options.token:
        app.add_middleware(Known, token=options.token)
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

    for routes in (_asking(store, allowed, options.queue), _jobs(store), _about()):
        app.include_router(routes)
    return app


def _asking(store: Store, allowed: Allowed, most: int) -> APIRouter:
    """Where jobs are taken, while fewer than ``most`` wait."""
    routes = APIRouter()

    def accept(asked: Asked, request: Request) -> JSONResponse:
        job = store.add(checked(asked, allowed), most)
        address = str(request.url_for("job", job=job.id))
        return JSONResponse(_status(job, request), 201, {"Location": address})

    @routes.post("/sharpen", status_code=201)
    def sharpen(asked: Asked, request: Request) -> JSONResponse:
        return accept(asked, request)

    @routes.post("/processes/sharpen/execution", status_code=201)
    def execute(execution: Execution, request: Request) -> JSONResponse:
        return accept(execution.inputs, request)

    return routes


def _jobs(store: Store) -> APIRouter:
    """Jobs, how far they are, and what they have given."""
    routes = APIRouter()

    @routes.get("/jobs")
    def jobs(request: Request) -> dict:
        return {"jobs": [_status(job, request) for job in store.newest(_LISTED)], "links": []}

    @routes.get("/jobs/{job}", name="job")
    def job(job: _Identity, request: Request) -> dict:
        return _status(_found(store, job), request)

    @routes.delete("/jobs/{job}")
    def dismiss(job: _Identity, request: Request) -> dict:
        _found(store, job)
        store.dismiss(job)
        return _status(_found(store, job), request)

    @routes.get("/jobs/{job}/results")
    def results(job: _Identity, request: Request) -> dict:
        known = _finished(store, job)
        names = ["fused.tif", "report.html"] if known.request["report"] else ["fused.tif"]
        links = {
            name.partition(".")[0]: {"href": str(request.url_for("file", job=job, name=name))}
            for name in names
        }
        return {**links, "summary": known.summary}

    @routes.get("/jobs/{job}/results/{name}", name="file")
    def file(job: _Identity, name: str) -> FileResponse:
        _finished(store, job)
        suffix, kind = _RESULTS.get(name, (".none", ""))
        path = store.result(job, suffix)
        if not path.is_file():
            raise HTTPException(404, f"job {job} has no {name}")
        return FileResponse(path, media_type=kind)

    return routes


def _about() -> APIRouter:
    """What the server does, as OGC API - Processes says it."""
    routes = APIRouter()

    @routes.get("/")
    def landing(request: Request) -> dict:
        links = {"processes": "processes", "jobs": "jobs", "conformance": "conformance"}
        base = str(request.base_url)
        return {
            "title": f"KSDiff {ksdiff.__version__}",
            "links": [{"rel": name, "href": base + path} for name, path in links.items()],
        }

    @routes.get("/conformance")
    def conformance() -> dict:
        return {
            "conformsTo": [f"{_OGC}/{name}" for name in ("core", "json", "job-list", "dismiss")]
        }

    @routes.get("/processes")
    def processes() -> dict:
        return {"processes": [_summary()], "links": []}

    @routes.get("/processes/sharpen")
    def process() -> dict:
        outputs = {
            name: {"schema": {"type": "string", "contentMediaType": kind}}
            for name, kind in (("fused", _TIFF), ("report", _HTML))
        }
        return _summary() | {"inputs": described(), "outputs": outputs}

    return routes


def _summary() -> dict:
    return {
        "id": "sharpen",
        "version": ksdiff.__version__,
        "title": "Fuse a PAN and an MS raster into a sharp MS raster",
        "jobControlOptions": ["async-execute", "dismiss"],
    }


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

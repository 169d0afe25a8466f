"""The server as a process."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn

from ksdiff.errors import KSDiffError
from ksdiff.inference.options import SharpenOptions
from ksdiff.serve.allowed import Allowed
from ksdiff.serve.app import create_app
from ksdiff.serve.connections import PATIENCE, Punctual
from ksdiff.serve.options import ServeOptions
from ksdiff.serve.store import Store
from ksdiff.serve.worker import Workers

_CONNECTIONS = 256
_HEADERS = 32_768  # bytes that the parser holds; `guard` refuses fewer
_UNREAD = 60_000  # milliseconds that a client may leave an answer on its way


def serve(
    options: ServeOptions,
    sharpen: SharpenOptions | None = None,
    ready: Callable[[str], object] = lambda address: None,
) -> None:
    """Serve until the process is told to end (SIGINT, SIGTERM).

    A job that runs then begins anew with the next process on the same state folder, as it does
    after a kill.

    Args:
        sharpen: what jobs change; ``device`` and ``tile`` are its own.
        ready: takes the address as soon as connections are taken.

    Raises:
        KSDiffError: no such root, a state folder or an address in use, no such device.
    """
    allowed = Allowed(options.root, options.urls)
    with contextlib.closing(Store(options.state)) as store, _listening(options) as listener:
        workers = Workers(store, allowed, options, sharpen or SharpenOptions())

        @contextlib.contextmanager
        def life() -> Iterator[None]:
            workers.start()
            host, port = listener.getsockname()[:2]
            ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
            try:
                yield
            finally:
                workers.stop()

        config = uvicorn.Config(
            create_app(store, allowed, options, life),
            log_level="warning",
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=int(PATIENCE),
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=_HEADERS,
            http=Punctual,
            ws="none",
            server_header=False,
        )
        uvicorn.Server(config).run(sockets=[listener])


@contextlib.contextmanager
def _listening(options: ServeOptions) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        listener = socket.create_server((options.host, options.port), family=family, backlog=256)
    except OSError as error:
        raise KSDiffError(
            f"host {options.host}, port {options.port}: cannot listen there: {error.strerror}"
        ) from None
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; its connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD)
    with listener:
        yield listener

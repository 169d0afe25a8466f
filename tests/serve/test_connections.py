import asyncio

import pytest

uvicorn = pytest.importorskip("uvicorn")
from uvicorn.server import ServerState  # noqa: E402

from ksdiff.serve import connections  # noqa: E402

ASKED = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def slow_answer(scope, receive, send):
    await asyncio.sleep(3 * connections.PATIENCE)
    length = [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": b"done."})


async def trickle(writer):
    """Never a whole head, and never long without a byte."""
    writer.write(b"GET / HTTP/1.1\r\nA: ")
    while True:
        writer.write(b"a")
        await asyncio.sleep(connections.PATIENCE / 10)


async def talk(asked: int) -> list[bytes]:
    """The answers to whole requests on one connection, and what comes when a last one trickles."""
    config = uvicorn.Config(slow_answer, log_level="critical")
    config.load()
    serve = asyncio.get_running_loop().create_server
    server = await serve(lambda: connections.Punctual(config, ServerState(), {}), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        answers = []
        for _ in range(asked):
            writer.write(ASKED)
            answers.append(await reader.readuntil(b"done."))
        sending = asyncio.ensure_future(trickle(writer))
        try:
            answers.append(await asyncio.wait_for(reader.read(), 60))
        except ConnectionResetError:  # bytes were on their way when the server closed it
            answers.append(b"")
        sending.cancel()
        writer.close()
        return answers


@pytest.mark.parametrize("asked", [0, 2])
def test_a_request_that_trickles_ends_and_one_that_computes_goes_on(monkeypatch, asked):
    monkeypatch.setattr(connections, "PATIENCE", 0.1)
    *answers, last = asyncio.run(talk(asked))
    assert len(answers) == asked and all(each.startswith(b"HTTP/1.1 200") for each in answers)
    assert last == b""

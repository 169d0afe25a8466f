"""A client of ``ksdiff serve``."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from tests.support import ROOT

ENDED = ("successful", "failed", "dismissed")


class Service:
    """A server as a process of its own.

    Args:
        arguments: of ``ksdiff serve``.
        token: that it asks for.
    """

    def __init__(self, *arguments, token: str | None = None) -> None:
        self.token = token
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
        if token:
            environment["KSDIFF_TOKEN"] = token
        command = [sys.executable, "-m", "ksdiff", "serve", "--port", "0", *map(str, arguments)]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.address = line.split()[-1]

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, path: str, body=None, method: str | None = None, **headers) -> tuple[int, bytes]:
        """Status and content; ``body`` is sent as JSON, bytes as they are."""
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def connect(self, start: bytes) -> socket.socket:
        """A connection on which so much is sent."""
        host, port = self.address.removeprefix("http://").split(":")
        client = socket.create_connection((host, int(port)), timeout=60)
        client.sendall(start)
        return client

    def json(self, path: str, body=None, method: str | None = None) -> dict:
        status, content = self.ask(path, body, method)
        assert status < 300, content
        return json.loads(content)

    def post(self, **request) -> str:
        """The new job."""
        return self.json("/sharpen", request)["jobID"]

    def wait(self, job: str, *states: str, seconds: float = 240) -> dict:
        """The job's status as soon as it is one of ``states``; by default one of the last."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.json(f"/jobs/{job}")
            if found["status"] in (states or ENDED):
                return found
            time.sleep(0.05)
        raise AssertionError(f"still {found}")

"""A web server of a folder, as a process of its own: GDAL holds Python's lock while it waits.

``python server.py FOLDER`` prints its port. It serves files whole or in ranges; ``/sent`` says how
many bytes it has sent; of files with ``broken`` in their name it has the first 20,000 bytes only,
and files with ``cut`` in their name it stops sending there.
"""

from __future__ import annotations

import functools
import http.server
import sys
from pathlib import Path

_HAS = 20_000


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def do_GET(self) -> None:
        self._serve(body=True)

    def _serve(self, body: bool) -> None:
        path = Path(self.translate_path(self.path))
        if path.name == "sent":
            content = str(self.server.sent).encode()
        elif path.is_file():
            content = path.read_bytes()
        else:
            self.send_error(404)
            return
        asked, size = self.headers.get("Range"), len(content)
        start, _, stop = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
        first, last = int(start), min(int(stop or size - 1), size - 1)
        if "broken" in path.name and last > _HAS:
            self.send_error(500)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if body:
            self.server.sent += last - first + 1
            stop = min(last + 1, _HAS) if "cut" in path.name else last + 1
            self.wfile.write(content[first:stop])


if __name__ == "__main__":
    handler = functools.partial(Handler, directory=sys.argv[1])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.sent = 0
        print(server.server_port, flush=True)
        server.serve_forever()

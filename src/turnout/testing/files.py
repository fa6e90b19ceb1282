"""A file server that does on request what file servers do wrong: break off, change a file, forget a promise."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its path, and the headers `Range` and `If-Range` where it had them."""

    path: str
    range: str | None
    condition: str | None


class FileServer(ThreadingHTTPServer):
    """Serves `content` at `path`, or at every path, on a port of its own while the context is open.

    `breaks_after` is the byte of the content at which an answer breaks off, `status` an error to answer with, `headers`
    are sent along; without `ranges` it ignores what was asked for, without `length` it does not say how much comes.

    >>> from urllib.request import urlopen
    >>> with FileServer(b"rails") as server, urlopen(server.url + "/any") as answer:
    ...     answer.read(), server.asked[0].path
    (b'rails', '/any')
    """

    def __init__(self, content: bytes, *, path: str | None = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.path, self.headers = content, path, headers or {}
        self.breaks_after: int | None = None
        self.status: int | None = None
        self.ranges = self.length = True
        self.asked: list[Asked] = []

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        site, asked = self.server, Asked(self.path, self.headers.get("Range"), self.headers.get("If-Range"))
        site.asked.append(asked)
        if site.status or site.path not in (None, self.path):
            self.send_error(site.status or 404)
            return
        partial = asked.range and site.ranges and asked.condition in (None, *site.headers.values())
        start = int(str(asked.range).removeprefix("bytes=").rstrip("-")) if partial else 0
        if partial and start >= len(site.content):
            self.send_error(416)
            return
        self.send_response(206 if partial else 200)
        if site.length:
            self.send_header("Content-Length", str(len(site.content) - start))
        for name, value in site.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(site.content[start : site.breaks_after])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

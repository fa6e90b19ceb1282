"""Resuming one file: what counts as the same file, and what a server may do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from turnout.models.download import DownloadError, is_offline, resume

CONTENT = bytes(range(256)) * 400


class Server(ThreadingHTTPServer):
    """Serves CONTENT with ranges and the headers it is told to send."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.headers: dict[str, str] = {}
        self.breaks_after: int | None = None
        self.asked: list[tuple[str | None, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append((asked, self.headers.get("If-Range")))
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start > len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(CONTENT[start : self.server.breaks_after])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def quiet(*_: object) -> None:
    """Progress that nobody looks at."""


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"ETag": '"a"', "Last-Modified": "Sun, 22 Nov 2026 15:00:00 GMT"}, '"a"'),
        ({"ETag": 'W/"a"', "Last-Modified": "Sun, 22 Nov 2026 15:00:00 GMT"}, "Sun, 22 Nov 2026 15:00:00 GMT"),
        ({"ETag": 'W/"a"'}, ""),
    ],
)
def test_only_a_strong_validator_continues_a_file_of_unknown_size(
    server: Server, tmp_path: Path, headers: dict[str, str], validator: str
) -> None:
    server.headers, server.breaks_after = headers, 5_000
    part, told = tmp_path / "x.part", list[str]()
    with pytest.raises(DownloadError, match=f"broke off after 5000 of {len(CONTENT)} bytes"):
        resume(server.url, part, quiet, started=told.append)
    assert told == [validator]
    server.breaks_after = None
    got = resume(server.url, part, quiet, validator=told[0])
    assert (got.size, got.validator, part.read_bytes()) == (len(CONTENT), validator, CONTENT)
    assert server.asked[1] == (("bytes=5000-", validator) if validator else (None, None))


def test_a_range_beyond_the_end_starts_again(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    part.write_bytes(b"x" * (len(CONTENT) + 1))
    assert resume(server.url, part, quiet, validator='"old"').size == len(CONTENT)
    assert part.read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_whole_file_is_not_asked_for(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    part.write_bytes(CONTENT)
    assert resume(server.url, part, quiet, size=len(CONTENT)).size == len(CONTENT)
    assert server.asked == []


def test_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, offline in (("1", True), ("0", False), ("", False)):
        monkeypatch.setenv("TURNOUT_OFFLINE", value)
        assert is_offline() is offline

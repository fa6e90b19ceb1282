"""One file over HTTP into a growing part file, continued where it broke off.

Weights and imported data both come through here; who asks for a file checks it and gives it its name.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

CONNECT_S = 3.0
READ_S = 30.0
BLOCK = 1 << 20

Report = Callable[[str, int, int], None]


class DownloadError(Exception):
    """Why there is no file, as the end of a sentence that starts with the server: `answered 404`."""


class Received(NamedTuple):
    """What stands in the part file: its bytes, and the validator (ETag or date) to continue it with, "" if none."""

    size: int
    validator: str


def is_offline() -> bool:
    """Whether TURNOUT_OFFLINE forbids fetching.

    >>> is_offline()
    False
    """
    return os.environ.get("TURNOUT_OFFLINE", "0") not in {"", "0"}


def part_file(file: Path) -> Path:
    """The growing file: always a prefix of the whole."""
    return file.with_name(f"{file.name}.part")


def connects(url: str, limit_s: float = CONNECT_S) -> bool:
    """Whether the server, or the proxy on the way to it, accepts a connection in time, name lookup included."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        parts = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    connected = threading.Event()

    def attempt() -> None:
        try:
            socket.create_connection(address, timeout=limit_s).close()
        except OSError:
            return
        connected.set()

    # A thread, because a name lookup takes no time limit of its own.
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(limit_s)
    return connected.is_set()


def resume(
    url: str,
    part: Path,
    report: Report,
    *,
    size: int | None = None,
    validator: str = "",
    started: Callable[[str], None] = lambda _: None,
) -> Received:
    """Fetch the rest of a file; `report` gets (what happens, bytes so far, bytes in all or 0). Raises DownloadError.

    With a known `size` whatever stands in the part file is continued; without one only where `validator` still names
    the server's file, else it starts again. `started` is told the server's validator before the first byte is written.
    """
    have = part.stat().st_size if part.is_file() and (size is not None or validator) else 0
    if size is not None and have == size:
        return Received(have, validator)
    have = 0 if size is not None and have > size else have
    try:
        return _receive(_request(url, have, validator), part, have, report, size=size, started=started)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            part.unlink()
            return resume(url, part, report, size=size, started=started)
        raise DownloadError(f"answered {error.code}") from error
    except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError) as error:
        raise DownloadError(f"broke off ({type(error).__name__})") from error


def _request(url: str, have: int, validator: str) -> urllib.request.Request:
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and validator:
        headers["If-Range"] = validator
    return urllib.request.Request(url, headers=headers)


def _receive(
    request: urllib.request.Request,
    part: Path,
    have: int,
    report: Report,
    *,
    size: int | None,
    started: Callable[[str], None],
) -> Received:
    with urllib.request.urlopen(request, timeout=READ_S) as response:
        if request.type == "https" and not response.url.lower().startswith("https:"):
            raise DownloadError("leads to an address without TLS")
        validator = _validator(response.headers)
        started(validator)
        have = have if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        length = response.headers.get("Content-Length") or ""
        total = size if size is not None else have + int(length) if length.isdecimal() else None
        with part.open("ab") as out:
            out.truncate(have)
            have = out.seek(0, os.SEEK_END)
            while block := response.read(BLOCK):
                have += len(block)
                if total is not None and have > total:
                    raise DownloadError(f"sends more than the {total} bytes of {part.stem}")
                out.write(block)
                report("downloading", have, total or 0)
    if total is not None and have < total:
        raise DownloadError(f"broke off after {have} of {total} bytes")
    return Received(have, validator)


def _validator(headers: http.client.HTTPMessage) -> str:
    """A strong ETag, else the date of the last change; what If-Range takes."""
    etag = headers.get("ETag") or ""
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified") or ""

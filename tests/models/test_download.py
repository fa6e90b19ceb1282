"""Resuming one file: what counts as the same file, and what a server may do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from turnout.models.download import DownloadError, is_offline, resume
from turnout.testing.files import Asked, FileServer

CONTENT = bytes(range(256)) * 400


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer(CONTENT) as made:
        yield made


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
    server: FileServer, tmp_path: Path, headers: dict[str, str], validator: str
) -> None:
    server.headers, server.breaks_after = headers, 5_000
    part, told = tmp_path / "x.part", list[str]()
    with pytest.raises(DownloadError, match=f"broke off after 5000 of {len(CONTENT)} bytes"):
        resume(f"{server.url}/file", part, quiet, started=told.append)
    assert told == [validator]
    server.breaks_after = None
    got = resume(f"{server.url}/file", part, quiet, validator=told[0])
    assert (got.size, got.validator, part.read_bytes()) == (len(CONTENT), validator, CONTENT)
    assert server.asked[1] == Asked("/file", *(("bytes=5000-", validator) if validator else (None, None)))


def test_a_range_beyond_the_end_starts_again(server: FileServer, tmp_path: Path) -> None:
    server.headers = {"ETag": '"old"'}
    part = tmp_path / "x.part"
    part.write_bytes(b"x" * (len(CONTENT) + 1))
    assert resume(f"{server.url}/file", part, quiet, validator='"old"').size == len(CONTENT)
    assert part.read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_whole_file_is_not_asked_for(server: FileServer, tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    part.write_bytes(CONTENT)
    assert resume(f"{server.url}/file", part, quiet, size=len(CONTENT)).size == len(CONTENT)
    assert server.asked == []


def test_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, offline in (("1", True), ("0", False), ("", False)):
        monkeypatch.setenv("TURNOUT_OFFLINE", value)
        assert is_offline() is offline

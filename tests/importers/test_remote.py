"""Sources on the network: a real HTTP server with ranges and validators, that breaks off, changes and misbehaves."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from turnout.errors import ConfigError, LogError
from turnout.importers import _remote
from turnout.importers._formats import names
from turnout.importers._remote import Fetched, Remote, RemoteFile
from turnout.testing.experts import unused_url
from turnout.testing.files import Asked, FileServer

CONTENT = json.dumps([{"question": "q" * 60_000, "scores": {"m": 1, "n": 0}}]).encode()
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FileServer]:
    monkeypatch.delenv("TURNOUT_OFFLINE", raising=False)
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path / "home"))
    with FileServer(CONTENT, headers={"ETag": '"one"'}) as server:
        yield server


def fetch(source: str | Remote, *, sha256: str | None = None, refresh: bool = False) -> tuple[Path, list[Fetched]]:
    remote = source if isinstance(source, Remote) else _remote.resolve(source, sha256)
    assert remote is not None
    return _remote.fetch(remote, lambda *_: None, refresh=refresh)


def test_a_file_is_fetched_once_and_remembered(site: FileServer) -> None:
    told: list[tuple[str, int, int]] = []
    remote = _remote.resolve(f"{site.url}/data/table.json?x=1")
    assert remote is not None
    path, (got,) = _remote.fetch(remote, lambda *step: told.append(step))
    assert path.read_bytes() == CONTENT
    assert path.name == "table.json"
    assert (got.sha256, got.size, got.changed_from) == (SHA, len(CONTENT), None)
    assert ("table.json: downloading", len(CONTENT), len(CONTENT)) in told
    assert told[-1] == ("table.json: checking", len(CONTENT), len(CONTENT))
    assert fetch(f"{site.url}/data/table.json?x=1") == (path, [got])
    assert len(site.asked) == 1
    assert fetch(f"{site.url}/other/table.json")[0] != path


def test_an_interrupted_file_is_continued(site: FileServer) -> None:
    site.breaks_after = 20_000
    with pytest.raises(LogError, match=r"broke off after 20000 of .*; what came so far is kept"):
        fetch(f"{site.url}/t.json")
    site.breaks_after = None
    path, _ = fetch(f"{site.url}/t.json")
    assert path.read_bytes() == CONTENT
    assert site.asked[1:] == [Asked("/t.json", "bytes=20000-", '"one"')]


def test_a_file_that_changed_meanwhile_starts_again(site: FileServer) -> None:
    site.breaks_after = 20_000
    with pytest.raises(LogError):
        fetch(f"{site.url}/t.json")
    site.breaks_after, site.headers, site.content = None, {"ETag": '"two"'}, b"[]" + CONTENT
    path, _ = fetch(f"{site.url}/t.json")
    assert path.read_bytes() == b"[]" + CONTENT
    assert [asked.range for asked in site.asked] == [None, "bytes=20000-"]


def test_without_validator_or_length_nothing_is_continued(site: FileServer) -> None:
    site.headers, site.breaks_after = {}, 20_000
    with pytest.raises(LogError):
        fetch(f"{site.url}/t.json")
    site.breaks_after, site.length = None, False
    assert fetch(f"{site.url}/t.json")[0].read_bytes() == CONTENT
    assert [asked.range for asked in site.asked] == [None, None]


def test_a_part_file_that_is_longer_than_the_file(site: FileServer) -> None:
    site.breaks_after = 20_000
    with pytest.raises(LogError):
        fetch(f"{site.url}/t.json")
    site.breaks_after, site.content = None, b"[]"
    assert fetch(f"{site.url}/t.json")[0].read_bytes() == b"[]"


def test_a_given_checksum_is_kept(site: FileServer) -> None:
    assert fetch(f"{site.url}/t.json", sha256=SHA.upper())[1][0].sha256 == SHA
    with pytest.raises(LogError, match=r"has SHA-256 .*expected 0000000000000000…; it was deleted"):
        fetch(f"{site.url}/u.json", sha256="0" * 64)
    assert not list(_remote.folder().rglob("u.json*"))
    with pytest.raises(ConfigError, match="64 hexadecimal digits, got 'abc'"):
        fetch(f"{site.url}/t.json", sha256="abc")


def test_a_damaged_copy_is_fetched_again(site: FileServer) -> None:
    path, _ = fetch(f"{site.url}/t.json")
    path.write_bytes(b"[]")
    assert fetch(f"{site.url}/t.json")[0].read_bytes() == CONTENT
    path.with_name("t.json").parent.parent.joinpath("memory.json").write_text("{")
    assert fetch(f"{site.url}/t.json")[0].read_bytes() == CONTENT
    assert len(site.asked) == 3


def test_refresh_tells_that_the_source_changed(site: FileServer) -> None:
    fetch(f"{site.url}/t.json")
    assert fetch(f"{site.url}/t.json", refresh=True)[1][0].changed_from is None
    site.content = b"[]"
    (got,) = fetch(f"{site.url}/t.json", refresh=True)[1]
    assert got.changed_from == SHA
    assert got.path.read_bytes() == b"[]"


def test_offline_uses_the_cache_alone(site: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = fetch(f"{site.url}/t.json")
    monkeypatch.setenv("TURNOUT_OFFLINE", "1")
    assert fetch(f"{site.url}/t.json", refresh=True)[0] == path
    with pytest.raises(LogError, match=r"is not in the cache .* and TURNOUT_OFFLINE is set; unset it, or name a file"):
        fetch(f"{site.url}/u.json")
    path.write_bytes(b"[]")
    with pytest.raises(LogError, match=r"the cached copy of .* is damaged"):
        fetch(f"{site.url}/t.json")
    assert len(site.asked) == 1


def test_what_the_server_says_is_told(site: FileServer) -> None:
    site.status = 404
    with pytest.raises(LogError, match=r"cannot fetch .*/t\.json: 127\.0\.0\.1:\d+ answered 404$"):
        fetch(f"{site.url}/t.json")
    with pytest.raises(LogError, match="did not answer within 3 s"):
        fetch(f"{unused_url()}/t.json")


def test_several_files_make_a_folder(site: FileServer) -> None:
    listed = [RemoteFile(f"{site.url}/{name}", name, SHA, len(CONTENT)) for name in ("a/x.json", "b.json")]
    told: list[str] = []
    path, got = _remote.fetch(Remote("routerdc:x", tuple(listed)), lambda what, *_: told.append(what))
    assert sorted(str(file.relative_to(path)) for file in path.rglob("*.json")) == ["a/x.json", "b.json"]
    assert "1 of 2: x.json: downloading" in told
    assert [file.sha256 for file in got] == [SHA, SHA]
    site.content = CONTENT + b" "
    with pytest.raises(LogError, match="sends more than the"):
        fetch(Remote("routerdc:y", tuple(listed)))


def test_two_at_once_fetch_once(site: FileServer) -> None:
    failures: list[Exception] = []

    def one() -> None:
        try:
            fetch(f"{site.url}/t.json")
        except LogError as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(site.asked) == 1


def test_a_home_that_cannot_be_made(site: FileServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file stands here")
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path / "file"))
    with pytest.raises(LogError, match="cannot keep http"):
        fetch(f"{site.url}/t.json")


def test_addresses() -> None:
    with pytest.raises(ConfigError, match="without TLS anyone on the way can change the file; use https or give"):
        _remote.resolve("http://example.org/x.json")
    assert _remote.resolve("http://example.org/x.json", SHA) is not None
    with pytest.raises(ConfigError, match="names no server"):
        _remote.resolve("https:///x.json")
    shown = {
        "https://github.com/o/r/blob/main/a/b.csv": "https://raw.githubusercontent.com/o/r/main/a/b.csv",
        "https://huggingface.co/datasets/o/r/blob/main/x.pkl": "https://huggingface.co/datasets/o/r/resolve/main/x.pkl",
        "https://example.org/..%2f..%2fetc%2fpasswd": "https://example.org/..%2f..%2fetc%2fpasswd",
    }
    for given, meant in shown.items():
        remote = _remote.resolve(given)
        assert remote is not None
        assert remote.files[0].url == meant
        assert "/" not in remote.files[0].name
        assert not remote.files[0].name.startswith(".")


def test_named_sources() -> None:
    for name, entry in _remote.named().items():
        remote = _remote.resolve(name.replace("*", "gpt-4"))
        assert remote is not None
        assert remote.format in names()
        assert name.partition(":")[0] in names()
        for file in remote.files:
            assert file.url.startswith("https://")
            assert ".." not in file.name
            if "*" not in name and "not pinned" not in entry["title"]:
                assert file.sha256 is not None
                assert len(file.sha256) == 64
            assert ("/main/" in file.url) == ("not pinned" in entry["title"])
        assert entry["title"]
    assert len(_remote.resolve("routellm:mmlu").files) == 58  # type: ignore[union-attr]
    with pytest.raises(
        ConfigError, match=r"unknown source 'routellm:mml'; did you mean 'routellm:mmlu'\? known: alpaca"
    ):
        _remote.resolve("routellm:mml")
    for odd in ("alpacaeval:.hidden", "alpacaeval:a b;c"):
        with pytest.raises(ConfigError, match="may hold letters"):
            _remote.resolve(odd)


def test_paths_are_no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "routellm:mmlu").write_text("a file of that name")
    for path in ("routellm:mmlu", "logs/x.json", "C:\\logs", "other:thing", "x.json"):
        assert _remote.resolve(path) is None

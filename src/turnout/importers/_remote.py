"""Sources on the network: fetched once into Turnout's home, continued where they broke off, checked by SHA-256.

Named sources are pinned to a commit, most with the checksums of their files; of another URL one may be given, else it
is computed, told and remembered, and the cached file is checked against it ever after. With TURNOUT_OFFLINE=1 only
the cache is used. Nothing that is fetched is unpacked or run.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import shutil
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

from turnout import config
from turnout.errors import ConfigError, LogError, did_you_mean
from turnout.models import _lock
from turnout.models.download import CONNECT_S, DownloadError, connects, is_offline, part_file, resume

Progress: TypeAlias = Callable[[str, int, int], None]
SPARE = 64 << 20  # bytes left free beside what is fetched
_WILD = "*"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file: where it is, what it is called in the cache, its checksum and size where they are known."""

    url: str
    name: str
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Remote:
    """What one source consists of. `format` None is found out once it is here."""

    name: str
    files: tuple[RemoteFile, ...]
    format: str | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file in the cache; `changed_from` is the checksum that was remembered where a refresh brought another file."""

    url: str
    path: Path
    sha256: str
    size: int
    changed_from: str | None = None


def folder(home: Path | None = None) -> Path:
    """Where fetched sources live: `imports` in Turnout's home."""
    return (home or config.home()) / "imports"


@cache
def named() -> Mapping[str, Mapping[str, Any]]:
    """Sources with a name, `importer:what`; one that ends in `*` takes any name there."""
    text = files("turnout.importers").joinpath("remotes.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def resolve(source: str, sha256: str | None = None) -> Remote | None:
    """What a name or a URL stands for; None for a path. Raises ConfigError."""
    if re.match(r"https?://", source, re.IGNORECASE):
        return _of_url(source, sha256)
    if Path(source).exists() or not re.fullmatch(r"[a-z_]{2,}:[^/\\]+", source):
        return None
    known, (prefix, _, rest) = named(), source.partition(":")
    name = source if source in known else f"{prefix}:{_WILD}"
    if name not in known:
        if not any(each.startswith(f"{prefix}:") for each in known):
            return None
        raise ConfigError(f"unknown source {source!r}{did_you_mean(source, known)} known: {', '.join(sorted(known))}")
    if not re.fullmatch(r"[\w.+ -]+", rest) or rest.startswith("."):
        raise ConfigError(f"source {source!r}: the name after `:` may hold letters, digits and . _ + - only")
    entry = known[name]
    listed = [
        RemoteFile(
            urllib.parse.quote(entry["base"] + each.replace(_WILD, rest), safe=":/%+@"),
            each.replace(_WILD, rest),
            *(facts or (None, None)),
        )
        for each, facts in entry["files"].items()
    ]
    return Remote(source, tuple(listed), entry["format"], entry["title"])


def fetch(
    remote: Remote, progress: Progress, *, home: Path | None = None, refresh: bool = False
) -> tuple[Path, list[Fetched]]:
    """The file, or the folder of several files, and what was fetched or found in the cache. Raises LogError."""
    into = folder(home) / _key(remote)
    data = into / "data"
    try:
        data.mkdir(parents=True, exist_ok=True)
        with _lock.hold(into / "lock", lambda: progress("waiting for another import", 0, 0)):
            memory = _Memory(into / "memory.json")
            total = len(remote.files)
            done = []
            for i, file in enumerate(remote.files, 1):
                what = f"{i} of {total}: {Path(file.name).name}" if total > 1 else Path(file.name).name
                done.append(_one(file, data, memory, _told(progress, what), refresh))
    except OSError as error:
        raise LogError(f"cannot keep {remote.name} in {into}: {error.strerror or error}") from error
    return (done[0].path if len(done) == 1 else data), done


def _of_url(url: str, sha256: str | None) -> Remote:
    """A single file. Pages of GitHub and of the hub stand for the files they show."""
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ConfigError(f"a SHA-256 has 64 hexadecimal digits, got {sha256!r}")
    url = re.sub(r"^(https://)github\.com/([^/]+/[^/]+)/blob/", r"\1raw.githubusercontent.com/\2/", url)
    url = re.sub(r"^(https://huggingface\.co/(?:datasets/)?[^/]+/[^/]+)/blob/", r"\1/resolve/", url)
    parts = urllib.parse.urlsplit(url)
    if not parts.hostname:
        raise ConfigError(f"{url!r} names no server")
    if parts.scheme.lower() == "http" and sha256 is None and not _is_loopback(parts.hostname):
        raise ConfigError(f"{url}: without TLS anyone on the way can change the file; use https or give its --sha256")
    name = re.sub(r"[^\w.+-]", "_", urllib.parse.unquote(parts.path.rpartition("/")[2])).lstrip(".") or "data"
    return Remote(url, (RemoteFile(url, name[-120:], sha256.lower() if sha256 else None),))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _key(remote: Remote) -> str:
    """A folder's name: readable, and different for different sources."""
    digest = hashlib.sha256("\n".join(file.url for file in remote.files).encode()).hexdigest()[:12]
    return f"{re.sub(r'[^a-zA-Z0-9]+', '-', remote.name).strip('-')[-40:]}-{digest}"


def _told(progress: Progress, name: str) -> Progress:
    return lambda what, done, total: progress(f"{name}: {what}", done, total)


class _Memory:
    """What is known of cached files: checksum, and the validator of one that is still growing."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            known = {}
        self._known: dict[str, Any] = known if isinstance(known, dict) else {}

    def get(self, name: str, what: str) -> str | None:
        entry = self._known.get(name)
        value = entry.get(what) if isinstance(entry, dict) else None
        return value if isinstance(value, str) else None

    def put(self, name: str, **facts: str | None) -> None:
        entry = self._known.get(name)
        self._known[name] = {**(entry if isinstance(entry, dict) else {}), **facts}
        growing = part_file(self.file)
        growing.write_text(json.dumps(self._known, indent=1), encoding="utf-8")
        growing.replace(self.file)


def _one(file: RemoteFile, data: Path, memory: _Memory, progress: Progress, refresh: bool) -> Fetched:
    path = data / file.name
    known = memory.get(file.name, "sha256")
    if path.is_file() and (not refresh or is_offline()):
        found = _digest(path, progress)
        if found == (file.sha256 or known):
            return Fetched(file.url, path, found, path.stat().st_size)
        if is_offline():
            raise LogError(f"{path}: the cached copy of {file.url} is damaged, and TURNOUT_OFFLINE is set")
        path.unlink()
    if is_offline():
        raise LogError(f"{file.url} is not in the cache {data} and TURNOUT_OFFLINE is set; unset it, or name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_file(path)
    _check_room(file, part)
    _download(file, part, memory, progress)
    found = _digest(part, progress)
    if file.sha256 not in (None, found):
        part.unlink()
        wanted = f"expected {str(file.sha256)[:16]}…; it was deleted"
        raise LogError(f"{file.url}: the fetched file has SHA-256 {found[:16]}…, {wanted}")
    part.replace(path)
    memory.put(file.name, url=file.url, sha256=found, validator=None)
    changed = known if known not in (None, found) else None
    return Fetched(file.url, path, found, path.stat().st_size, changed)


def _download(file: RemoteFile, part: Path, memory: _Memory, progress: Progress) -> None:
    server = urllib.parse.urlsplit(file.url).netloc
    if not connects(file.url):
        raise LogError(f"cannot fetch {file.url}: {server} did not answer within {CONNECT_S:g} s")
    try:
        resume(
            file.url,
            part,
            progress,
            size=file.size,
            validator=memory.get(file.name, "validator") or "",
            started=lambda validator: memory.put(file.name, validator=validator),
        )
    except DownloadError as error:
        kept = "; what came so far is kept" if part.is_file() and part.stat().st_size else ""
        raise LogError(f"cannot fetch {file.url}: {server} {error}{kept}") from error


def _check_room(file: RemoteFile, part: Path) -> None:
    free = shutil.disk_usage(part.parent).free
    needed = (file.size or 0) + SPARE
    if free < needed:
        hint = "make room, or set TURNOUT_HOME to a folder on another disk"
        raise LogError(f"{file.url} needs {needed / 1e6:.0f} MB in {part.parent}, {free / 1e6:.0f} MB are free; {hint}")


def _digest(path: Path, progress: Progress) -> str:
    digest, done, size = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as handle:
        while block := handle.read(1 << 22):
            digest.update(block)
            done += len(block)
            progress("checking", done, size)
        os.fsync(handle.fileno())
    return digest.hexdigest()

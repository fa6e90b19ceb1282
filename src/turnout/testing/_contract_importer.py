"""Checks on an importer, on its own made sample, on those of every registered one, and on what nobody wrote."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from turnout import registry
from turnout.errors import ConfigError, LogError
from turnout.testing._contract_component import refusal

__all__ = [
    "damaged_samples_are_log_errors_or_logs",
    "detection_is_exclusive",
    "empty_input_is_a_log_error",
    "garbage_is_a_log_error",
    "options_and_origin_are_stated",
    "other_files_in_a_folder_are_left_alone",
    "own_sample_is_detected",
    "reading_changes_nothing_and_repeats",
    "the_report_adds_up",
]

Make = Callable[..., Any]

GARBAGE = (
    b"\0\xff\xfe\x00garbage",
    b"{",
    b"[[[[",
    b"[" * 200_000,
    b"null",
    b"[null, 1]",
    b'{"a": 1}',
    b'[{"a": 1}]',
    b"a,b\n1\n",
    b'prompt,x\n"open',
    b"PK\x03\x04 not a zip",
    b"\xef\xbb\xbf",
)


def own_sample_is_detected(make: Make) -> None:
    """`detect` knows the sample, and each of its files that names its format; it never raises."""
    made = make()
    with _folder() as folder:
        sample = made.write_sample(folder)
        assert made.detect(sample), "the sample is not detected"
        assert made.detect(folder), "the sample's folder is not detected"
        assert not made.detect(folder / "absent"), "a file that is not there is detected"


def detection_is_exclusive(make: Make) -> None:
    """No registered importer claims this one's sample, and this one claims nobody else's."""
    made = make()
    for name in registry.names("importer"):
        other = registry.get("importer", name)()
        if type(other) is type(made):
            continue
        with _folder() as folder:
            assert not other.detect(made.write_sample(folder)), f"{name} claims the sample too"
        with _folder() as folder:
            assert not made.detect(other.write_sample(folder)), f"the sample of {name} is claimed"


def reading_changes_nothing_and_repeats(make: Make) -> None:
    """Two readings give the same log, of two experts or more, and leave the files as they were."""
    made = make()
    with _folder() as folder:
        sample = made.write_sample(folder)
        before = {file: file.read_bytes() for file in _files(folder)}
        logs = [made.read(sample)[0] for _ in range(2)]
        assert logs[0].fingerprint() == logs[1].fingerprint(), "two readings differ"
        assert len(logs[0].experts) > 1, f"the sample has the experts {logs[0].experts}"
        assert {file: file.read_bytes() for file in _files(folder)} == before, "reading changed the files"


def the_report_adds_up(make: Make) -> None:
    """What was read was kept or dropped, and the counts are the log's."""
    made = make()
    with _folder() as folder:
        log, report = made.read(made.write_sample(folder))
        assert report.read == report.kept + sum(report.dropped.values()), f"the report does not add up: {report}"
        counts = (report.queries, report.experts, report.outcomes)
        assert counts == (len(log), len(log.experts), log.outcomes.height), f"the report is about another log: {report}"
        assert report.outcomes <= report.kept, f"more outcomes than rows: {report}"
        assert report.format == made.name, f"the report names the format {report.format!r}"


def other_files_in_a_folder_are_left_alone(make: Make) -> None:
    """Beside the samples of all other formats and a stray text, only the own files are read."""
    made = make()
    with _folder() as folder:
        alone = made.read(made.write_sample(folder))[0].fingerprint()
        (folder / "README.txt").write_text("nothing to see", encoding="utf-8")
        for name in registry.names("importer"):
            other = registry.get("importer", name)()
            if type(other) is not type(made):
                (folder / f"of_{name}").mkdir()
                other.write_sample(folder / f"of_{name}")
        assert made.read(folder)[0].fingerprint() == alone, "files of other formats were read"


def empty_input_is_a_log_error(make: Make) -> None:
    """An empty file, an empty folder and a path that leads nowhere are LogErrors."""
    made = make()
    with _folder() as folder:
        for path in (folder, folder / "absent", *_named(made, folder, b""), *_named(made, folder, b" \n\n")):
            assert refusal(LogError, lambda path=path: made.read(path)), f"{path.name}: empty input is accepted"  # type: ignore[misc]


def garbage_is_a_log_error(make: Make) -> None:
    """Bytes that are no such file are LogErrors, whatever the file is called, and are not detected."""
    made = make()
    for content in GARBAGE:
        with _folder() as folder:
            for file in _named(made, folder, content):
                assert refusal(LogError, lambda file=file: made.read(file)), f"{content[:20]!r} is accepted"  # type: ignore[misc]
                assert not made.detect(file), f"{content[:20]!r} is detected"


def damaged_samples_are_log_errors_or_logs(make: Make) -> None:
    """A sample that is cut off or has a byte changed gives a log, a LogError or a ConfigError, and nothing else."""
    made = make()
    with _folder() as folder:
        sample = made.write_sample(folder)
        for file in _files(folder):
            whole = file.read_bytes()
            for cut in range(0, len(whole), max(1, len(whole) // 25)):
                for damaged in (whole[:cut], whole[:cut] + b"\xff" + whole[cut + 1 :]):
                    file.write_bytes(damaged)
                    made.detect(sample)
                    refusal((LogError, ConfigError), lambda: made.read(sample))  # type: ignore[arg-type]
            file.write_bytes(whole)


def options_and_origin_are_stated(make: Make) -> None:
    """Title, source, licence, how scores and experts are named and what is lost; a sentence for each parameter."""
    made = make()
    for name in ("title", "source", "licence", "scoring", "naming", "lost"):
        assert getattr(made, name).strip(), f"`{name}` is empty"
    assert made.patterns, "`patterns` is empty"
    told = {*made.common, *made.options}
    assert told == set(made.params()), f"explained are {sorted(told)}, parameters are {sorted(made.params())}"


@contextmanager
def _folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="turnout-contract-"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _named(made: Any, folder: Path, content: bytes) -> list[Path]:
    """A file per pattern with that content, each in a folder of its own."""
    files = []
    for i, pattern in enumerate(made.patterns):
        into = folder / f"case{len(content)}-{i}"
        into.mkdir(exist_ok=True)
        files.append(into / pattern.replace("*", "x"))
        files[-1].write_bytes(content)
    return files

"""What a collection has so far, in append-only files: a killed run goes on where it stopped.

A folder holds `questions.jsonl`, `answers.jsonl` (one line per answer or failure), `judgements.jsonl` (where a model
judges), `settings.json` (how each expert was asked) and, once written, the outcome log (`queries.parquet`,
`outcomes.parquet`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import msgspec
import orjson

from turnout.collect.tasks import Question, as_row
from turnout.errors import ConfigError, LogError

FORMAT = 1
IN_FLIGHT = "in flight"  # a call that began; what came of it follows


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One expert's answer to one question, or its failure (`error`). Cost in US dollars, latency in seconds.

    `guessed` marks token counts that the expert did not report; a `score` of None an answer that its grader failed on.
    """

    query_id: str
    expert: str
    response: str = ""
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    guessed: bool = False
    cost: float = 0.0
    latency: float = 0.0
    score: float | None = 0.0
    logprobs: dict[str, float] | None = None
    error: str | None = None


class Judgement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a judge said of one answer, and the score in [0, 1] that it means; or its failure (`error`)."""

    query_id: str
    expert: str
    judge: str
    score: float = 0.0
    said: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    latency: float = 0.0
    error: str | None = None


class Folder:
    """The files of one collection, held by one process at a time. Raises LogError or ConfigError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._answers_file = (path / "answers.jsonl").open("ab")
            self._questions_file = (path / "questions.jsonl").open("ab")
            self._judgements_file = (path / "judgements.jsonl").open("ab")
        except OSError as error:
            raise LogError(f"cannot write {path}: {error}") from error
        try:
            _lock(self._answers_file, path)
            self.answers: dict[tuple[str, str], Answer] = {}
            self.failures: dict[tuple[str, str], Answer] = {}
            self.judgements: dict[tuple[str, str, str], Judgement] = {}
            self.judge_failed: str | None = None
            self.spent, self._in_flight = 0.0, dict[tuple[str, ...], float]()
            for answer in _read(self._answers_file, path / "answers.jsonl", Answer):
                self._take(answer)
            for judgement in _read(self._judgements_file, path / "judgements.jsonl", Judgement):
                self._take_judgement(judgement)
            rows = _read(self._questions_file, path / "questions.jsonl", dict[str, Any])
            self.questions: dict[str, dict[str, Any]] = {row["id"]: row for row in rows}
        except (ConfigError, LogError):
            self.close()
            raise

    def add_questions(self, questions: Iterable[Question]) -> None:
        """Keep the questions that are new, and those with another target or grader than before, which replace these.

        What a judge said by another target does not count any more.
        """
        new = [row for row in map(as_row, questions) if self.questions.get(row["id"]) != row]
        changed = {row["id"] for row in new if row["target"] != self.questions.get(row["id"], row)["target"]}
        for query_id, expert, judge in [key for key in self.judgements if key[0] in changed]:
            self.add_judgement(
                Judgement(query_id=query_id, expert=expert, judge=judge, error="judged by another target")
            )
        self.questions.update({row["id"]: row for row in new})
        _append(self._questions_file, *new)

    def add(self, answer: Answer) -> None:
        """Keep an answer or a failure; it is with the operating system when this returns."""
        self._take(answer)
        _append(self._answers_file, answer)

    def begin(self, query_id: str, expert: str, most: float) -> None:
        """Keep that a call begins which may cost `most`, so that a killed run's calls count against the cap."""
        if most > 0:
            self.add(Answer(query_id=query_id, expert=expert, cost=most, error=IN_FLIGHT))

    def add_judgement(self, judgement: Judgement) -> None:
        """Keep a judgement or a failure; it is with the operating system when this returns."""
        self._take_judgement(judgement)
        _append(self._judgements_file, judgement)

    def begin_judgement(self, judgement: Judgement) -> None:
        """Keep that a judgement begins which may cost so much."""
        if judgement.cost > 0:
            self.add_judgement(msgspec.structs.replace(judgement, error=IN_FLIGHT))

    def settle(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        """Refuse an expert that was asked in another way before, and keep how each one is asked. Raises ConfigError."""
        file = self.path / "settings.json"
        known: dict[str, Any] = {"format": FORMAT, "experts": {}}
        if file.is_file():
            known = orjson.loads(file.read_bytes())
            if known.get("format") != FORMAT:
                raise LogError(f"{file}: format {known.get('format')!r}, this version of Turnout reads {FORMAT}")
        for name, wanted in settings.items():
            before, now = known["experts"].get(name), orjson.loads(orjson.dumps(wanted))
            if before is not None and before != now:
                changed = ", ".join(f"{k} {before.get(k)!r} -> {v!r}" for k, v in now.items() if before.get(k) != v)
                raise ConfigError(
                    f"{self.path} holds answers of {name} under other settings ({changed}); use a new folder"
                )
            known["experts"][name] = now
        part = file.with_suffix(".part")
        part.write_bytes(orjson.dumps(known, option=orjson.OPT_INDENT_2))
        part.replace(file)

    def close(self) -> None:
        """Let go of the files."""
        self._answers_file.close()
        self._questions_file.close()
        self._judgements_file.close()

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, answer: Answer) -> None:
        key = (answer.query_id, answer.expert)
        self._charge(key, answer)
        if answer.error is None:
            self.answers[key] = answer
            self.failures.pop(key, None)
        elif answer.error != IN_FLIGHT:
            self.failures[key] = answer

    def _take_judgement(self, judgement: Judgement) -> None:
        key = (judgement.query_id, judgement.expert, judgement.judge)
        self._charge(key, judgement)
        if judgement.error is None:
            self.judgements[key] = judgement
        elif judgement.error != IN_FLIGHT:
            self.judge_failed = judgement.error
            self.judgements.pop(key, None)

    def _charge(self, key: tuple[str, ...], record: Answer | Judgement) -> None:
        """Count a cost; what came of a call replaces what it might have cost, which a killed run's call keeps."""
        self.spent += record.cost
        if record.error == IN_FLIGHT:
            self._in_flight[key] = record.cost
        else:
            self.spent -= self._in_flight.pop(key, 0.0)


def _read(handle: BinaryIO, path: Path, kind: Any) -> list[Any]:
    """Every whole line; half a line at the end, which a killed process leaves, is cut off."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        handle.truncate(whole)
    decoder = msgspec.json.Decoder(kind)
    found = []
    for number, line in enumerate(data[:whole].splitlines(), 1):
        try:
            found.append(decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise LogError(f"{path}:{number}: {error}") from error
    return found


def _append(handle: BinaryIO, *records: Any) -> None:
    handle.write(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    handle.flush()


def _lock(handle: BinaryIO, path: Path) -> None:
    """Two runs in one folder would ask twice. Windows has no such lock; there it is the user's care."""
    if os.name != "posix":
        return
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ConfigError(f"{path} is in use by another `turnout collect`") from error

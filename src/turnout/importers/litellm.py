"""LiteLLM: logged requests as `StandardLoggingPayload`, one JSON object per request.

Source: LiteLLM's logging specification: `id`, `call_type`, `status`, `model`, `model_group`, `messages`, `response`,
`response_cost` (US dollars), `prompt_tokens`, `completion_tokens`, `startTime`, `endTime`, `cache_hit`, `metadata`. The
payload may stand under `standard_logging_object`. Buckets hold one file per request, other sinks lines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from turnout.base import OneOf, Rule
from turnout.importers import _chat, _reading
from turnout.importers._grades import Grades
from turnout.importers._reading import Record
from turnout.importers._rows import Rows, as_number
from turnout.importers.base import Importer, Text

__all__ = ["LiteLLM"]

_PATHS = ("score", "metadata.score", "metadata.requester_metadata.score", "metadata.spend_logs_metadata.score")
_TEXT_CALLS = ("completion", "responses", "anthropic_messages")
_UNKNOWN = ("redacted-by-litellm", "default-message-value")  # what stands for messages that were not logged
_WRAPPED = "standard_logging_object"


class LiteLLM(Importer):
    """One query per conversation, one outcome per model that was asked it; asked again it is a repeat.

    Limits: a proxy logs no quality: scores come from a field that you sent along as metadata, or from a file. Failed
    requests and answers from a cache say nothing about an expert and are dropped. Which model answered was somebody's
    choice: without propensities such a log is biased by it.
    """

    title = "LiteLLM request logs"
    source = "docs.litellm.ai, StandardLoggingPayload"
    licence = "yours: the logs of your own proxy"
    scoring = f"from the field `score` names (by default {', '.join(_PATHS)}) or the file `scores`"
    naming = "`model`, or `model_group` with `by`"
    lost = "keys, teams, tags, parameters, guardrails; earlier turns stand in the query's id alone"
    patterns = ("*.jsonl", "*.json")
    options: ClassVar[Mapping[str, str]] = {
        "score": "the dotted path of the field that holds the score",
        "scores": "a file of {id, score} rows (JSON lines or CSV), id as in the payload",
        "by": "`model` (default) that answered, or the `model_group` that was asked for",
    }
    rules: ClassVar[Mapping[str, Rule]] = {
        **Importer.rules,
        "score": Text(),
        "scores": Text(),
        "by": OneOf(("model", "model_group")),
    }

    def __init__(
        self,
        *,
        score: str | None = None,
        scores: str | None = None,
        by: str = "model",
        scale: str | None = None,
        prices: str | None = None,
    ) -> None:
        super().__init__(scale=scale, prices=prices)
        self.score = score
        self.scores = scores
        self.by = by

    def write_sample(self, folder: Path) -> Path:
        """Two models, two questions, and a request that failed."""
        rows = [("a", "small", "Two and two?", 1.0), ("b", "large", "Two and two?", 1.0), ("c", "small", "Why?", 0.0)]
        file = folder / "requests.jsonl"
        with file.open("w", encoding="utf-8") as handle:
            for name, model, text, score in rows:
                payload: dict[str, Any] = {"id": name, "call_type": "acompletion", "status": "success", "model": model}
                payload |= {"model_group": "chat", "response_cost": 0.0002, "prompt_tokens": 10, "completion_tokens": 5}
                payload |= {"startTime": 1737710446.8, "endTime": 1737710447.3, "cache_hit": None}
                payload |= {"messages": [{"role": "user", "content": text}], "metadata": {"score": score}}
                answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "4"}}]}
                handle.write(json.dumps({**payload, "response": answer}) + "\n")
            failed = {"id": "d", "call_type": "acompletion", "status": "failure", "model": "large", "response": None}
            handle.write(json.dumps({**failed, "response_cost": 0, "messages": None, "metadata": {}}) + "\n")
        return file

    def _claims(self, file: Path) -> bool:
        found = _reading.keys(_reading.head(file))
        return _WRAPPED in found or found >= {"call_type", "model", "response_cost"}

    def _read(self, files: Sequence[Path], rows: Rows) -> None:
        grades = Grades(self.scores, (self.score,) if self.score else _PATHS)
        count = 0
        for file in files:
            for where, record in _payloads(file):
                count += self._payload(where, record, rows, grades)
        grades.require(str(files[0]), count)

    def _payload(self, where: str, record: Record, rows: Rows, grades: Grades) -> bool:
        """Whether the row is an answered request, scored or not."""
        if not str(_reading.need(record, "call_type", where, str)).endswith(_TEXT_CALLS):
            rows.drop("not a text completion")
            return False
        if record.get("status", "success") != "success":
            rows.drop("the request failed")
            return False
        if record.get("cache_hit") is True:
            rows.drop("answered from a cache")
            return False
        name, messages = record.get("id"), record.get("messages")
        response = record.get("response")
        asked, answer = _chat.asked(messages), _chat.answer(response)
        before = response if isinstance(response, dict) else {}  # a response says what its request went on with
        hidden = not messages or asked in _UNKNOWN
        if hidden:
            rows.note("some requests were logged without their messages; each is a query of its own")
        rows.add(
            where,
            query_id=f"request/{name or where}" if hidden else _chat.identity_of({**before, "messages": messages}),
            expert=_reading.need(record, self.by, where, str),
            score=grades.of(record, (name, record.get("trace_id"))),
            run=str(name or where),
            prompt=None if hidden else asked,
            response=None if answer in _UNKNOWN else answer,
            cost=None if record.get("response_cost_failure_debug_info") else record.get("response_cost"),
            latency=_seconds(record),
            **_tokens(record),
        )
        return True


def _payloads(file: Path) -> Any:
    if file.suffix.lower() == ".json":
        found = _reading.document(file)
        entries = _reading.objects(found if isinstance(found, list) else [found], str(file))
    else:
        entries = _reading.lines(file)
    for where, record in entries:
        inner = record.get(_WRAPPED)
        yield where, inner if isinstance(inner, dict) else record


def _tokens(record: Record) -> dict[str, Any]:
    """The payload's own counts, else those of the response."""
    counted = _chat.usage(record.get("response"))
    return {key: value if record.get(key) is None else record[key] for key, value in counted.items()}


def _seconds(record: Record) -> float | None:
    """From start to end; `response_time` is only the time to the first token of a stream."""
    start, end = (_instant(record.get(name)) for name in ("startTime", "endTime"))
    return as_number(record.get("response_time")) if start is None or end is None else end - start


def _instant(value: object) -> float | None:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError, OSError):
            return as_number(value)
    return as_number(value)

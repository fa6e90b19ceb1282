"""OpenAI-style logs: requests with their responses, a line each, and the files of the Batch API.

Source: OpenAI's API reference. A line is `{"request": body, "response": body}`, or for batches an input of `custom_id`,
`method`, `url` and `body` and an output of `id`, `custom_id`, `response` (with `status_code` and `body`) and `error`,
which are joined by `custom_id`. Chat completions, completions and responses are read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from turnout.base import Rule
from turnout.errors import LogError
from turnout.importers import _chat, _reading
from turnout.importers._grades import Grades
from turnout.importers._reading import Record
from turnout.importers._rows import Rows
from turnout.importers.base import Importer, Text

__all__ = ["OpenAI"]

_PATHS = ("score", "metadata.score", "request.metadata.score", "feedback.score")
_OK = 200


class OpenAI(Importer):
    """One query per conversation, one outcome per model that was asked it; asked again it is a repeat.

    Limits: such logs hold no quality: scores come from a field that you added, or from a file. Of several choices the
    first is kept. Input and output of a batch must both be given, as a folder that holds them or as two files.
    """

    title = "OpenAI request logs"
    source = "platform.openai.com/docs/api-reference, chat, completions, responses and batch"
    licence = "yours: your own requests"
    scoring = f"from the field `score` names (by default {', '.join(_PATHS)}) or the file `scores`"
    naming = "the model that was asked for, else the one that answered"
    lost = "tools, parameters, further choices; earlier turns stand in the query's id alone"
    patterns = ("*.jsonl",)
    options: ClassVar[Mapping[str, str]] = {
        "score": "the dotted path of the field that holds the score",
        "scores": "a file of {id, score} rows (JSON lines or CSV), id as in `custom_id` or the response's `id`",
    }
    rules: ClassVar[Mapping[str, Rule]] = {**Importer.rules, "score": Text(), "scores": Text()}

    def __init__(
        self,
        *,
        score: str | None = None,
        scores: str | None = None,
        scale: str | None = None,
        prices: str | None = None,
    ) -> None:
        super().__init__(scale=scale, prices=prices)
        self.score = score
        self.scores = scores

    def write_sample(self, folder: Path) -> Path:
        """A log of two models, and a batch (input and output) of one of them, scored in the output's lines."""
        into = folder / "requests"
        into.mkdir(exist_ok=True)
        with (into / "log.jsonl").open("w", encoding="utf-8") as handle:
            for model, text, score in (
                ("small", "Two and two?", 1),
                ("large", "Two and two?", 1),
                ("small", "Why?", 0),
            ):
                line = {"request": _body(model, text), "response": _reply(model), "score": score}
                handle.write(json.dumps(line) + "\n")
        asked = {"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions", "body": _body("large", "Why?")}
        (into / "batch_input.jsonl").write_text(json.dumps(asked) + "\n")
        response = {"status_code": 200, "request_id": "x", "body": _reply("large")}
        done = {"id": "batch_req_1", "custom_id": "r1", "response": response, "error": None, "score": 0.5}
        (into / "batch_output.jsonl").write_text(json.dumps(done) + "\n")
        return into

    def _claims(self, file: Path) -> bool:
        found = _reading.keys(_reading.head(file))
        return found >= {"request", "response"} or ("custom_id" in found and bool(found & {"body", "response"}))

    def _read(self, files: Sequence[Path], rows: Rows) -> None:
        lines = [entry for file in files for entry in _reading.lines(file)]
        asked = _batch_inputs(lines)
        grades = Grades(self.scores, (self.score,) if self.score else _PATHS)
        answered = 0
        for where, line in lines:
            if "response" in line or "error" in line:
                answered += self._exchange(where, line, asked, rows, grades)
            elif "custom_id" not in line:
                _reading.need(line, "response", where)
        if lines and not answered and asked and not any("response" in line for _, line in lines):
            raise LogError(f"{files[0]}: a batch's input alone; give the folder that holds its output too")
        grades.require(str(files[0]), answered)

    def _exchange(
        self, where: str, line: Record, asked: Mapping[str, list[Record]], rows: Rows, grades: Grades
    ) -> bool:
        """Whether the line is an answered request, scored or not."""
        reply, status = _reply_of(line)
        if reply is None or status != _OK:
            rows.drop("the request failed")
            return False
        if "request" in line:
            body = _reading.need(line, "request", where, dict)
        else:
            body = _asked(asked, _reading.need(line, "custom_id", where, str), reply, where)
        request = _chat.request_of(body)
        if request is None:
            raise LogError(f"{where}: the request has neither messages, input nor prompt; fields: {', '.join(body)}")
        if isinstance(request, list) and len(request) > 1 and isinstance(request[0], str):
            rows.drop("several prompts in one request")
            return False
        names = (line.get("custom_id"), line.get("id"), reply.get("id"))
        rows.add(
            where,
            query_id=_chat.identity_of(body),
            expert=body.get("model") or _reading.need(reply, "model", f"{where}: response", str),
            score=grades.of(line, names),
            run=where,
            prompt=_chat.asked(request),
            response=_chat.answer(reply),
            latency=line.get("latency"),
            cost=line.get("cost"),
            **_chat.usage(reply),
        )
        return True


def _reply_of(line: Record) -> tuple[Record | None, int]:
    """The response's body, from a batch's envelope where it has one, and its status."""
    response = line.get("response")
    if not isinstance(response, dict):
        return None, 0
    status = response.get("status_code", _OK)
    body = response.get("body", response)
    failed = bool(line.get("error")) or (isinstance(body, dict) and bool(body.get("error")))
    return (body if isinstance(body, dict) and not failed else None), status if isinstance(status, int) else 0


def _batch_inputs(lines: Sequence[tuple[str, Record]]) -> dict[str, list[Record]]:
    """The bodies that were sent under each id; batches of several models use the same ids."""
    asked: dict[str, list[Record]] = {}
    for where, line in lines:
        if "custom_id" in line and "response" not in line and "body" in line:
            body = _reading.need(line, "body", where, dict)
            asked.setdefault(_reading.need(line, "custom_id", where, str), []).append(body)
    return asked


def _asked(asked: Mapping[str, list[Record]], name: str, reply: Record, where: str) -> Record:
    bodies = asked.get(name)
    if not bodies:
        raise LogError(f"{where}: no request with the custom_id {name!r}; give the batch's input file too")
    answered_by = str(reply.get("model", ""))
    same = [body for body in bodies if answered_by.startswith(str(body.get("model")))] or bodies
    same.sort(key=lambda body: -len(str(body.get("model"))))
    if len({_chat.identity_of(body) for body in bodies}) > 1 and len(same) > 1:
        raise LogError(f"{where}: the custom_id {name!r} stands for several requests; import one batch at a time")
    return same[0]


def _body(model: str, text: str) -> Record:
    return {"model": model, "messages": [{"role": "user", "content": text}]}


def _reply(model: str) -> Record:
    choice = {"index": 0, "message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}
    counts = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": model, "choices": [choice], "usage": counts}

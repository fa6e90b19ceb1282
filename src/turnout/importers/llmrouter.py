"""LLMRouter's routing data: one row per query and model, with the answer's performance.

Source: ulab-uiuc's LLMRouter, `routing_data` in JSON lines or CSV, written by its evaluation of API calls: `query`,
`model_name`, `performance`, and where known `task_name`, `gt`, `response`, `prompt_tokens`, `completion_tokens` and
`response_time` (s).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from turnout.importers import _reading
from turnout.importers._rows import Rows, as_number, clean
from turnout.importers.base import Importer

__all__ = ["LLMRouter"]

_FIELDS = frozenset(("query", "model_name", "performance"))


class LLMRouter(Importer):
    """Queries are told apart by task and text; the same model asked the same query again is a repeat.

    Limits: answers that failed stand there with a text that starts with API Error, which was graded like any other, or
    with ERROR and performance 0; they are dropped, as the expert did not answer.
    """

    title = "LLMRouter routing data"
    source = "github.com/ulab-uiuc/LLMRouter, routing_data"
    licence = "MIT; the questions are those of the benchmarks it draws on"
    scoring = "`performance`, as it is"
    naming = "`model_name`"
    lost = "the embeddings that `embedding_id` points to, and the name of the metric"
    patterns = ("*.jsonl", "*.csv", "*.parquet", "*.json")

    def write_sample(self, folder: Path) -> Path:
        """Two queries, two models, one of them asked twice."""
        rows = [
            ("gsm8k", "Two and two?", "small", 1.0),
            ("gsm8k", "Two and two?", "small", 0.0),
            ("gsm8k", "Two and two?", "large", 1.0),
            ("mmlu", "Largest planet?", "small", 0.0),
            ("mmlu", "Largest planet?", "large", 1.0),
        ]
        file = folder / "default_routing_train_data.jsonl"
        with file.open("w", encoding="utf-8") as handle:
            for task, query, model, score in rows:
                row: dict[str, Any] = {
                    "task_name": task,
                    "query": query,
                    "gt": "4",
                    "metric": "em",
                    "model_name": model,
                }
                row |= {"response": "4", "token_num": 30, "prompt_tokens": 20, "completion_tokens": 10}
                handle.write(json.dumps({**row, "response_time": 0.5, "performance": score, "embedding_id": 0}) + "\n")
        return file

    def _claims(self, file: Path) -> bool:
        if file.suffix.lower() in (".csv", ".parquet"):
            return set(_reading.header(file)) >= _FIELDS
        return _reading.keys(_reading.head(file)) >= _FIELDS

    def _read_file(self, file: Path, rows: Rows) -> None:
        suffix = file.suffix.lower()
        if suffix in (".csv", ".parquet"):
            found = _reading.table(file)
        else:
            found = _reading.objects(_reading.document(file), str(file)) if suffix == ".json" else _reading.lines(file)
        for where, row in found:
            query, task = _reading.need(row, "query", where, str), row.get("task_name")
            answer = row.get("response")
            score = _reading.need(row, "performance", where)
            if isinstance(answer, str) and _failed(answer, score):
                rows.drop("the expert did not answer")
                continue
            digest = hashlib.sha256(clean(f"{task}\0{query}").encode()).hexdigest()[:16]
            rows.add(
                where,
                query_id=f"{task}/{digest}" if task else digest,
                expert=_reading.need(row, "model_name", where, str),
                score=score,
                run=where,
                prompt=query,
                task=task,
                target=row.get("gt"),
                response=answer,
                prompt_tokens=row.get("prompt_tokens"),
                completion_tokens=row.get("completion_tokens"),
                latency=row.get("response_time"),
            )


def _failed(answer: str, score: object) -> bool:
    return answer.startswith("API Error") or (answer.startswith("ERROR") and not as_number(score))

"""Inspect: evaluation logs of the UK AI Security Institute's framework, as `.json` or as `.eval` archives.

Source: inspect_ai's log format, version 2. A log has `eval` (task, model), `samples` with `id`, `epoch`, `input`,
`target`, `scores` (by scorer, each with a `value`), `output` and `model_usage`; an archive has `header.json` (or
`_journal/start.json`, formerly `start.json`) and `samples/<id>_epoch_<n>.json`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from turnout.base import OneOf, Rule
from turnout.errors import LogError
from turnout.importers import _chat, _reading
from turnout.importers._reading import Record
from turnout.importers._rows import Rows, as_number
from turnout.importers.base import Importer, Text

__all__ = ["Inspect"]

_HEADERS = ("header.json", "_journal/start.json", "start.json")
_VALUES = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
_TRUTHS = {"yes": 1.0, "no": 0.0}  # in any case, as true and false
_ATTACHED = "attachment://"


class Inspect(Importer):
    """One query per task and sample, one outcome per model; epochs are repeats, the samples that a retry took over from
    the log before it are not.

    Limits: a task with several scorers needs `scorer`; samples that failed or were invalidated are dropped, as they say
    nothing about how well the expert answers. An archive is unpacked file by file, each of at most 512 MiB.
    """

    title = "Inspect logs"
    source = "inspect.aisi.org.uk (inspect_ai), .json and .eval"
    licence = "inspect_ai is MIT; logs are under the licence of each task's questions"
    scoring = "C is 1, P is .5, I and N are 0, yes and no, true and false likewise; numbers as they are"
    naming = "`eval.model`"
    lost = "events, messages before the answer, tool calls, explanations of scores, other scorers"
    patterns = ("*.eval", "*.json")
    options: ClassVar[Mapping[str, str]] = {
        "scorer": "the scorer whose value is the score, or SCORER.KEY where the value is an object",
        "failed": "`drop` (default) samples that ended in an error, or score them `zero`",
    }
    rules: ClassVar[Mapping[str, Rule]] = {**Importer.rules, "scorer": Text(), "failed": OneOf(("drop", "zero"))}

    def __init__(
        self,
        *,
        scorer: str | None = None,
        failed: str = "drop",
        scale: str | None = None,
        prices: str | None = None,
    ) -> None:
        super().__init__(scale=scale, prices=prices)
        self.scorer = scorer
        self.failed = failed

    def write_sample(self, folder: Path) -> Path:
        """Two models on one task: one log as JSON, one as an archive with two epochs."""
        into = folder / "logs"
        into.mkdir(exist_ok=True)
        small, large = (_log(model, epochs) for model, epochs in (("org/small", 1), ("org/large", 2)))
        (into / "small.json").write_text(json.dumps(small))
        with zipfile.ZipFile(into / "large.eval", "w", zipfile.ZIP_DEFLATED) as archive:
            for sample in large.pop("samples"):
                archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
            archive.writestr("header.json", json.dumps(large))
        return into

    def _claims(self, file: Path) -> bool:
        if file.suffix.lower() != ".eval":
            return _reading.keys(_reading.head(file)) >= {"status", "eval"}
        try:
            with _reading.Archive(file) as archive:
                return any(name in archive.names for name in _HEADERS)
        except LogError:
            return False

    def _read(self, files: Sequence[Path], rows: Rows) -> None:
        seen: dict[str, tuple[str, str]] = {}
        for file in files:
            self._log(file, rows, seen)

    def _log(self, file: Path, rows: Rows, seen: dict[str, tuple[str, str]]) -> None:
        if file.suffix.lower() != ".eval":
            log = _reading.as_object(_reading.document(file), str(file))
            header = _reading.need(log, "eval", str(file), dict)
            if not log.get("samples"):
                raise LogError(f"{file}: the log has no samples; run inspect with --log-samples")
            self._samples(_reading.objects(log["samples"], f"{file}: samples"), header, str(file), rows, seen)
            return
        with _reading.Archive(file) as archive:
            name = next((name for name in _HEADERS if name in archive.names), None)
            if name is None:
                raise LogError(f"{file}: no Inspect log: one of {', '.join(_HEADERS)} is needed")
            where = f"{file}: {name}"
            header = _reading.need(_reading.as_object(archive.json(name), where), "eval", where, dict)
            self._samples(_members(archive), header, where, rows, seen)

    def _samples(
        self,
        samples: Iterator[tuple[str, Record]],
        header: Record,
        where: str,
        rows: Rows,
        seen: dict[str, tuple[str, str]],
    ) -> None:
        task = _reading.need(header, "task", f"{where}: eval", str)
        model = _reading.need(header, "model", f"{where}: eval", str)
        run = str(header.get("eval_id") or header.get("run_id") or where)
        for place, sample in samples:
            name, epoch = _reading.need(sample, "id", place, int, str), sample.get("epoch", 1)
            query_id = f"{task}/{name}"
            made = (_chat.identity(sample.get("input")), _chat.identity(sample.get("target")))
            if all(now != earlier for now, earlier in zip(made, seen.setdefault(query_id, made), strict=True)):
                hint = "its input and target differ; import logs of one dataset in one order at a time"
                raise LogError(f"{place}: sample {name!r} of {task!r} is another one than in an earlier log: {hint}")
            if sample.get("invalidation"):
                rows.drop("the sample was invalidated")
                continue
            if sample.get("error") and self.failed == "drop":
                rows.drop("the sample ended in an error")
                continue
            score = 0.0 if sample.get("error") else self._score(sample, place)
            if score is None:
                rows.drop("not scored")
                continue
            rows.add(
                place,
                query_id=query_id,
                expert=model,
                score=score,
                run=str(sample.get("uuid") or f"{run} {epoch}"),
                prompt=_prompt(sample),
                task=task,
                target=_target(sample.get("target")),
                response=_resolved(sample, _chat.answer(sample.get("output"))),
                **_measured(sample, model),
            )

    def _score(self, sample: Record, where: str) -> object:
        """The scorer's value as a number, None where it gave none (NaN stands for that too)."""
        scores = sample.get("scores")
        if not isinstance(scores, dict) or not scores:
            return None
        scorer, _, key = (self.scorer or "").partition(".")
        if self.scorer in scores:
            scorer, key = str(self.scorer), ""
        if not scorer and len(scores) > 1:
            raise LogError(f"{where}: several scorers; name one with `scorer`: {', '.join(scores)}")
        scorer = scorer or next(iter(scores))
        if scorer not in scores:
            raise LogError(f"{where}: no scorer {scorer!r}; there are {', '.join(scores)}")
        value = _reading.need(_reading.as_object(scores[scorer], f"{where}: {scorer}"), "value", f"{where}: {scorer}")
        if isinstance(value, dict):
            if key not in value:
                raise LogError(f"{where}: {scorer!r} gives {', '.join(value)}; name one with `scorer={scorer}.KEY`")
            value = value[key]
        if isinstance(value, float) and value != value:  # noqa: PLR0124 -- Inspect's mark for unscored
            return None
        return _VALUES.get(value, _TRUTHS.get(value.lower(), value)) if isinstance(value, str) else value


def _members(archive: _reading.Archive) -> Iterator[tuple[str, Record]]:
    found = [name for name in archive.names if name.startswith("samples/") and name.endswith(".json")]
    if not found:
        raise LogError(f"{archive.file}: the log has no samples; run inspect with --log-samples")
    for name in found:
        where = f"{archive.file}: {name}"
        yield where, _reading.as_object(archive.json(name), where)


def _prompt(sample: Record) -> str | None:
    text = _resolved(sample, _chat.asked(sample.get("input")))
    choices = sample.get("choices")
    if text and isinstance(choices, list) and all(isinstance(choice, str) for choice in choices):
        text = "\n".join([text, *(f"{chr(65 + i)}) {choice}" for i, choice in enumerate(choices[:26]))])
    return text


def _resolved(sample: Record, text: str | None) -> str | None:
    """A text that was moved to the sample's attachments."""
    if text is None or not text.startswith(_ATTACHED):
        return text
    found = _reading.at(sample, "attachments")
    kept = found.get(text.removeprefix(_ATTACHED)) if isinstance(found, dict) else None
    return kept if isinstance(kept, str) else None


def _target(target: object) -> str | None:
    if isinstance(target, list):
        return "\n".join(str(each) for each in target) or None
    return target if isinstance(target, str) else None


def _measured(sample: Record, model: str) -> dict[str, Any]:
    """Tokens and cost of the model under test alone, not of a judge, and the time spent working."""
    usages: Any = sample.get("model_usage")
    usage = usages.get(model) if isinstance(usages, dict) else None
    usage = usage if isinstance(usage, dict) else _reading.at(sample, "output.usage")
    usage = usage if isinstance(usage, dict) else {}
    cached = [usage.get(f"input_tokens_cache_{kind}") for kind in ("read", "write")]
    sent = as_number(usage.get("input_tokens"))
    return {
        "prompt_tokens": None if sent is None else sent + sum(as_number(count) or 0 for count in cached),
        "completion_tokens": usage.get("output_tokens"),
        "cost": usage.get("total_cost"),
        "latency": sample.get("working_time", sample.get("total_time")),
    }


def _log(model: str, epochs: int) -> dict[str, Any]:
    """The made log of `write_sample`."""
    samples = []
    for epoch in range(1, epochs + 1):
        for name, question in ((1, "Two and two?"), ("b", "Largest planet?")):
            right = model == "org/large" and (name == 1 or epoch == 1)
            message = {"role": "assistant", "content": "4", "model": model}
            samples.append(
                {"id": name, "epoch": epoch, "input": [{"role": "user", "content": question}], "target": "4"}
                | {"output": {"model": model, "choices": [{"message": message, "stop_reason": "stop"}]}}
                | {"scores": {"match": {"value": "C" if right else "I", "answer": "4"}}, "working_time": 0.5}
                | {"model_usage": {model: {"input_tokens": 20, "output_tokens": 3, "total_tokens": 23}}}
            )
    return {"version": 2, "status": "success", "eval": {"task": "sums", "model": model}, "samples": samples}

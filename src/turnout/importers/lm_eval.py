"""lm-evaluation-harness: the samples that `--log_samples` writes, with the results beside them.

Source: EleutherAI's lm-evaluation-harness 0.4: `<output>/<model>/samples_<task>_<time>.jsonl`, a line per document and
filter with `doc_id`, `doc`, `target`, `arguments`, `resps`, `filtered_resps`, `filter`, `metrics`, hashes and the value
of each metric; `results_<time>.json` with `model_name`, `n-shot` and `higher_is_better`. Results that hold `samples`
themselves (as the Python call returns them) are read too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from turnout.base import OneOf, Rule
from turnout.errors import LogError
from turnout.importers import _chat, _reading
from turnout.importers._grades import chosen_metric
from turnout.importers._reading import Record
from turnout.importers._rows import Rows
from turnout.importers.base import Importer, Text

__all__ = ["LMEval"]

_NAME = re.compile(r"samples_(?P<task>.+?)(?:_(?P<time>\d{4}-\d\d-\d\dT[\d.-]+))?\.jsonl")
_HASHES = ("doc_hash", "prompt_hash", "target_hash", "schema_version")
_FIXED = frozenset(
    ("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "task_name", *_HASHES)
)
_PREFERRED = ("acc", "exact_match", "pass@1", "pass_at_1", "mc1", "f1", "em", "prompt_level_strict_acc")
_TEXTS = ("question", "query", "problem", "prompt", "input", "instruction", "goal", "sentence", "text", "ctx")


class LMEval(Importer):
    """One query per task and document, one outcome per model; a task that a model ran again is a repeat.

    Limits: one metric and one filter are read per task; which ones stands among the notes. With examples in the prompt
    (`n-shot` above 0) prompts share long passages and look like near-duplicates: `prompt=doc` reads the question alone.
    """

    title = "lm-evaluation-harness samples"
    source = "github.com/EleutherAI/lm-evaluation-harness, --log_samples"
    licence = "the harness is MIT; samples are under the licence of each task's questions"
    scoring = "one metric per sample, as it is; a metric that is better when lower is refused"
    naming = "`model_name` of the results beside the samples, else the folder's name, else `expert`"
    lost = "the other metrics and filters, log-likelihoods of choices; no tokens, times or costs are written"
    patterns = ("samples_*.jsonl", "results*.json")
    options: ClassVar[Mapping[str, str]] = {
        "metric": "the metric that is the score, or several, of which a task's first counts; by default the first of "
        f"{', '.join(_PREFERRED)}, else the only one",
        "filter": "the answer filter (strict-match, say); by default a task's first",
        "prompt": "`context` (default): all that the model was sent; `doc`: the question alone",
        "expert": "the model's name, where no results stand beside the samples",
    }
    rules: ClassVar[Mapping[str, Rule]] = {
        **Importer.rules,
        "metric": Text(),
        "filter": Text(),
        "prompt": OneOf(("context", "doc")),
        "expert": Text(),
    }

    def __init__(
        self,
        *,
        metric: str | None = None,
        filter: str | None = None,
        prompt: str = "context",
        expert: str | None = None,
        scale: str | None = None,
        prices: str | None = None,
    ) -> None:
        super().__init__(scale=scale, prices=prices)
        self.metric = metric
        self.filter = filter
        self.prompt = prompt
        self.expert = expert

    def write_sample(self, folder: Path) -> Path:
        """Two models, one task of two documents, two filters."""
        time = "2024-05-20T10-11-12.345678"
        for model, right in {"org/small": (0, 1), "org/large": (1, 1)}.items():
            into = folder / "output" / model.replace("/", "__")
            into.mkdir(parents=True, exist_ok=True)
            results = {"results": {"gsm8k": {"alias": "gsm8k"}}, "configs": {}, "n-shot": {"gsm8k": 0}}
            results |= {"higher_is_better": {"gsm8k": {"exact_match": True}}, "model_name": model}
            (into / f"results_{time}.json").write_text(json.dumps(results))
            with (into / f"samples_gsm8k_{time}.jsonl").open("w", encoding="utf-8") as handle:
                for doc, (question, score) in enumerate(zip(("Two and two?", "Half of ten?"), right, strict=True)):
                    for name in ("strict-match", "flexible-extract"):
                        sample = {"doc_id": doc, "doc": {"question": question, "answer": "#### 4"}, "target": "4"}
                        sample |= {
                            "arguments": {"gen_args_0": {"arg_0": f"Question: {question}\nAnswer:", "arg_1": {}}}
                        }
                        sample |= {"resps": [["It is 4"]], "filtered_resps": ["4"], "filter": name}
                        sample |= {"metrics": ["exact_match"], "doc_hash": f"hash{doc}", "exact_match": float(score)}
                        handle.write(json.dumps(sample) + "\n")
        return folder / "output"

    def _claims(self, file: Path) -> bool:
        found = _reading.keys(_reading.head(file))
        if file.suffix == ".jsonl":
            return found >= {"doc_id", "doc"}
        return "results" in found and bool(found & {"configs", "versions", "group_subtasks", "n-shot", "samples"})

    def _read(self, files: Sequence[Path], rows: Rows) -> None:
        samples = [file for file in files if file.suffix == ".jsonl"]
        results = {file: self._results(file) for file in files if file.suffix != ".jsonl"}
        hashes: dict[str, object] = {}
        for file in samples:
            beside = _beside(file)
            found = results.get(beside) or self._results(beside) if beside else {}
            name = _NAME.fullmatch(file.name)
            task = name["task"] if name else file.stem
            self._task(_reading.lines(file), task, found, rows, folder=file.parent.name, run=str(file), hashes=hashes)
        for file, found in results.items():
            inside = found.get("samples")
            if isinstance(inside, dict):
                for task, entries in inside.items():
                    where = f"{file}: samples: {task}"
                    self._task(
                        _reading.objects(entries, where), task, found, rows, folder="", run=str(file), hashes=hashes
                    )
            elif not samples:
                raise LogError(f"{file}: holds totals only; run the harness with --log_samples and import its samples")

    def _results(self, file: Path) -> Record:
        return _reading.as_object(_reading.document(file), str(file))

    def _task(
        self,
        samples: Iterator[tuple[str, Record]],
        task: str,
        results: Record,
        rows: Rows,
        *,
        folder: str,
        run: str,
        hashes: dict[str, object],
    ) -> None:
        metric = wanted = None
        for where, sample in samples:
            doc, query_id = _reading.need(sample, "doc_id", where, int, str), f"{task}/{sample['doc_id']}"
            if wanted is None:
                expert = self._expert(results, folder, where)
                wanted = self.filter or str(sample.get("filter", "none"))
                metric = self._metric(sample, task, results, where)
                _warn(rows, task, results)
            if str(sample.get("filter", "none")) != wanted:
                rows.drop("another filter")
                continue
            known = sample.get("doc_hash")
            if known is not None and hashes.setdefault(query_id, known) != known:
                raise LogError(
                    f"{where}: document {doc!r} of {task!r} is another one (doc_hash) than in an earlier file"
                )
            rows.add(
                where,
                query_id=query_id,
                expert=expert,
                score=_value(sample, metric, where),
                run=run,
                prompt=_question(sample) if self.prompt == "doc" else _context(sample),
                task=task,
                target=str(sample["target"]) if "target" in sample else None,
                response=_response(sample),
            )
        if metric is not None:
            rows.note(f"{task}: metric {metric}, filter {wanted}")

    def _expert(self, results: Record, folder: str, where: str) -> str:
        config = results.get("config")
        names = (self.expert, results.get("model_name"), config.get("model") if isinstance(config, dict) else None)
        named = next((name for name in names if isinstance(name, str) and name), None)
        if named is None and "__" in folder:
            named = folder.replace("__", "/", 1)
        if named is None:
            raise LogError(f"{where}: no results beside the samples name the model; name it with `expert`")
        return named

    def _metric(self, sample: Record, task: str, results: Record, where: str) -> str:
        listed = sample.get("metrics")
        there = [str(m) for m in listed] if isinstance(listed, list) else [key for key in sample if key not in _FIXED]
        chosen = chosen_metric(self.metric, _PREFERRED, there, there)
        if chosen is None:
            asked = f"no metric {self.metric!r}" if self.metric else "several metrics"
            raise LogError(f"{where}: {asked} for {task!r}; name one with `metric`: {', '.join(there) or 'none there'}")
        higher = _reading.at(results, "higher_is_better")
        if isinstance(higher, dict) and isinstance(higher.get(task), dict) and higher[task].get(chosen) is False:
            raise LogError(f"{where}: metric {chosen!r} of {task!r} is better when lower; name another with `metric`")
        return chosen


def _beside(samples: Path) -> Path | None:
    """The results of the same run, or the only ones in the folder."""
    name = _NAME.fullmatch(samples.name)
    same = samples.with_name(f"results_{name['time']}.json") if name else samples
    if name and same.is_file():
        return same
    others = sorted(samples.parent.glob("results*.json"))
    return others[-1] if others else None


def _warn(rows: Rows, task: str, results: Record) -> None:
    shots = results.get("n-shot")
    count = shots.get(task) if isinstance(shots, dict) else None
    if isinstance(count, int) and count > 0:
        rows.note(f"{task}: {count} examples in every prompt; `prompt=doc` reads the question alone")


def _value(sample: Record, metric: str | None, where: str) -> object:
    value = _reading.need(sample, str(metric), where)
    if isinstance(value, (list, dict)):
        hint = "it is computed over all samples at once; name another with `metric`"
        raise LogError(f"{where}: metric {metric!r} is no number per sample: {hint}")
    return value


def _context(sample: Record) -> str | None:
    """What the model was sent: the first argument of the first request, in the new form or the old."""
    arguments = sample.get("arguments")
    first = next(iter(arguments.values()), None) if isinstance(arguments, dict) else arguments
    first = first[0] if isinstance(first, list) and first else first
    if isinstance(first, dict):
        first = first.get("arg_0")
    first = first[0] if isinstance(first, list) and first else first
    return _turn(first) if isinstance(first, str) else _question(sample)


def _turn(context: str) -> str | None:
    """The context; of one that is a chat written as JSON, the last user turn."""
    if not context.startswith('[{"'):
        return context
    try:
        return _chat.asked(json.loads(context)) or context
    except (ValueError, RecursionError):
        return context


def _question(sample: Record) -> str | None:
    doc = sample.get("doc")
    if not isinstance(doc, dict):
        return None
    text = next((doc[name] for name in _TEXTS if isinstance(doc.get(name), str) and doc[name]), None)
    choices: Any = doc.get("choices")
    choices = choices.get("text") if isinstance(choices, dict) else choices
    if text and isinstance(choices, list) and all(isinstance(choice, str) for choice in choices):
        text = "\n".join([text, *(f"{chr(65 + i)}. {choice}" for i, choice in enumerate(choices[:26]))])
    return text


def _response(sample: Record) -> str | None:
    """The first answer that was generated: texts by request and repeat; log-likelihoods stand one level deeper."""
    for name, levels in (("resps", 2), ("filtered_resps", 1)):
        value: Any = sample.get(name)
        for _ in range(levels):
            value = value[0] if isinstance(value, list) and value else None
        if isinstance(value, str):
            return value
    return None

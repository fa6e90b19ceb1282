"""HELM: what a run asked and got (`scenario_state.json`) with each instance's metrics (`per_instance_stats.json`).

Source: Liang et al., HELM (2022), Stanford CRFM's `benchmark_output/runs/<suite>/<run>`. A run is one scenario and one
model; `request_states` hold instance, request and result, and statistics are joined by instance, perturbation and
train trial. `run_spec.json`, where it is there, names the run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from turnout.base import OneOf, Rule
from turnout.errors import LogError
from turnout.importers import _reading
from turnout.importers._grades import chosen_metric
from turnout.importers._reading import Record
from turnout.importers._rows import Rows
from turnout.importers.base import Importer, Text

__all__ = ["HELM"]

_PREFERRED = (
    "f1_score",  # beside exact_match it is HELM's own for open-ended answers
    "exact_match",
    "quasi_exact_match",
    "prefix_exact_match",
    "quasi_prefix_exact_match",
    "final_number_exact_match",
    "math_equiv_chain_of_thought",
    "math_equiv",
    "code_eval_acc",
    "test_avg",
    "rouge_l",
    "bleu_4",
)
_COUNTED = re.compile(
    r"num_.*|.*_cost|.*runtime.*|batch_size|finish_reason_.*|prompt_truncated|.*logprob.*|.*bits_per.*"
)
_MODEL = re.compile(r"(^|[:,])model(?:_deployment)?=[^,]*")
Key = tuple[str, str, int]


class HELM(Importer):
    """One query per run (without its model) and instance, one outcome per model; train trials are repeats.

    Limits: one metric is read per run; which one stands among the notes. Perturbed instances are dropped, and so are
    requests made for one reference answer each, except the first.
    """

    title = "HELM runs"
    source = "github.com/stanford-crfm/helm, benchmark_output/runs"
    licence = "HELM is Apache-2.0; instances are under the licence of each scenario's data"
    scoring = "one metric's mean per instance, as it is"
    naming = "the model of the run's adapter"
    lost = "other metrics, log-probabilities of tokens, perturbed instances, examples in the prompt"
    patterns = ("scenario_state.json",)
    options: ClassVar[Mapping[str, str]] = {
        "metric": "the metric that is the score, or several, of which a run's first counts; by default the first of "
        + ", ".join(_PREFERRED)
        + ", else the only one",
        "prompt": "`instance` (default): the question and its choices; `request`: all that the model was sent",
    }
    rules: ClassVar[Mapping[str, Rule]] = {
        **Importer.rules,
        "metric": Text(),
        "prompt": OneOf(("instance", "request")),
    }

    def __init__(
        self,
        *,
        metric: str | None = None,
        prompt: str = "instance",
        scale: str | None = None,
        prices: str | None = None,
    ) -> None:
        super().__init__(scale=scale, prices=prices)
        self.metric = metric
        self.prompt = prompt

    def write_sample(self, folder: Path) -> Path:
        """Two runs of one scenario, two instances each."""
        for model, right in {"org/small": (0.0, 1.0), "org/large": (1.0, 1.0)}.items():
            run = f"mmlu:subject=anatomy,model={model.replace('/', '_')}"
            into = folder / "runs" / "v1" / run
            into.mkdir(parents=True, exist_ok=True)
            states, stats = [], []
            for i, score in enumerate(right):
                instance = {"input": {"text": f"Which bone is number {i}?"}, "references": [], "split": "test"}
                request = {"model": model, "prompt": f"Answer!\n\nWhich bone is number {i}?\nAnswer:"}
                result = {"success": True, "completions": [{"text": " A", "logprob": -0.1, "tokens": []}]}
                states.append(
                    {"instance": {**instance, "id": f"id{i}"}, "train_trial_index": 0, "request": request}
                    | {"output_mapping": {"A": "femur", "B": "tibia"}, "result": {**result, "request_time": 0.4}}
                )
                means = {"exact_match": score, "num_prompt_tokens": 30, "num_output_tokens": 1}
                entries = [{"name": {"name": n, "split": "test"}, "count": 1, "mean": m} for n, m in means.items()]
                stats.append({"instance_id": f"id{i}", "train_trial_index": 0, "stats": entries})
            state = {"adapter_spec": {"method": "multiple_choice_joint", "model": model}, "request_states": states}
            (into / "scenario_state.json").write_text(json.dumps(state))
            (into / "per_instance_stats.json").write_text(json.dumps(stats))
            (into / "run_spec.json").write_text(json.dumps({"name": run}))
        return folder / "runs"

    def _claims(self, file: Path) -> bool:
        return "adapter_spec" in _reading.keys(_reading.head(file))

    def _read_file(self, file: Path, rows: Rows) -> None:
        if file.name == "per_instance_stats.json":
            file = file.with_name("scenario_state.json")
        state = _reading.as_object(_reading.document(file), str(file))
        adapter = _reading.need(state, "adapter_spec", str(file), dict)
        model = adapter.get("model") or adapter.get("model_deployment")
        run = _run(file)
        stats = _statistics(file.with_name("per_instance_stats.json"))
        metric = self._metric(stats, file)
        rows.note(f"{run}: metric {metric}")
        requests = _reading.objects(_reading.need(state, "request_states", str(file), list), f"{file}: request_states")
        for where, each in requests:
            self._request(where, each, rows, run=run, model=model, metric=metric, stats=stats)

    def _request(
        self, where: str, each: Record, rows: Rows, *, run: str, model: object, metric: str, stats: Mapping[Key, Record]
    ) -> None:
        instance = _reading.need(each, "instance", where, dict)
        name = _reading.need(instance, "id", f"{where}: instance", str)
        trial = each.get("train_trial_index", 0)
        if instance.get("perturbation"):
            rows.drop("a perturbed instance")
            return
        if each.get("reference_index") or each.get("request_mode") == "calibration":
            rows.drop("a further request for one instance")
            return
        if _reading.at(each, "result.success") is False:
            rows.drop("the request failed")
            return
        found = stats.get((name, "", trial if isinstance(trial, int) else 0), {})
        sent = _reading.at(each, "request.prompt")
        latency = _reading.at(each, "result.request_time")
        rows.add(
            where,
            query_id=f"{run}/{name}",
            expert=model or _reading.at(each, "request.model"),
            score=found.get(metric),
            run=str(trial),
            prompt=sent if self.prompt == "request" else _question(each),
            task=run,
            response=_completion(each),
            prompt_tokens=found.get("num_prompt_tokens"),
            completion_tokens=found.get("num_output_tokens", found.get("num_completion_tokens")),
            latency=latency if latency is not None else found.get("inference_runtime"),
        )

    def _metric(self, stats: Mapping[Key, Record], file: Path) -> str:
        there = dict.fromkeys(name for each in stats.values() for name in each)
        graded = [name for name in there if not _COUNTED.fullmatch(name)]
        chosen = chosen_metric(self.metric, _PREFERRED, there, graded)
        if chosen is None:
            asked = f"no metric {self.metric!r}" if self.metric else "none of the usual metrics"
            raise LogError(f"{file.parent}: {asked}; name one with `metric`: {', '.join(graded) or 'none there'}")
        return chosen


def _run(file: Path) -> str:
    """The run's name without its model: what it asked."""
    spec = file.with_name("run_spec.json")
    named = _reading.as_object(_reading.document(spec), str(spec)).get("name") if spec.is_file() else file.parent.name
    name = _MODEL.sub(lambda found: found[1] if found[1] == ":" else "", str(named))
    return name.replace(":,", ":").rstrip(":,") or str(named)


def _statistics(file: Path) -> dict[Key, Record]:
    """The mean of every metric by instance, perturbation and trial; one instance may stand there several times."""
    if not file.is_file():
        raise LogError(f"{file}: a HELM run needs its statistics; no such file")
    found: dict[Key, Record] = {}
    for where, entry in _reading.objects(_reading.document(file), str(file)):
        perturbation = entry.get("perturbation")
        named = perturbation.get("name", "perturbed") if isinstance(perturbation, dict) else ""
        trial = entry.get("train_trial_index", 0)
        name = _reading.need(entry, "instance_id", where, str)
        means = found.setdefault((name, str(named), trial if isinstance(trial, int) else 0), {})
        for place, stat in _reading.objects(_reading.need(entry, "stats", where, list), f"{where}: stats"):
            metric = _reading.need(_reading.need(stat, "name", place, dict), "name", f"{place}: name", str)
            means.setdefault(metric, stat.get("mean"))
    return found


def _question(each: Record) -> str | None:
    text = _reading.at(each, "instance.input.text")
    mapping: Any = each.get("output_mapping")
    if isinstance(text, str) and isinstance(mapping, dict):
        text = "\n".join([text, *(f"{letter}. {choice}" for letter, choice in mapping.items())])
    return text if isinstance(text, str) else None


def _completion(each: Record) -> str | None:
    found: Any = _reading.at(each, "result.completions")
    first = found[0] if isinstance(found, list) and found else None
    text = first.get("text") if isinstance(first, dict) else None
    return text if isinstance(text, str) else None

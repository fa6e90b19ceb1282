"""Outcomes for traces from a file: given scores, or targets with which a grader scores the stored responses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turnout.collect._lines import objects
from turnout.collect.tasks import get_grader, read_target
from turnout.errors import LogError, ParameterError, UnknownNameError
from turnout.types import Trace


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trace's feedback will be: a score in [0, 1] and a label."""

    trace: str
    score: float
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the file: which traces it is about, and a score, or a target and a grader's name."""

    where: str
    trace: str | None
    prompt: str | None
    score: float | None
    target: str | tuple[str, ...]
    grader: str
    label: str | None

    def outcome(self, trace: Trace) -> Outcome | None:
        """The outcome for a trace, or None where its response was not kept."""
        if self.score is not None:
            return Outcome(trace.id, self.score, self.label)
        if trace.response is None:
            return None
        score = get_grader(self.grader).grade(trace.response, self.target)
        return Outcome(trace.id, score, self.label or f"grader:{self.grader}")


def read_rules(path: Path, grader: str = "exact") -> list[Rule]:
    """Lines of `{"trace": id, "score": 0.5, "label"?: …}` or `{"trace" or "prompt": …, "target": …, "grader"?: …}`.

    Raises LogError, which names the line.
    """
    return [_rule(row, where, grader) for where, row in objects(path)]


def _rule(row: dict[str, Any], where: str, grader: str) -> Rule:
    for key in ("trace", "prompt", "grader", "label"):
        if not isinstance(row.get(key), str | None):
            raise LogError(f"{where}: `{key}` must be a text, got {row[key]!r}")
    if row.get("trace") is None and row.get("prompt") is None:
        raise LogError(f"{where}: needs `trace` (an id) or `prompt` (a text)")
    if row.get("score") is not None:
        return _made(row, where, grader, score=_score(row["score"], where))
    name = row.get("grader") or grader
    target = read_target(row.get("target"), where)
    try:
        asked = get_grader(name)
        asked.check_target(target)
    except (ParameterError, UnknownNameError) as error:
        raise LogError(f"{where}: {error}") from error
    if asked.asks:
        raise LogError(f"{where}: grader {name!r} asks a model, which `turnout collect` does; give a `score` instead")
    return _made(row, where, name, target=target)


def _score(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise LogError(f"{where}: `score` must be a number in [0, 1], got {value!r}")
    return float(value)


def _made(
    row: dict[str, Any], where: str, grader: str, *, score: float | None = None, target: str | tuple[str, ...] = ""
) -> Rule:
    return Rule(where, row.get("trace"), row.get("prompt"), score, target, grader, row.get("label"))


def outcomes(rules: Iterable[Rule], traces: Iterable[Trace]) -> Iterator[tuple[Trace, Outcome | None]]:
    """Every trace that a rule is about, with its outcome; None where the response that it needs was not kept."""
    rules = list(rules)
    by_trace = {rule.trace: rule for rule in rules if rule.trace is not None}
    by_prompt = {rule.prompt.strip(): rule for rule in rules if rule.trace is None and rule.prompt is not None}
    for trace in traces:
        rule = by_trace.get(trace.id) or (by_prompt.get(trace.prompt.strip()) if trace.prompt else None)
        if rule is not None:
            yield trace, rule.outcome(trace)

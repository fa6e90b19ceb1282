"""AlpacaEval's annotations: how probable it is that a judge prefers a model's answer to the baseline's.

Source: Dubois et al., AlpacaEval 2 (2024), `results/<model>/<annotator>/annotations.json`: an array of `instruction`,
`dataset`, `output_1` and `generator_1` (the baseline), `output_2` and `generator_2` (the model), `annotator` and
`preference`: 1 where the baseline wins, 2 where the model wins, anything between as a probability, 0 or 1.5 a draw.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from turnout.base import Rule
from turnout.errors import LogError
from turnout.importers import _reading
from turnout.importers._rows import Rows, as_number, clean, shown
from turnout.importers.base import Importer, Text

__all__ = ["AlpacaEval"]

_FIELDS = frozenset(("instruction", "output_2", "generator_2"))
_ANNOTATOR = "weighted_alpaca_eval_gpt4_turbo"


class AlpacaEval(Importer):
    """One query per instruction, one outcome per model: score = preference − 1, a draw .5.

    Limits: win probabilities against one baseline by one judge, which favours long answers; models judged by different
    annotators or against different baselines cannot be compared, so one of each is read.
    """

    title = "AlpacaEval annotations"
    source = "github.com/tatsu-lab/alpaca_eval, results"
    licence = "CC-BY-NC-4.0: not for commercial use, do not pass it on"
    scoring = "`preference` − 1, the probability of winning; the old draw 0 is .5"
    naming = "`generator_2`"
    lost = "the baseline's answers, the judge's raw completion and price"
    patterns = ("*.json",)
    options: ClassVar[Mapping[str, str]] = {
        "annotator": f"the judge whose annotations are read; by default {_ANNOTATOR}, or the only one there is"
    }
    rules: ClassVar[Mapping[str, Rule]] = {**Importer.rules, "annotator": Text()}

    def __init__(self, *, annotator: str | None = None, scale: str | None = None, prices: str | None = None) -> None:
        super().__init__(scale=scale, prices=prices)
        self.annotator = annotator

    def write_sample(self, folder: Path) -> Path:
        """A folder of results: two models, two instructions."""
        for model, preferences in {"small": (1.02, 1.5), "large": (1.93, 2.0)}.items():
            entries = [
                {"dataset": "koala", "instruction": text, "output_1": "Yes.", "generator_1": "baseline"}
                | {"output_2": f"{model} says yes", "generator_2": model, "annotator": _ANNOTATOR, "preference": p}
                for text, p in zip(("Is water wet?", "Write a haiku."), preferences, strict=True)
            ]
            into = folder / "results" / model / _ANNOTATOR
            into.mkdir(parents=True, exist_ok=True)
            (into / "annotations.json").write_text(json.dumps(entries, indent=2))
        return folder / "results"

    def _claims(self, file: Path) -> bool:
        text = _reading.head(file)
        return _reading.is_array(text) and _reading.keys(text) >= _FIELDS

    def _read(self, files: Sequence[Path], rows: Rows) -> None:
        entries = [entry for file in files for entry in _reading.objects(_reading.document(file), str(file))]
        judge = self._judge(entries)
        baselines: dict[str, str] = {}
        for where, entry in entries:
            if judge is not None and _name(entry, "annotator") != judge:
                rows.drop("another annotator")
                continue
            baselines.setdefault(_name(entry, "generator_1"), where)
            if len(baselines) > 1:
                first, second = baselines
                raise LogError(f"{where}: the baseline is {second!r}, before it was {first!r}; import one at a time")
            instruction = _reading.need(entry, "instruction", where, str)
            digest = hashlib.sha256(clean(instruction).encode()).hexdigest()[:16]
            rows.add(
                where,
                query_id=f"alpaca/{digest}",
                expert=_reading.need(entry, "generator_2", where, str),
                score=_probability(_reading.need(entry, "preference", where), where),
                run=where,
                prompt=instruction,
                task=entry.get("dataset"),
                response=entry.get("output_2"),
            )
        rows.note(f"judged by {judge or 'an unnamed annotator'} against {next(iter(baselines), None) or 'a baseline'}")

    def _judge(self, entries: Sequence[tuple[str, Mapping[str, Any]]]) -> str | None:
        found = dict.fromkeys(_name(entry, "annotator") for _, entry in entries)
        if self.annotator is not None and entries and self.annotator not in found:
            raise LogError(f"{entries[0][0]}: no annotations by {self.annotator!r}; there are {', '.join(found)}")
        if self.annotator is not None or len(found) < 2:
            return self.annotator or next(iter(found), None)
        if _ANNOTATOR in found:
            return _ANNOTATOR
        raise LogError(f"{entries[0][0]}: several annotators; name one with `annotator`: {', '.join(found)}")


def _name(entry: Mapping[str, Any], field: str) -> str:
    value = entry.get(field)
    return value if isinstance(value, str) else ""


def _probability(preference: object, where: str) -> float | None:
    if preference is None:
        return None
    value = as_number(preference)
    if value is None:
        raise LogError(f"{where}: the score must be a number, got {shown(preference)}")
    return 0.5 if value == 0 else value - 1

"""RouteLLM's benchmark responses: which of two models answered each MMLU or GSM8K question right.

Source: Ong et al., RouteLLM (2024); the files of `routellm/evals` in its repository. A CSV file has a column `prompt`,
for each model a column of True and False, and for GSM8K also `<model>_response`. `contaminated_prompts.jsonl` beside
the responses lists questions that its training data holds; they are left out there, and here.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from turnout.base import OneOf, Rule
from turnout.importers import _reading
from turnout.importers._rows import Rows
from turnout.importers.base import Importer

__all__ = ["RouteLLM"]

_ANSWER = "_response"


class RouteLLM(Importer):
    """One query per row, named after its file and row; one outcome per model.

    Limits: the prices that RouteLLM assumes are in its paper, not in its files; give them with `prices`.
    """

    title = "RouteLLM benchmark responses"
    source = "github.com/lm-sys/RouteLLM, routellm/evals"
    licence = "Apache-2.0; the questions are MMLU's and GSM8K's (MIT)"
    scoring = "True is 1, False is 0"
    naming = "the columns' names, which are the models' names"
    lost = "MT-Bench judgements (another format); no tokens and no costs are published"
    patterns = ("*.csv",)
    options: ClassVar[Mapping[str, str]] = {
        "contaminated": "`drop` (default) or `keep` the prompts that contaminated_prompts.jsonl beside the file lists"
    }
    rules: ClassVar[Mapping[str, Rule]] = {**Importer.rules, "contaminated": OneOf(("drop", "keep"))}

    def __init__(self, *, contaminated: str = "drop", scale: str | None = None, prices: str | None = None) -> None:
        super().__init__(scale=scale, prices=prices)
        self.contaminated = contaminated

    def write_sample(self, folder: Path) -> Path:
        """GSM8K's layout: two models with their answers."""
        file = folder / "gsm8k_responses.csv"
        with file.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["prompt", "small/model", "large-model", "small/model_response", "large-model_response"])
            writer.writerow(["Two and two?", "True", "True", "It is 4.", "4"])
            writer.writerow(["Seven times,\neight?", "False", "True", "54", "56"])
        return file

    def _claims(self, file: Path) -> bool:
        names = _reading.header(file)
        return names[:1] == ["prompt"] and "sample_id" not in names and len(_models(names)) > 1 and _binary(file, names)

    def _read_file(self, file: Path, rows: Rows) -> None:
        task, listed = _task(file), self._contaminated(file)
        models: list[str] = []
        for number, (where, row) in enumerate(_reading.table(file)):
            prompt = _reading.need(row, "prompt", where, str)
            models = models or _models(list(row))
            if prompt in listed:
                rows.drop("contaminated, says the source", len(models))
                continue
            for model in models:
                rows.add(
                    f"{where}: column {model!r}",
                    query_id=f"{task}/{number}",
                    expert=model,
                    score=row[model],
                    prompt=prompt,
                    task=task,
                    response=row.get(model + _ANSWER),
                )

    def _contaminated(self, file: Path) -> frozenset[str]:
        for folder in (file.parent, file.parent.parent):
            listed = folder / "contaminated_prompts.jsonl"
            if self.contaminated == "drop" and listed.is_file():
                rows = _reading.lines(listed)
                return frozenset(_reading.need(row, "eval_prompt", where, str) for where, row in rows)
        return frozenset()


def _models(names: list[str]) -> list[str]:
    answers = {name + _ANSWER for name in names}
    return [name for name in names if name != "prompt" and name not in answers]


def _binary(file: Path, names: list[str]) -> bool:
    """Whether the first row holds truths; of a row longer than the head nothing is known."""
    try:
        row = list(csv.reader(_reading.head(file).splitlines(keepends=True)))[1:2]
    except csv.Error:
        return False
    wanted = [names.index(model) for model in _models(names)]
    return bool(row) and all(i < len(row[0]) and row[0][i].lower() in ("true", "false") for i in wanted)


def _task(file: Path) -> str:
    stem = file.stem.removesuffix("_responses")
    return f"mmlu/{stem.removeprefix('mmlu_')}" if stem.startswith("mmlu_") else stem

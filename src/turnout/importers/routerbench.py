"""RouterBench's wide tables: one row per sample; per model a score, an answer and what the answer cost.

Source: Hu et al., RouterBench (2024), and RouterDC's copies of it. Columns: `sample_id`, `prompt`, `eval_name`, per
model `<model>`, `<model>|model_response` and `<model>|total_cost`, and `oracle_model_to_route_to`. It is published as
pickled pandas tables; those are read as data, without running what they hold.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from turnout.errors import LogError
from turnout.importers import _pickled, _reading
from turnout.importers._rows import Rows
from turnout.importers.base import Importer
from turnout.outcomes.turns import turns

__all__ = ["RouterBench"]

_COST, _ANSWER = "|total_cost", "|model_response"
_PICKLES = (".pkl", ".pickle")


class RouterBench(Importer):
    """One query per sample, one outcome per model; of a sample that stands there twice each model's first
    score counts.

    Limits: a prompt that is the text of a list of turns is read as those turns, one after another.
    """

    title = "RouterBench tables"
    source = "huggingface.co/datasets/withmartian/routerbench"
    licence = "none stated: use it yourself, do not pass it on"
    scoring = "as they are: graded answers in [0, 1]"
    naming = "the columns that have a `|total_cost` beside them"
    lost = "the source's own choice of an oracle model"
    patterns = ("*.csv", "*.parquet", "*.pkl", "*.pickle")

    def write_sample(self, folder: Path) -> Path:
        """Two samples, two models."""
        models = ("small/model", "large-model")
        columns = ["sample_id", "prompt", "eval_name", *models, *(m + _ANSWER for m in models)]
        file = folder / "routerbench.csv"
        with file.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow([*columns, *(m + _COST for m in models), "oracle_model_to_route_to"])
            writer.writerow(
                ["arc.1", "['Hot, or\\nnot?']", "arc", 0.0, 1.0, "no", "yes", 0.00001, 0.0002, "large-model"]
            )
            writer.writerow(["mbpp.7", "['Write f.']", "mbpp", "", 0.5, "", "def f", 0.00003, 0.0004, "large-model"])
        return file

    def _claims(self, file: Path) -> bool:
        if file.suffix.lower() in _PICKLES:
            return _pickled.mentions(file, "sample_id", "eval_name", _COST)
        return _is_table(_reading.header(file))

    def _read_file(self, file: Path, rows: Rows) -> None:
        seen: set[tuple[str, str]] = set()
        pickled = file.suffix.lower() in _PICKLES
        for where, row in _pickled.rows(file) if pickled else _reading.table(file):
            sample = _reading.need(row, "sample_id", where, str, int)
            models = [name.removesuffix(_COST) for name in row if name.endswith(_COST)]
            if not models:
                raise LogError(
                    f"{where}: no column ends in {_COST!r}, so no model can be told; columns: {', '.join(row)}"
                )
            prompt, task = turns(_reading.need(row, "prompt", where)), row.get("eval_name")
            for model in models:
                score = _missing(_reading.need(row, model, where))
                if (str(sample), model) in seen:
                    rows.drop("a second row of a sample")
                    continue
                if score is not None:
                    seen.add((str(sample), model))
                rows.add(
                    f"{where}: column {model!r}",
                    query_id=str(sample),
                    expert=model,
                    score=score,
                    prompt=prompt,
                    task=task,
                    response=row.get(model + _ANSWER),
                    cost=row[model + _COST],
                )


def _is_table(names: list[str]) -> bool:
    return {"sample_id", "prompt", "eval_name"} <= set(names) and any(name.endswith(_COST) for name in names)


def _missing(score: Any) -> Any:
    """An empty score, which a Parquet table may hold as NaN, as None."""
    return None if isinstance(score, float) and score != score else score  # noqa: PLR0124 -- NaN alone is not itself

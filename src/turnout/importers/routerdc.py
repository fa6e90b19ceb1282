"""RouterDC's tables: a question and the score of every model, one file per task.

Source: Chen et al., RouterDC (NeurIPS 2024), `datasets/split2_model7`; LLMRouter's `dcrouter_preprocessed` has the same
form. A file is a JSON array of `{"question": …, "scores": {model: score}}`, some with `cluster_id`.
"""

from __future__ import annotations

import json
from pathlib import Path

from turnout.importers import _reading
from turnout.importers._rows import Rows
from turnout.importers.base import Importer

__all__ = ["RouterDC"]


class RouterDC(Importer):
    """One query per entry, named after its file and place; the file's name is the task.

    Limits: generative tasks were scored as the share of ten samples that is right; the samples are not published, so
    they cannot be kept as repeats.
    """

    title = "RouterDC tables"
    source = "github.com/shuhao02/RouterDC, datasets; github.com/ulab-uiuc/LLMRouter, data/dcrouter_preprocessed"
    licence = "RouterDC: none stated, use it yourself, do not pass it on; LLMRouter: MIT"
    scoring = "as they are: right or wrong, a share of samples, or a probability"
    naming = "the names in `scores`"
    lost = "`cluster_id`; no answers, tokens or costs are published"
    patterns = ("*.json",)

    def write_sample(self, folder: Path) -> Path:
        """Two questions, two models."""
        file = folder / "arc_challenge_train.json"
        scores = [{"small/7B": 0.0, "other/7B": 0.8}, {"small/7B": 1, "other/7B": 0}]
        entries = zip(("What is condensation?", "Which tool measures heat?"), scores, strict=True)
        file.write_text(json.dumps([{"question": q, "scores": s, "cluster_id": 1} for q, s in entries]))
        return file

    def _claims(self, file: Path) -> bool:
        text = _reading.head(file)
        return _reading.is_array(text) and _reading.keys(text) >= {"question", "scores"}

    def _read_file(self, file: Path, rows: Rows) -> None:
        for number, (where, entry) in enumerate(_reading.objects(_reading.document(file), str(file))):
            question = _reading.need(entry, "question", where, str)
            for model, score in _reading.need(entry, "scores", where, dict).items():
                rows.add(
                    f"{where}: {model!r}",
                    query_id=f"{file.stem}/{number}",
                    expert=model,
                    score=score,
                    prompt=question,
                    task=file.stem,
                )

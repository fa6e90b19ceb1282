"""One self-contained HTML page per evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from turnout.evaluation.results import Evaluation


def page(evaluations: Sequence[Evaluation], title: str) -> str:
    """The page."""
    return title + "".join(evaluation.title for evaluation in evaluations)

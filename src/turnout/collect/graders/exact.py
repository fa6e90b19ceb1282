"""The final answer is the target, apart from case, white space and decoration."""

from __future__ import annotations

from turnout.collect.graders.base import Grader, bare, fold

__all__ = ["Exact"]


class Exact(Grader):
    """1 where the final answer equals the target.

    >>> Exact().grade("I think so.\\nAnswer: **Paris**.", "paris")
    1.0

    Limits: without a marker the whole response must be the answer; use `contains` for free text.
    """

    def _grade(self, answer: str, target: str) -> float:
        return float(fold(bare(answer)) == fold(bare(target)))

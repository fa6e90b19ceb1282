"""A pattern is found in the response."""

from __future__ import annotations

import re
from typing import ClassVar

from turnout.collect.graders.base import Grader

__all__ = ["Regex"]


class Regex(Grader):
    r"""1 where the target, a Python regular expression, is found anywhere in the response (`^` and `$` match at lines).

    >>> Regex().grade("def add(a, b):\n    return a + b", r"^\s+return a \+ b$")
    1.0

    Limits: no time limit on a pattern that backtracks without end; patterns are the operator's own.
    """

    whole_response: ClassVar[bool] = True

    def _grade(self, answer: str, target: str) -> float:
        return float(re.search(target, answer, re.MULTILINE) is not None)

    def _check_target(self, target: str) -> str | None:
        try:
            re.compile(target)
        except re.error as error:
            return f"must be a regular expression ({error})"
        return None

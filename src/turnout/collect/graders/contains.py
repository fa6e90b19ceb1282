"""The target stands somewhere in the response, as whole words."""

from __future__ import annotations

import re
from typing import ClassVar

from turnout.collect.graders.base import Grader, fold

__all__ = ["Contains"]


class Contains(Grader):
    """1 where the response contains the target between word boundaries, apart from case and white space.

    >>> Contains().grade("The capital is Paris, of course.", "paris"), Contains().grade("about 42", "4")
    (1.0, 0.0)

    Limits: negations are not understood ("not Paris" counts), and a response that lists every answer always wins.
    """

    whole_response: ClassVar[bool] = True

    def _grade(self, answer: str, target: str) -> float:
        wanted = fold(target)
        start = r"(?<!\w)" if wanted[0].isalnum() else ""
        end = r"(?!\w|[.,]\d)" if wanted[-1].isalnum() else ""
        return float(re.search(start + re.escape(wanted) + end, fold(answer)) is not None)

"""A number, within a tolerance."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import ClassVar

from turnout.base import Number, Rule
from turnout.collect.graders.base import Grader, marked_answer

__all__ = ["Numeric"]

_NUMBER = re.compile(
    r"(?<![\w.])(?=[-+]?[$€£]?\.?\d)(?P<sign>[-+]?)[$€£]?(?P<whole>\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?P<part>\.\d+)?"
    r"(?P<power>[eE][-+]?\d+)?"
    r"(?:\s*/\s*(?P<below>\d+(?:\.\d+)?)(?![\d/]))?"
)
_FRACTION = re.compile(r"(?:(-)\s*)?\\[dt]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}")


class Numeric(Grader):
    """1 where the answer's number is within `tolerance` (relative; absolute below 1) of the target's.

    After a marker the first number counts (`Answer: 12 of 30`), without one the last.

    >>> Numeric().grade("3 * 400 = 1,200. So it is $1,200.00.", "1200"), Numeric().grade("Answer: -3/4", "-0.75")
    (1.0, 1.0)

    Limits: units are ignored, a percent sign too; numbers in words are not read; a comma groups thousands.
    """

    whole_response: ClassVar[bool] = True
    rules: ClassVar[Mapping[str, Rule]] = {"tolerance": Number(0, 1)}

    def __init__(self, tolerance: float = 1e-6) -> None:
        self.tolerance = tolerance

    def _grade(self, answer: str, target: str) -> float:
        wanted = numbers(target)
        marked = marked_answer(answer)
        found = numbers(answer if marked is None else marked)
        if marked is not None and not found:
            marked, found = None, numbers(answer)
        if not found or not wanted:
            return 0.0
        given = found[-1] if marked is None else _result(marked, found)
        return float(abs(given - wanted[0]) <= self.tolerance * max(1.0, abs(wanted[0])))

    def _check_target(self, target: str) -> str | None:
        return None if len(numbers(target)) == 1 else "must hold exactly one number"


def _result(marked: str, found: list[float]) -> float:
    """After a marker the first number, but the last where it ends an equation."""
    return found[-1] if "=" in marked else found[0]


def numbers(text: str) -> list[float]:
    r"""Every number in a text.

    >>> numbers(r"1,234.5 and −2e3, \frac{1}{4}, 3/4, v2, 10-20")
    [1234.5, -2000.0, 0.25, 0.75, 10.0, 20.0]
    """
    plain = text.replace("−", "-").replace("\\$", "$").replace("\\,", "").replace("{,}", ",")
    text = _FRACTION.sub(r" \1\2/\3 ", plain)
    values = []
    for match in _NUMBER.finditer(text):
        sign = "" if match["sign"] == "+" or _joined(text, match) else match["sign"]
        value = float(f"{sign}{(match['whole'] or '0').replace(',', '')}{match['part'] or ''}{match['power'] or ''}")
        below = float(match["below"]) if match["below"] else 1.0
        values.append(value / below if below else math.nan)
    return [value for value in values if math.isfinite(value)]


def _joined(text: str, match: re.Match[str]) -> bool:
    """Whether the sign stands between two operands, as in 10-20 or 5 - 3."""
    before = text[: match.start("sign")].rstrip()
    return bool(match["sign"]) and bool(before) and (before[-1].isdigit() or before[-1] == ")")

"""One letter of a multiple choice."""

from __future__ import annotations

import re

from turnout.collect.graders.base import Grader

__all__ = ["Choice"]

_LETTER = re.compile(r"^\(?([A-Z])\)?$", re.IGNORECASE)
_FORMS = (
    r"^[\s(\[]*([A-Z])(?=[\s)\].:,]*$)",  # nothing but the letter
    r"^[\s(\[]*([A-Z])[)\].:](?!\s*or\b)",  # (B) Paris, B) Paris, B. Paris
    r"^[\s(\[]*([A-HJ-Z])(?=\s*[\n;(–—]|\s-\s|,(?!\s*(?:(?:and|or)\s+)?(?-i:[A-Z])\b)|\s+(?:because|since)\b)",
    r"(?-i:\b([A-HJ-Z]))\s+is\s+(?:the\s+)?(?:correct|right|best)\b",
    r"\b(?:option|choice|answer|choose|select)\s+(?:is\s+)?[(\[]?([A-Z])\b(?![\w'])",
    r"\(([A-Z])\)",
)
# Alone, I is a word, and A is one unless something ends after it.
_LAST = re.compile(r"(?<![\w'])(?<!\bnot )([B-HJ-Z](?![\w'])|A(?=\s*(?:$|[.,;:!?)\]])))")


class Choice(Grader):
    """1 where the final answer chooses the target's letter.

    >>> Choice().grade("It cannot be (A). The answer is (B).", "B"), Choice().grade("C) Rome", "B")
    (1.0, 0.0)

    Limits: letters only; a response that names the option's text without its letter scores 0, and so does an A with
    nothing but a space before the next word, which is read as the article.
    """

    def _grade(self, answer: str, target: str) -> float:
        letter = _LETTER.match(target.strip())
        return float(letter is not None and chosen(answer) == letter[1].upper())

    def _check_target(self, target: str) -> str | None:
        return None if _LETTER.match(target.strip()) else "must be one letter, as B or (B)"


def chosen(answer: str) -> str | None:
    """The chosen letter, or None. Earlier forms are the surer ones; within one form the last match counts."""
    text = answer.replace("*", "").strip()
    for form in _FORMS:
        found = re.findall(form, text, re.IGNORECASE)
        if found:
            return str(found[-1]).upper()
    alone = _LAST.findall(text)
    return alone[-1] if alone else None

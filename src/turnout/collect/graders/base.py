"""What a grader is, and how the final answer is found in a response.

The final answer is what stands after the last marker (`Answer:`, `final answer is`, `\\boxed{…}`); a response without
one is its own answer. Decoration (markdown, quotes, LaTeX delimiters, the closing full stop) does not count.
"""

from __future__ import annotations

import re
from typing import ClassVar

from turnout.base import Component
from turnout.errors import ParameterError

_THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHT = re.compile(r"\A.*</think>", re.DOTALL | re.IGNORECASE)  # some chat templates open it in the prompt
_MARKER = re.compile(
    r"(?:^|[\s*_#(>`])(?:final\s+|correct\s+)?answer[*_`\s]*(?::|=|\bis\b:?)[*\s]*", re.IGNORECASE | re.MULTILINE
)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_FENCE = re.compile(r"^```[\w+-]*\n(.*?)\n?```$", re.DOTALL)
_PAIRS = (('"', '"'), ("'", "'"), ("“", "”"), ("`", "`"), ("$", "$"), ("\\(", "\\)"))


class Grader(Component):
    """Scores responses in [0, 1]. Override `_grade`, and `_check_target` where not every text is a target.

    `asks` marks one whose score comes from a model, so that it cannot `grade` by itself.
    """

    kind: ClassVar[str] = "grader"
    whole_response: ClassVar[bool] = False
    asks: ClassVar[bool] = False

    def grade(self, response: str | None, target: str | tuple[str, ...]) -> float:
        """The score of a response; with several targets the best one counts. A missing or empty response scores 0."""
        if not response or not response.strip():
            return 0.0
        text = spoken(response)
        answer = text if self.whole_response else final_answer(text)
        return max((self._grade(answer, one) for one in targets(target)), default=0.0)

    def check_target(self, target: str | tuple[str, ...]) -> None:
        """Raise ParameterError for a target that this grader cannot use."""
        if not targets(target):
            raise ParameterError(f"grader {self.name}: `target` must not be an empty list")
        for one in targets(target):
            problem = "must not be empty" if not one.strip() else self._check_target(one)
            if problem:
                raise ParameterError(f"grader {self.name}: `target` {problem}, got {one!r}")

    def _grade(self, answer: str, target: str) -> float:
        raise NotImplementedError

    def _check_target(self, target: str) -> str | None:
        """What is wrong with the target, or None."""
        return None


def targets(target: str | tuple[str, ...]) -> tuple[str, ...]:
    """One or several acceptable answers as a tuple."""
    return (target,) if isinstance(target, str) else tuple(target)


def spoken(text: str) -> str:
    """A response without the thinking that some models show before it.

    >>> spoken("<think>Hm, 4?</think> 4"), spoken("Hm, 4?</think> 4")
    ('4', '4')
    """
    return _THOUGHT.sub("", _THINKING.sub("", text)).strip()


def final_answer(text: str) -> str:
    r"""The part of a response that answers.

    >>> final_answer("2 + 2 makes 4.\n**Answer:** 4.")
    '4'
    >>> final_answer(r"so x is \boxed{\frac{1}{2}} in the end")
    '\\frac{1}{2}'
    >>> final_answer("Paris")
    'Paris'
    """
    marked = marked_answer(text)
    return bare(text if marked is None else marked)


def marked_answer(text: str) -> str | None:
    """What stands after the last marker that something follows, or None where there is no marker."""
    boxed = list(_BOXED.finditer(text))
    marks = [mark for mark in _MARKER.finditer(text) if text[mark.end() :].strip()]
    if boxed and (not marks or boxed[-1].end() > marks[-1].end()):
        return boxed[-1][1]
    if not marks:
        return None
    rest = text[marks[-1].end() :].strip()
    if rest.startswith("```"):
        return rest
    return rest.split("\n", 1)[0] if rest else None


def bare(text: str) -> str:
    """Text without the decoration around it.

    >>> bare(' **"forty two".** ')
    'forty two'
    """
    before = None
    text = text.strip()
    while before != text:
        before = text
        fenced = _FENCE.match(text)
        text = fenced[1].strip() if fenced else text
        for left, right in _PAIRS:
            inner = text[len(left) : len(text) - len(right)]
            if text.startswith(left) and text.endswith(right) and inner and right not in inner:
                text = inner.strip()
        text = text.strip("*").strip()  # what is left of bold type that began before the marker
        if text.endswith((".", "。")) and not text.endswith(".."):
            text = text[:-1].rstrip()
    return text


def fold(text: str) -> str:
    """Text for comparison: lower case, white space and curly quotes folded.

    >>> fold("  The\\n ANSWER ")
    'the answer'
    """
    table = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "−": "-", "–": "-", "\u00a0": " "})
    return " ".join(text.translate(table).casefold().split())

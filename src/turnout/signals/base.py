"""What a signal is: named facts about a request, as one row of features per text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from turnout.base import Component
from turnout.features import Features, clip

LONG = 1000  # characters of plain text; others go through a slower tokenizer


def is_long(text: str) -> bool:
    """Whether signals may take over a millisecond on this text, measured on words that no cache holds.

    >>> is_long("short"), is_long("x" * 1001), is_long("é" * 251)
    (False, True, True)
    """
    return len(text) > (LONG if text.isascii() else LONG // 4)


class Signal(Component):
    """A pure function of the request's text. Override `_transform`, and `_fit` where a vocabulary is learned.

    `stage` says when it can be known; `blocking` marks one over a millisecond, which servers run in a thread pool.
    One that takes so long on some texts only overrides `is_slow`.
    """

    kind: ClassVar[str] = "signal"
    stage: ClassVar[Literal["before", "probe", "during", "after"]] = "before"
    blocking: ClassVar[bool] = False

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn from N texts what `transform` needs; labels are never seen."""
        self.check()
        self._fit([clip(text) for text in texts])
        return self

    def transform(self, texts: Sequence[str]) -> Features:
        """Features of shape (N, D). Only the first and last 1,000 characters of each text are read."""
        return self._transform([clip(text) for text in texts])

    def is_slow(self, text: str) -> bool:
        """Whether `transform` may take over a millisecond on this text."""
        return self.blocking or is_long(text)

    def _fit(self, texts: list[str]) -> None: ...

    def _transform(self, texts: list[str]) -> Features:
        raise NotImplementedError

"""A signal of what is a text's own: without the lines that many texts of the log share.

Instructions, worked examples and other boilerplate stand in every request of an application and tell nothing about one
of them; where they are long, they drown the question.

>>> texts = [f"Answer with a letter.\\nQ: 1 + 1\\nA: 2\\n\\nQ: {number} + 5\\nA:" for number in range(40)]
>>> Own().fit(texts).own(texts[7])
'Q: 7 + 5'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, Of, Rule
from turnout.features import Features
from turnout.signals.base import Signal
from turnout.signals.embedding import Embedding
from turnout.stats.boilerplate import shared_lines, without

__all__ = ["Own"]

FEWEST = 5  # texts that share a line by more than chance


class Own(Signal):
    """The signal `of`, read from a text without the lines that at least a share `common` of the log's texts hold.

    Lines are compared without the space around them, and counted once for each different text. A text that holds
    nothing but such lines stays whole.

    Source: `turnout.stats.boilerplate`.
    Limits: the instruction that is left out may be what tells one kind of request from another, so read this beside
    the signal itself; boilerplate that varies within its lines stays.
    """

    rules: ClassVar[dict[str, Rule]] = {"of": Of((Signal,)), "common": Number(0.0, 1.0)}

    def __init__(self, of: Signal = Embedding(), common: float = 0.01) -> None:
        self.of, self.common = of, common

    def check(self) -> None:
        """Raise ParameterError for a parameter that breaks its rule, of the inner signal too."""
        super().check()
        self.of.check()

    def fit(self, texts: Sequence[str]) -> Own:
        """Learn which lines are shared, and a copy of the inner signal from what is left."""
        self.check()
        self.shared_L_ = shared_lines(texts, self.common, FEWEST)
        self.of_ = self.of.clone().fit([self.own(text) for text in texts])
        return self

    def is_slow(self, text: str) -> bool:
        return super().is_slow(text) or self.of.is_slow(text)

    def transform(self, texts: Sequence[str]) -> Features:
        self.require_fitted()
        return self.of_.transform([self.own(text) for text in texts])

    def own(self, text: str) -> str:
        """The lines of a text that few others hold; the text itself where there are none."""
        self.require_fitted()
        return without(text, self._known())

    def _known(self) -> frozenset[int]:
        """The shared lines as a set, made anew when others have been learned or loaded."""
        held: _Held | None = self.__dict__.get("_held")
        if held is None or held.source is not self.shared_L_:
            held = self._held = _Held(self.shared_L_, frozenset(self.shared_L_.tolist()))
        return held.known


class _Held(NamedTuple):
    source: NDArray[np.uint32]
    known: frozenset[int]

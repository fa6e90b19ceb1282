"""How hard a text is to read.

>>> easy, hard = Readability().transform(["The cat sat on the mat.", "Notwithstanding jurisdictional considerations"])
>>> bool(easy[0] < 0.33 < hard[0])
True
"""

from __future__ import annotations

import re
from typing import ClassVar

import numpy as np

from turnout.base import Rule
from turnout.features import Floats
from turnout.signals.base import Signal

__all__ = ["Readability"]

_WORD = re.compile(r"[^\W\d_]+")
_SENTENCE = re.compile(r"[.!?]+(?:\s|$)")
_VOWELS = re.compile(r"[aeiouyäöüàâéèêëîïôûœæáíóúãõ]+")


class Readability(Signal):
    """(100 − Flesch reading ease) / 100: shape (N, 1), float32, in [-1, 3]; about 0 is easy and 1 is hard.

    Flesch, "A new readability yardstick" (1948): 206.835 − 1.015 · words a sentence − 84.6 · syllables a word. A
    syllable is a run of vowels, less a silent `e` at the end of an English word.

    Limits: made for English prose; code and formulas have no syllables, and a text without letters counts as 0.
    """

    rules: ClassVar[dict[str, Rule]] = {}

    def _transform(self, texts: list[str]) -> Floats:
        return np.array([[_hardness(text)] for text in texts], dtype=np.float32).reshape(len(texts), 1)


def _hardness(text: str) -> float:
    words = _WORD.findall(text.lower())
    if not words:
        return 0.0
    sentences = max(len(_SENTENCE.findall(text)), 1)
    ease = 206.835 - 1.015 * len(words) / sentences - 84.6 * sum(map(_syllables, words)) / len(words)
    return min(max((100.0 - ease) / 100.0, -1.0), 3.0)


def _syllables(word: str) -> int:
    runs = len(_VOWELS.findall(word))
    silent = word.endswith("e") and not word.endswith("le") and runs > 1
    return max(runs - silent, 1)

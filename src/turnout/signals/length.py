"""How long a text is.

>>> short, long = Length().transform(["Hi", "one two three\\nfour"])
>>> bool((short < long).all())
True
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from turnout.features import Floats, clip
from turnout.signals.base import Signal

__all__ = ["Length"]


class Length(Signal):
    """Characters, words and lines of the whole text on a log scale: shape (N, 3), float32, about −2 to 5.

    The scales are fixed, so values logged by one router mean the same to the next. Words and lines of a text over
    2,000 characters are extrapolated from the ones that are read.

    Limits: a language written without spaces counts as few words.
    """

    def transform(self, texts: Sequence[str]) -> Floats:
        rows = [_row(text) for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(rows), 3)


def _row(text: str) -> tuple[float, float, float]:
    read = clip(text)
    stretch = len(text) / len(read) if read else 1.0
    words, lines = len(read.split()) * stretch, read.count("\n") * stretch
    return (
        (math.log1p(len(text)) - 5.0) / 2.0,
        (math.log1p(words) - 3.5) / 1.7,
        (math.log1p(lines) - 0.5) / 1.1,
    )

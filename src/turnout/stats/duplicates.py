"""Near-duplicate texts: groups by Jaccard similarity of character 5-grams."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def normalise(text: str) -> str:
    """Lower case, white space folded.

    >>> normalise("  What  is\\nThis? ")
    'what is this?'
    """
    return " ".join(text.lower().split())


def grams(text: str) -> frozenset[str]:
    """The character 5-grams of a normalised text; a shorter one is its own gram."""
    return frozenset(text[i : i + 5] for i in range(max(1, len(text) - 4))) if text else frozenset()


def jaccard(a: str, b: str) -> float:
    """Shared over all character 5-grams of two texts."""
    left, right = grams(normalise(a)), grams(normalise(b))
    return len(left & right) / len(left | right) if left or right else 0.0


def near_duplicates(texts: Sequence[str], threshold: float = 0.9) -> NDArray[np.int64]:
    """Group id per text."""
    first: dict[str, int] = {}
    found = [first.setdefault(normalise(t) or f"\0{i}", i) for i, t in enumerate(texts)]
    return np.unique(np.array(found, dtype=np.int64), return_inverse=True)[1]

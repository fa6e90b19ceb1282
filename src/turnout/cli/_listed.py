"""Names with commas between them, as several options take them."""

from __future__ import annotations

__all__ = ["listed"]


def listed(text: str) -> list[str]:
    """Without the space around them, and without empty ones.

    >>> listed("ridge, knn,")
    ['ridge', 'knn']
    """
    return [name for part in text.split(",") if (name := part.strip())]

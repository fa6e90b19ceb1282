"""Counts of WordPiece tokens."""

from __future__ import annotations

from turnout import registry
from turnout.signals.encoders.static import load


def test_counts_are_of_the_shipped_vocabulary() -> None:
    made = registry.create("signal", "tokens")
    rows = made.transform(["Route the map", "", "route ROUTE route"])
    vocabulary = load("minilm").vocabulary
    assert rows.shape == (3, len(vocabulary))
    dense = rows.toarray()
    assert dense[0, vocabulary["route"]] == 1
    assert dense[1].sum() == 0
    assert dense[2, vocabulary["route"]] == dense[2].sum() == 3

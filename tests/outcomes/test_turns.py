"""What is the text of a list becomes its turns, and nothing else changes."""

from __future__ import annotations

import pytest

from turnout.outcomes.turns import LONGEST, turns


@pytest.mark.parametrize(
    ("prompt", "read"),
    [
        ("['one', 'two\\nthree']", "one\ntwo\nthree"),
        (["one", 2], "one\n2"),
        ("[not a list", "[not a list"),
        ("[1, 2] is a list", "[1, 2] is a list"),
        ("['" + "x" * LONGEST + "']", "['" + "x" * LONGEST + "']"),
        ("plain", "plain"),
        (None, None),
    ],
)
def test_turns(prompt: object, read: object) -> None:
    assert turns(prompt) == read

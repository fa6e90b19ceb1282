from __future__ import annotations

import pytest

from turnout.cli._listed import listed


@pytest.mark.parametrize(("text", "names"), [("a", ["a"]), (" a , b", ["a", "b"]), ("a,,b,", ["a", "b"]), (" , ", [])])
def test_space_and_empty_names_are_dropped(text: str, names: list[str]) -> None:
    assert listed(text) == names

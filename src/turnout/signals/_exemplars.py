"""Sets of example texts that ship with the package, each with a positive and a negative side."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

SHIPPED = ("complexity", "jailbreak")


@cache
def load(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The positive and the negative examples of a shipped set.

    >>> positive, negative = load("jailbreak")
    >>> len(positive), len(negative)
    (20, 20)
    """
    text = (files("turnout") / "data" / "exemplars" / f"{name}.toml").read_text(encoding="utf-8")
    found = tomllib.loads(text)
    return tuple(found["positive"]), tuple(found["negative"])

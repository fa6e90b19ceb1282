"""What each registered part is, as rows and as the page `docs/nn_parts.md`."""

from __future__ import annotations

import inspect
from typing import NamedTuple

from turnout import registry
from turnout.nn import KINDS


class Entry(NamedTuple):
    """One part: its kind, its registered name, its class's name, what it is, and where it comes from."""

    kind: str
    name: str
    title: str
    what: str
    source: str


def parts(kind: str | None = None) -> list[Entry]:
    """Every registered part of a kind, or of all kinds in the order of a layer.

    >>> [entry.title for entry in parts("combiner") if entry.name == "weighted_sum"]
    ['WeightedSum']
    """
    return [_entry(each, name) for each in (KINDS if kind is None else (kind,)) for name in registry.names(each)]


def markdown() -> str:
    """The page: one table a kind."""
    lines = [
        "# Parts of a routed layer",
        "",
        "Generated from the registry; do not edit. `from turnout.nn import NAME` gives the class, whose docstring has "
        "shapes, limits and an example.",
    ]
    for kind in KINDS:
        lines += ["", f"## {kind.capitalize()}", "", "| class | registered as | what | source |", "|---|---|---|---|"]
        lines += [f"| `{e.title}` | `{e.name}` | {e.what} | {e.source} |" for e in parts(kind)]
    return "\n".join(lines) + "\n"


def _entry(kind: str, name: str) -> Entry:
    cls = registry.get(kind, name)
    paragraphs = [" ".join(text.split()) for text in (inspect.getdoc(cls) or "").split("\n\n")]
    source = next((text.partition("Source: ")[2] for text in paragraphs if "Source: " in text), "")
    return Entry(kind, name, cls.__name__, _cell(paragraphs[0]), _cell(source.partition(" Limits: ")[0]))


def _cell(text: str) -> str:
    """One line that cannot break a table."""
    return text.replace("|", "\\|").strip()

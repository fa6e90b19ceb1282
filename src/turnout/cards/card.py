"""A card: what an expert says of itself. Read from JSON lines, a JSON table of descriptions, or XML agent lists.

>>> Card.parse({"id": "weather", "description": "Forecasts for any city."}).name
'weather'
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turnout.errors import CardError, did_you_mean

FIELDS = ("name", "description", "body", "examples")
LONGEST = 200_000  # characters of one field: a manual fits, a log file does not


@dataclass(frozen=True, slots=True)
class Card:
    """An expert as text. `body` is its full text (a skill's instructions, an API's manual), `examples` are utterances
    it should get, `needs` the ids of cards it cannot work without.
    """

    id: str
    name: str
    description: str = ""
    body: str = ""
    examples: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @classmethod
    def parse(cls, given: object, where: str = "card") -> Card:
        """A card from a mapping; `id` or `name` is needed, keys that are no field are ignored. Raises CardError."""
        if not isinstance(given, Mapping):
            raise CardError(f"{where}: must be an object with {', '.join(('id', *FIELDS))}, got {type(given).__name__}")
        keys = ("id", "name", "description", "body")
        id, name, description, body = (_text(given.get(key), f"{where}: `{key}`") for key in keys)
        examples, needs = (_texts(given.get(key), f"{where}: `{key}`") for key in ("examples", "needs"))
        if not id and not name:
            raise CardError(f"{where}: needs an `id` or a `name` that is no empty text, got {_shown(given)}")
        return cls(id or name, name or id, description, body, examples, needs)

    @property
    def summary(self) -> str:
        """Name and description, which is what an embedding of the card reads."""
        return f"{self.name}. {self.description}" if self.description else self.name

    def fields(self) -> dict[str, str]:
        """Text per field; examples are joined by new lines."""
        joined = "\n".join(self.examples)
        return {"name": self.name, "description": self.description, "body": self.body, "examples": joined}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without what is empty."""
        lists = {"examples": list(self.examples), "needs": list(self.needs)}
        texts = {"id": self.id, "name": self.name, "description": self.description, "body": self.body}
        return {key: value for key, value in {**texts, **lists}.items() if value}


def read_cards(path: Path | str) -> list[Card]:
    """Cards of a `.jsonl` file, a `.json` file (a list of cards, or an object of id → description), or `.xml` agents.

    Raises CardError with the line at fault; ids must differ.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"cannot read cards from {path}: {error}") from error
    found = _xml(text, path) if path.suffix == ".xml" else _json(text, path)
    return unique(Card.parse(given, where) for where, given in found)


def write_cards(path: Path | str, cards: Iterable[Card]) -> None:
    """Cards as JSON lines; the file appears whole or not at all."""
    path = Path(path)
    lines = [json.dumps(card.to_dict(), ensure_ascii=False) + "\n" for card in cards]
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes("".join(lines).encode("utf-8", "backslashreplace"))
    fresh.replace(path)


def unique(cards: Iterable[Card], taken: Container[str] = ()) -> list[Card]:
    """The cards, if no id repeats or is taken already. Raises CardError."""
    seen: set[str] = set()
    kept = []
    for card in cards:
        if not isinstance(card, Card):
            raise CardError(f"a card must be a Card, got {type(card).__name__}")
        if card.id in seen or card.id in taken:
            raise CardError(f"card ids must differ, got {card.id!r} twice")
        seen.add(card.id)
        kept.append(card)
    return kept


def closure(cards: Iterable[Card], ids: Iterable[str]) -> list[str]:
    """The ids with everything that they need, what is needed first. Raises CardError where a card is missing.

    >>> closure([Card("edit", "Edit", needs=("open",)), Card("open", "Open")], ["edit"])
    ['open', 'edit']
    """
    known = {card.id: card for card in cards}
    found: dict[str, None] = {}
    waiting = list(dict.fromkeys(ids))[::-1]
    opened: set[str] = set()
    while waiting:
        id = waiting[-1]
        if id not in known:
            raise CardError(f"no card {id!r}, which is needed{did_you_mean(id, known)} {len(known):,} cards known")
        missing = [need for need in known[id].needs if need not in found and need not in opened]
        if missing and id not in found:
            opened.add(id)
            waiting += missing[::-1]
        else:
            found[waiting.pop()] = None
    return list(found)


def _json(text: str, path: Path) -> Iterator[tuple[str, object]]:
    if path.suffix == ".json":
        table = _loads(text, str(path))
        if isinstance(table, dict):
            for id, about in table.items():
                yield f"{path}: {id!r}", {"id": id, **(about if isinstance(about, dict) else {"description": about})}
            return
        if not isinstance(table, list):
            raise CardError(f"{path}: must hold a list of cards or an object, got {type(table).__name__}")
        for place, given in enumerate(table):
            yield f"{path}, card {place + 1}", given
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{path}, line {number}", _loads(line, f"{path}, line {number}")


def _xml(text: str, path: Path) -> Iterator[tuple[str, object]]:
    """TCAR's agent lists: `<Agents><Agent><Name/><Description/><ID/></Agent></Agents>`."""
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise CardError(f"{path} is no XML: {error}") from error
    for place, agent in enumerate(root.iter("Agent"), start=1):
        keys = {"ID": "id", "Name": "name", "Description": "description", "Body": "body"}
        yield f"{path}, agent {place}", {key: (agent.findtext(tag) or "").strip() for tag, key in keys.items()}


def _loads(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CardError(f"{where}: not JSON: {error}") from error


def _text(value: object, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CardError(f"{where} must be a text, got {_shown(value)}")
    if len(value) > LONGEST:
        raise CardError(f"{where} must have at most {LONGEST:,} characters, got {len(value):,}")
    return value.strip()


def _texts(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise CardError(f"{where} must be a list of texts, got {_shown(value)}")
    return tuple(text for item in value if (text := _text(item, where)))


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."

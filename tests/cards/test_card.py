"""Cards are read from three formats; bad input is refused with its place."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.cards import Card, read_cards, write_cards
from turnout.cards.labels import read_utterances
from turnout.errors import CardError

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["id", "name", "description", "body", "examples", "needs", "other"])


@given(st.dictionaries(KEYS, JSON) | JSON)
def test_anything_is_a_card_or_a_card_error(value: object) -> None:
    try:
        card = Card.parse(value)
    except CardError:
        return
    assert card.id
    assert card.name
    assert Card.parse(card.to_dict()) == card


def test_cards_survive_a_file(tmp_path: Path) -> None:
    cards = [
        Card("a", "A", "desc", "body", ("one", "two"), ("b",)),
        Card("b", "ü\ud800 lone surrogate".encode("utf-8", "replace").decode()),
        Card("c", "C", "a line\u2028another\x85and one more\x0bstill the same"),
    ]
    write_cards(tmp_path / "cards.jsonl", cards)
    assert read_cards(tmp_path / "cards.jsonl") == cards


@pytest.mark.parametrize(
    ("name", "text"), [("a.jsonl", '{"id": "x"}\r\n{"id": "y"}\r\n'), ("a.json", '{"x": "", "y": ""}')]
)
def test_files_of_windows_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(BOM_UTF8 + text.encode())
    assert [card.id for card in read_cards(tmp_path / name)] == ["x", "y"]


def test_utterances_are_read(tmp_path: Path) -> None:
    rows = [{"text": "one\u2028and the same", "expert": "a"}, {"text": "nothing of yours", "expert": None}]
    lines = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "said.jsonl").write_bytes(BOM_UTF8 + lines.encode())
    assert read_utterances(tmp_path / "said.jsonl") == ([row["text"] for row in rows], ["a", None])


def test_tables_of_descriptions_and_agent_lists_are_read(tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text(json.dumps({"stocks": "Prices", "weather": {"description": "Rain"}}))
    assert [card.description for card in read_cards(tmp_path / "tools.json")] == ["Prices", "Rain"]
    (tmp_path / "agents.xml").write_text(
        "<Agents><Agent><Name> balance </Name><Description>Money left.</Description>"
        "<ID>bank:balance</ID></Agent></Agents>"
    )
    assert read_cards(tmp_path / "agents.xml") == [Card("bank:balance", "balance", "Money left.")]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"id": "x"}\n\n{"id": 3}', "line 3: `id` must be a text, got 3"),
        ("a.jsonl", '{"id": "x"}\n{', "line 2: not JSON"),
        ("a.jsonl", '{"id": "x"}\n{"id": "x"}', "ids must differ, got 'x' twice"),
        ("a.jsonl", '{"description": "nameless"}', "needs an `id` or a `name`"),
        ("a.jsonl", '{"id": "x", "examples": "one"}', "`examples` must be a list of texts, got 'one'"),
        ("a.json", "3", "must hold a list of cards or an object, got int"),
        ("a.xml", "<Agents>", "is no XML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CardError) as caught:
        read_cards(tmp_path / name)
    assert said in str(caught.value)


def test_a_missing_file_is_a_card_error(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="cannot read cards"):
        read_cards(tmp_path / "none.jsonl")

"""What changes live is what a fresh index would be; cards are found by words and by meaning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.cards import Card, CardIndex, index, vectors
from turnout.cards.lexical import Lexical
from turnout.cards.words import words
from turnout.errors import CardError, ParameterError

TEXTS = st.text(alphabet="ab cdé-_A3", max_size=12)


def encode(texts: Sequence[str]) -> np.ndarray:
    """A stand-in encoder: counts of letters, unit length."""
    rows = np.array([[text.count(letter) for letter in "abcdeé"] for text in texts], dtype=np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def card(number: int, text: str) -> Card:
    return Card(f"c{number}", f"n{number}", text.strip(), text[::-1].strip(), tuple(text.split()))


@settings(max_examples=60)
@given(st.lists(TEXTS, min_size=1, max_size=12), st.data(), TEXTS)
def test_live_changes_equal_a_fresh_index(texts: list[str], data: st.DataObject, query: str) -> None:
    cards = [card(n, text) for n, text in enumerate(texts)]
    gone = data.draw(st.sets(st.sampled_from(cards), max_size=len(cards)))
    live = CardIndex(cards[: len(cards) // 2], encode=encode)
    for one in cards[len(cards) // 2 :]:
        live.add(one)
    live.remove([one.id for one in gone])
    fresh = CardIndex([one for one in cards if one not in gone], encode=encode)
    assert live.cards == fresh.cards
    assert live.search(query, k=5) == fresh.search(query, k=5)
    assert CardIndex.restore(live.state(), encode).search(query, k=5) == fresh.search(query, k=5)


def test_chinese_cards_are_found_by_a_word_within_a_sentence() -> None:
    lexical = Lexical()
    for text in ("查询未来几天的天气预报", "预订火车票", "播放一首歌曲"):
        lexical.add({"description": text})
    scores = lexical.scores("今天的天气怎么样")
    assert scores[0] > 0.0 == scores[1] == scores[2]


def test_many_cards_change_live_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortlist, and the rebuild without removed slots, give what a fresh index gives."""
    monkeypatch.setattr(vectors, "EXACT", 64)
    monkeypatch.setattr(vectors, "SHORTLIST", 32)
    monkeypatch.setattr(index, "POOL", 16)
    monkeypatch.setattr(index, "SPARE", 16)
    rng = np.random.default_rng(0)
    cards = [card(n, " ".join(map(str, rng.integers(0, 60, 8)))) for n in range(300)]
    live = CardIndex(cards)
    live.remove([one.id for one in cards[:120]])
    live.add(cards[:20])
    fresh = CardIndex([*cards[120:], *cards[:20]])
    assert live.cards == fresh.cards
    for one in cards[:40:3]:
        found, expected = live.search(one.description, k=3), fresh.search(one.description, k=3)
        assert [hit.card.id for hit in found] == [hit.card.id for hit in expected]
        np.testing.assert_allclose([hit.score for hit in found], [hit.score for hit in expected], rtol=1e-5)


def test_the_shortlist_holds_the_nearest() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(6000, 64))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    stored = vectors.Vectors(64)
    stored.add(rows)
    for at in range(20):
        near = stored.near(rows[at] + 0.05 * rng.normal(size=64))
        assert near is not None
        assert at in near
        assert len(near) < len(rows) / 2


def test_removed_cards_take_no_place_from_those_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many cards on one topic go: the ones left are still found, by meaning and by words."""
    monkeypatch.setattr(vectors, "EXACT", 64)
    monkeypatch.setattr(vectors, "SHORTLIST", 32)
    monkeypatch.setattr(index, "POOL", 16)
    rng = np.random.default_rng(0)
    rows = {f"n{n}": rng.standard_normal(32) + 4.0 * (n < 80) for n in range(301)} | {"ask": np.full(32, 1.0)}
    live = CardIndex(
        (Card(f"c{n}", f"n{n}") for n in range(301)), encode=lambda texts: np.stack([rows[t] for t in texts])
    )
    live.remove([f"c{n}" for n in range(79)])
    assert live.search("ask", k=1)[0].card.id == "c79"
    assert [len(live.search("ask", k=k)) for k in (16, 100, 300)] == [16, 100, 222]


def test_words_of_removed_cards_alone_are_no_rare_words() -> None:
    lexical = Lexical()
    for text in ("rain today", "rain tomorrow", "zyx"):
        lexical.add({"description": text})
    lexical.remove(2)
    assert lexical.rough("rain zyx")[:2].all()


def test_words_count_and_rare_words_count_more() -> None:
    lexical = Lexical()
    for text in ("stock prices today", "weather today", "weather today again"):
        lexical.add({"description": text})
    scores = lexical.scores("stock weather today")
    assert scores[0] > scores[1] > scores[2] > 0
    assert scores.max() <= lexical.most("stock weather today")
    assert not lexical.scores("nothing known").any()


def test_found_by_words_alone_or_by_meaning_alone() -> None:
    cards = [Card("rain", "Weather", "Forecasts"), Card("zq7", "zq7", "Frobnicates")]
    assert CardIndex(cards, blend=0.0).search("frobnicate")[0].card.id == "zq7"
    assert CardIndex(cards, blend=1.0).search("will there be a storm tomorrow")[0].card.id == "rain"


def test_a_body_is_searched() -> None:
    bodies = {"a": "Use the retry queue.", "b": "Rotate the certificates."}
    found = CardIndex([Card(id, "skill", "Operations", body) for id, body in bodies.items()])
    assert found.search("certificates to rotate", k=1)[0].card.id == "b"


def test_an_empty_index_finds_nothing() -> None:
    empty = CardIndex()
    assert empty.search("anything") == []
    empty.add(Card("a", "A"))
    empty.remove("a")
    assert empty.search("A") == []
    assert CardIndex.restore(empty.state()).cards == ()


def test_bad_input_changes_nothing() -> None:
    found = CardIndex([Card("a", "A")])
    with pytest.raises(CardError, match="'a' twice"):
        found.add([Card("b", "B"), Card("a", "again")])
    with pytest.raises(CardError, match="no card 'x'"):
        found.remove(["a", "x"])
    with pytest.raises(CardError, match="a query must be a text, got int"):
        found.search(3)  # type: ignore[arg-type]
    with pytest.raises(CardError, match="must be a Card, got str"):
        found.add(["text"])  # type: ignore[list-item]
    with pytest.raises(ParameterError, match="`k` must be"):
        found.search("a", k=0)
    with pytest.raises(ParameterError, match="`blend` must be"):
        CardIndex(blend=2.0)
    with pytest.raises(ParameterError, match="`weights` must name fields"):
        CardIndex(weights={"title": 1.0})
    assert [one.id for one in found.cards] == ["a"]


@given(st.text(max_size=40))
def test_words_are_lower_case_letters_and_digits(text: str) -> None:
    assert all(word.isalnum() for word in words(text))


@settings(max_examples=40)
@given(st.lists(TEXTS, min_size=1, max_size=30), TEXTS)
def test_a_few_cards_score_as_all_do(texts: list[str], query: str) -> None:
    lexical = Lexical()
    for text in texts:
        lexical.add({"description": text})
    some = np.arange(0, len(texts), 2)
    np.testing.assert_allclose(lexical.at(query, some), lexical.scores(query)[some], rtol=1e-5)
    assert (lexical.rough(query) <= lexical.scores(query) + 1e-5).all()

"""Choosing sets of experts, refusing, and experts that come and go without a refit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.cards import Card, CardRouter
from turnout.cards.reports import report
from turnout.cards.router import KIND, phrases_of
from turnout.errors import CardError, NotFittedError, ParameterError, StateError
from turnout.routers import saving
from turnout.signals.sentence import Sentence
from turnout.testing.encoders import HIDDEN, tensors, write

from .conftest import card, labelled, utterances

TESTS = 12


def fresh(fitted: CardRouter, tmp_path: Path) -> CardRouter:
    fitted.save(tmp_path / "router")
    return CardRouter.load(tmp_path / "router")


def test_it_finds_the_expert_and_says_why(fitted_state: CardRouter) -> None:
    choice = fitted_state.select("is it going to rain or snow, do i need an umbrella")
    assert choice.experts[0] == "weather"
    assert not choice.refused
    assert "coverage of 95%" in choice.reason
    assert choice.ranking[0][0] == "weather"
    assert sum(score for _, score in choice.ranking) <= 1.0 + 1e-6


def test_sets_hold_the_right_expert_and_strangers_are_refused(fitted_state: CardRouter, topics: list[str]) -> None:
    texts, experts = labelled(topics[:-1], TESTS, seed=5)
    strange = ["colourless green ideas sleep furiously", "zxqv wuhj 77", "why is the moon made of cheese"]
    found = report(fitted_state, [*texts, *strange], [*experts, None, None, None])
    assert found["accuracy"] > 0.9
    assert found["coverage"] > 0.85
    assert found["kept"] > 0.8
    assert found["refused"] > 0.6
    refusal = next(c for c in fitted_state.select_many(strange) if c.refused)
    assert "out of scope" in refusal.reason
    assert refusal.experts == ()


def test_a_newcomer_is_found_by_its_card_alone(fitted_state: CardRouter, topics: list[str], tmp_path: Path) -> None:
    router = fresh(fitted_state, tmp_path)
    last = topics[-1]
    before = router.judge(labelled(topics[:-1], TESTS, seed=6)[0])[0]
    router.add(card(last))
    logits_NE, _ = router.judge(utterances(last, TESTS, seed=6))
    assert (logits_NE.argmax(axis=1) == len(topics) - 1).mean() > 0.7
    texts, experts = labelled(topics[:-1], TESTS, seed=6)
    after = router.judge(texts)[0]
    np.testing.assert_allclose(after[:, :-1], before, atol=1e-5)  # the others' scores stay as they were
    right = np.array([topics.index(expert) for expert in experts])
    assert (after.argmax(axis=1) == right).mean() > 0.9
    assert "known by its card alone" in router.select("which actor was in that film at the cinema").reason


def test_adding_and_removing_leaves_no_trace(fitted_state: CardRouter, tmp_path: Path) -> None:
    router = fresh(fitted_state, tmp_path)
    texts = utterances("weather", 5, seed=7)
    before = router.judge(texts)
    router.add([card("movies"), Card("other", "Other", "Anything else", examples=("sing me a lullaby", "hum a tune"))])
    assert router.select("sing a lullaby and hum a tune").ranking[0][0] in {"other", "music"}
    router.remove(["movies", "other"])
    after = router.judge(texts)
    np.testing.assert_allclose(after[0], before[0], atol=1e-5)
    np.testing.assert_allclose(after[1], before[1], atol=1e-5)
    router.remove("weather")
    assert all("weather" not in dict(choice.ranking) for choice in router.select_many(texts))


def test_another_encoder_reads_cards_and_texts_and_comes_back_with_the_router(
    topics: list[str], tmp_path: Path
) -> None:
    weights = write(tmp_path / "tiny.safetensors", tensors())
    plain = CardRouter([card(topic) for topic in topics], encoder=Sentence(str(weights)))
    known = CardRouter([card(topic) for topic in topics[:-1]], encoder=Sentence(str(weights)))
    texts = utterances("cars", 3, seed=8)
    fitted = known.fit(*labelled(topics[:-1], 12, seed=0))
    assert fitted.learned is not None
    assert fitted.learned.signals["embedding"].transform(texts).shape == (3, HIDDEN)
    for router in (plain, fitted):
        again = fresh(router, tmp_path)
        again.add(Card("late", "Late", "Comes after the others"))
        router.add(Card("late", "Late", "Comes after the others"))
        assert again.index.scores(texts)[1] == pytest.approx(router.index.scores(texts)[1], abs=1e-6)
        assert [choice.ranking for choice in again.select_many(texts)] == [
            choice.ranking for choice in router.select_many(texts)
        ]


def test_a_router_saved_before_encoders_were_named_reads_by_the_shipped_table(tmp_path: Path) -> None:
    router = CardRouter([card("cars"), card("music")])
    saving.write(tmp_path / "old", {"kind": KIND, "index": router.index.state(), "learned": None})
    assert CardRouter.load(tmp_path / "old").select("guitar song").experts == ("music",)


def test_a_saved_router_chooses_alike(fitted_state: CardRouter, tmp_path: Path) -> None:
    router = fresh(fitted_state, tmp_path)
    texts = [*utterances("cars", 4, seed=8), "nothing at all like it"]
    assert router.select_many(texts) == fitted_state.select_many(texts)
    (tmp_path / "router" / "arrays.npz").write_bytes(b"damaged")
    with pytest.raises(StateError):
        CardRouter.load(tmp_path / "router")


def test_without_labels_the_best_card_is_chosen_and_nothing_refused(tmp_path: Path) -> None:
    router = CardRouter([card("weather"), card("stocks")])
    choice = router.select("will the storm bring snow", most=2)
    assert choice.experts[0] == "weather"
    assert len(choice.experts) == 2
    assert "not fitted" in choice.reason
    with pytest.raises(NotFittedError):
        router.judge(["a"])
    router.save(tmp_path / "r")
    assert CardRouter.load(tmp_path / "r").select("snow").experts == ("weather",)


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_chosen_for_or_refused(fitted_state: CardRouter, text: str) -> None:
    choice = fitted_state.select(text)
    assert choice.refused == (choice.scope is not None and choice.floor is not None and choice.scope < choice.floor)
    assert len(set(choice.experts)) == len(choice.experts)
    assert all(np.isfinite(score) for _, score in choice.ranking)


def test_bad_input_is_refused() -> None:
    with pytest.raises(CardError, match="no card to choose from"):
        CardRouter().select("x")
    router = CardRouter([card("weather"), card("stocks")])
    with pytest.raises(CardError, match="must be a text, got NoneType"):
        router.select(None)  # type: ignore[arg-type]
    with pytest.raises(CardError, match="no card 'wether'; did you mean 'weather'"):
        router.fit(["rain"] * 12, ["wether"] * 12)
    with pytest.raises(CardError, match="text 2: must be a text"):
        router.fit(["rain", 3], ["weather", "weather"])  # type: ignore[list-item]
    with pytest.raises(CardError, match="each text needs its expert"):
        router.fit([], [])
    with pytest.raises(CardError, match="at least 10 different texts"):
        router.fit(["rain"] * 50, ["weather"] * 50)
    with pytest.raises(CardError, match="`calibration` needs two texts or more"):
        router.fit(*labelled(["weather", "stocks"], 20, seed=0), calibration=(["rain"], ["weather"]))
    for most in (0, -1):
        with pytest.raises(ParameterError, match=f"`most` must be a positive integer or None, got {most}"):
            router.select("rain", most=most)
    for name in ("coverage", "cede"):
        with pytest.raises(ParameterError, match=name):
            router.fit(["rain"] * 12, ["weather"] * 12, **{name: 1.5})


def test_two_experts_are_enough_to_fit() -> None:
    pair = ["weather", "stocks"]
    router = CardRouter(map(card, pair)).fit(*labelled(pair, 40, seed=1))
    assert router.select("snow and storm forecast").ranking[0][0] == "weather"
    router.add(card("movies"))
    assert len(router.judge(["a film"])[0][0]) == 3


def test_an_expert_without_utterances_is_new(topics: list[str]) -> None:
    router = CardRouter(map(card, topics)).fit(*labelled(topics[:-1], 20, seed=2))
    assert router.new_E.tolist() == [False] * (len(topics) - 1) + [True]
    assert router.select("the film director and the actor").ranking[0][0] == topics[-1]


def test_phrases_begin_with_the_name() -> None:
    assert phrases_of(Card("a", "A")) == ["A"]


def test_clinc150_by_cards_alone(shared_data: Path) -> None:
    """Every tenth test utterance against the 150 written cards, nothing fitted."""
    from turnout.systems._cards import clinc150

    cards, splits = clinc150(shared_data)
    texts, experts = splits["test"]
    router = CardRouter(cards)
    hits = [router.select(text).experts[0] == expert for text, expert in zip(texts[::10], experts[::10], strict=True)]
    assert np.mean(hits) > 0.68

"""What every registered matcher promises."""

from __future__ import annotations

import numpy as np
import pytest

from turnout import registry
from turnout.cards.matchers import Matcher
from turnout.errors import NotFittedError, ParameterError
from turnout.features import take
from turnout.state import pack, unpack

NAMES = registry.names("matcher")
EXPERTS, EACH = 4, 15


def made(seed: int = 0) -> tuple[dict, dict, np.ndarray]:
    """Cards and texts as signals: clusters around four directions, sparse rows with a word per expert."""
    rng = np.random.default_rng(seed)
    expert_N = np.repeat(np.arange(EXPERTS), EACH)

    def unit(rows: np.ndarray) -> np.ndarray:
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    centres = np.eye(8)[:EXPERTS]
    texts = {
        "embedding": unit(centres[expert_N] + 0.1 * rng.normal(size=(len(expert_N), 8))),
        "tfidf": unit(centres[expert_N] + 0.1 * rng.random(size=(len(expert_N), 8))),
    }
    cards = {
        "embedding": unit(centres + 0.1 * rng.normal(size=(EXPERTS, 8))),
        "tfidf": unit(centres),
        "phrases": unit(np.repeat(centres, 2, axis=0) + 0.1 * rng.normal(size=(2 * EXPERTS, 8))),
        "phrase_count": np.full(EXPERTS, 2.0),
    }
    return cards, texts, expert_N


@pytest.mark.parametrize("name", NAMES)
def test_it_finds_the_expert(name: str) -> None:
    cards, texts, expert_N = made()
    matcher: Matcher = registry.create("matcher", name)
    scores_NE = matcher.fit(cards, texts, expert_N).score(made(seed=1)[1])
    assert scores_NE.shape == (len(expert_N), EXPERTS)
    assert (scores_NE.argmax(axis=1) == expert_N).mean() > 0.95


@pytest.mark.parametrize("name", NAMES)
def test_one_text_scores_as_among_others(name: str) -> None:
    cards, texts, expert_N = made()
    matcher = registry.create("matcher", name).fit(cards, texts, expert_N)
    alone = matcher.score(take(texts, np.array([7])))
    np.testing.assert_allclose(alone, matcher.score(texts)[7:8], atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_newcomers_come_and_go(name: str) -> None:
    cards, texts, expert_N = made()
    matcher = registry.create("matcher", name).fit(cards, texts, expert_N)
    before = matcher.score(texts)
    fresh = {**take({k: cards[k] for k in ("embedding", "tfidf")}, np.array([1]))}
    fresh |= {"phrases": cards["phrases"][2:5], "phrase_count": np.array([3.0])}
    matcher.add(fresh)
    after = matcher.score(texts)
    np.testing.assert_allclose(after[:, :EXPERTS], before, atol=1e-5)
    assert np.isfinite(after[:, EXPERTS]).all() == matcher.by_card
    assert np.isnan(after[:, EXPERTS]).all() != matcher.by_card
    matcher.remove(0)
    np.testing.assert_allclose(matcher.score(texts), after[:, 1:], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_an_expert_without_utterances_is_scored_by_its_card_or_not_at_all(name: str) -> None:
    cards, texts, expert_N = made()
    keep = expert_N != 2
    matcher = registry.create("matcher", name).fit(cards, take(texts, np.flatnonzero(keep)), expert_N[keep])
    assert np.isnan(matcher.score(texts)[:, 2]).all() != matcher.by_card


@pytest.mark.parametrize("experts", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_one_or_two_experts_are_enough(name: str, experts: int) -> None:
    cards, texts, expert_N = made()
    rows = np.flatnonzero(expert_N < experts)
    few = {k: v[: 2 * experts] if k == "phrases" else v[:experts] for k, v in cards.items()}
    scores = registry.create("matcher", name).fit(few, take(texts, rows), expert_N[rows]).score(take(texts, rows))
    assert scores.shape == (len(rows), experts)
    assert (scores.argmax(axis=1) == expert_N[rows]).mean() > 0.95


@pytest.mark.parametrize("name", NAMES)
def test_state_survives_saving(name: str) -> None:
    cards, texts, expert_N = made()
    matcher = registry.create("matcher", name).fit(cards, texts, expert_N)
    arrays: dict = {}
    document = pack(matcher, arrays)
    np.testing.assert_array_equal(unpack(document, arrays).score(texts), matcher.score(texts))


@pytest.mark.parametrize("name", NAMES)
def test_misuse_is_refused(name: str) -> None:
    cards, texts, expert_N = made()
    matcher = registry.create("matcher", name)
    with pytest.raises(NotFittedError):
        matcher.score(texts)
    with pytest.raises(ParameterError, match="must name experts"):
        matcher.fit(cards, texts, expert_N + 1)
    with pytest.raises(ValueError, match="rows"):
        matcher.fit(cards, texts, expert_N[:-1])

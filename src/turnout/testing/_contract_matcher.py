"""Checks on a matcher, on utterances around four directions. Shape letters: N texts, E experts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.errors import NotFittedError, ParameterError
from turnout.features import Floats, take
from turnout.testing._contract_component import refusal, registered
from turnout.testing._contract_estimator import round_trip
from turnout.testing._imports import heavy_imports

__all__ = [
    "a_few_experts_are_enough",
    "a_newcomer_leaves_the_others_alone",
    "a_removed_expert_leaves_the_others_alone",
    "fit_is_deterministic",
    "fit_leaves_its_input_alone",
    "fit_returns_self",
    "one_text_scores_as_among_others",
    "saved_state_scores_the_same_bits",
    "score_before_fit_is_refused",
    "scores_find_the_expert",
    "scoring_imports_nothing_heavy",
    "unknown_experts_are_scored_by_card_or_not_at_all",
    "wrong_experts_are_refused",
]

Make = Callable[..., Any]

EXPERTS, EACH, WIDTH = 4, 15, 8
CLOSE = 1e-4  # float32 sums in another order


def fit_returns_self(make: Make) -> None:
    """`fit` gives back the matcher, fitted."""
    made = make()
    assert made.fit(*_problem()) is made, "fit must return self"
    assert made.learned(), "fit left no attribute that ends in `_`"


def fit_leaves_its_input_alone(make: Make) -> None:
    """Parameters, cards, texts and experts are as before."""
    made, given, before = make(), _problem(), _problem()
    shown = repr(made)
    made.fit(*given).score(given[1])
    for now, then in zip(given[:2], before[:2], strict=True):
        changed = [name for name in then if not np.array_equal(now[name], then[name])]
        assert not changed, f"fit changes {changed}"
    assert np.array_equal(given[2], before[2]), "fit changes the experts"
    assert repr(made) == shown, f"fit changes the parameters: {made!r}"


def fit_is_deterministic(make: Make) -> None:
    """Two fits on the same utterances give the same bits."""
    first, second = (make().fit(*_problem()).score(_problem(1)[1]) for _ in range(2))
    assert np.array_equal(first, second, equal_nan=True), "two fits score differently"


def score_before_fit_is_refused(make: Make) -> None:
    """`score`, `add` and `remove` raise NotFittedError before `fit`."""
    made = make()
    for name, argument in {"score": _problem()[1], "add": _card(), "remove": 0}.items():
        message = refusal(NotFittedError, lambda name=name, argument=argument: getattr(made, name)(argument))  # type: ignore[misc]
        assert message is not None, f"`{name}` works before `fit`"


def wrong_experts_are_refused(make: Make) -> None:
    """Utterances of an expert without a card raise ParameterError, another number of them ValueError."""
    cards, texts, expert_N = _problem()
    for wrong_N in (expert_N + 1, expert_N - 1, expert_N[:0]):
        some = take(texts, np.arange(len(wrong_N)))
        assert refusal(ParameterError, lambda n=wrong_N, t=some: make().fit(cards, t, n)), "a wrong expert is accepted"  # type: ignore[misc]
    assert refusal(ValueError, lambda: make().fit(cards, texts, expert_N[:-1])), "a missing expert is accepted"


def scores_find_the_expert(make: Make) -> None:
    """Shape (N, E), finite, and the right expert is first on new utterances; no text has no row."""
    made, (_, texts, expert_N) = make().fit(*_problem()), _problem(1)
    scores_NE = made.score(texts)
    assert scores_NE.shape == (len(expert_N), EXPERTS), f"shape {scores_NE.shape}"
    assert np.issubdtype(scores_NE.dtype, np.floating), f"dtype {scores_NE.dtype}"
    assert np.isfinite(scores_NE).all(), "a score is not finite"
    share = float((scores_NE.argmax(axis=1) == expert_N).mean())
    assert share > 0.95, f"the right expert is first for {share:.0%}"
    assert made.score(take(texts, np.arange(0))).shape == (0, EXPERTS), "no text has a row"


def one_text_scores_as_among_others(make: Make) -> None:
    """A text alone scores as in a batch, but for rounding."""
    made, (_, texts, expert_N) = make().fit(*_problem()), _problem(1)
    batch_NE = made.score(texts)
    for row in range(0, len(expert_N), 7):
        alone_NE = made.score(take(texts, np.array([row])))
        assert np.allclose(alone_NE, batch_NE[row : row + 1], atol=CLOSE), f"text {row} scores differently alone"


def a_few_experts_are_enough(make: Make) -> None:
    """One and two experts work."""
    cards, texts, expert_N = _problem()
    for experts in (1, 2):
        rows = np.flatnonzero(expert_N < experts)
        few = {name: v[: 2 * experts] if name == "phrases" else v[:experts] for name, v in cards.items()}
        scores_NE = make().fit(few, take(texts, rows), expert_N[rows]).score(take(texts, rows))
        assert scores_NE.shape == (len(rows), experts), f"{experts} experts: shape {scores_NE.shape}"
        assert (scores_NE.argmax(axis=1) == expert_N[rows]).mean() > 0.95, f"{experts} experts are mixed up"


def unknown_experts_are_scored_by_card_or_not_at_all(make: Make) -> None:
    """An expert without utterances has finite scores where `by_card` says so, else NaN alone."""
    made, (cards, texts, expert_N) = make(), _problem()
    known = np.flatnonzero(expert_N != EXPERTS - 2)
    scores_NE = made.fit(cards, take(texts, known), expert_N[known]).score(texts)
    _states_what_it_knows(made, scores_NE[:, EXPERTS - 2])
    assert np.isfinite(np.delete(scores_NE, EXPERTS - 2, axis=1)).all(), "an expert with utterances is not scored"


def a_newcomer_leaves_the_others_alone(make: Make) -> None:
    """`add` appends a column, by card or NaN, and moves no other; utterances that come with it are taken."""
    made, (_, texts, _) = make().fit(*_problem()), _problem(1)
    before_NE = made.score(texts)
    made.add(_card())
    made.add(_card(), take(_problem()[1], np.arange(3)))
    after_NE = made.score(texts)
    assert after_NE.shape == (len(before_NE), EXPERTS + 2), f"shape {after_NE.shape} after two newcomers"
    assert np.allclose(after_NE[:, :EXPERTS], before_NE, atol=CLOSE), "a newcomer moves the others"
    _states_what_it_knows(made, after_NE[:, EXPERTS])


def a_removed_expert_leaves_the_others_alone(make: Make) -> None:
    """`remove` takes one column away; later ones move up, whether they came by `fit` or by `add`."""
    made, (_, texts, _) = make().fit(*_problem()), _problem(1)
    made.add(_card())
    before_NE = made.score(texts)
    made.remove(1)
    made.remove(0)
    same = np.allclose(made.score(texts), before_NE[:, 2:], atol=CLOSE, equal_nan=True)
    assert same, "removing an expert moves the others"


def saved_state_scores_the_same_bits(make: Make) -> None:
    """A saved matcher gives the same bits, a newcomer included."""
    made, (_, texts, _) = make().fit(*_problem()), _problem(1)
    made.add(_card())
    if registered(made):
        same = np.array_equal(round_trip(made).score(texts), made.score(texts), equal_nan=True)
        assert same, "scores differ after saving and loading"


def scoring_imports_nothing_heavy(make: Make) -> None:
    """A fresh interpreter that loads and scores has imported neither scikit-learn, scipy, polars nor torch."""
    made = make().fit(*_problem())
    if registered(made):
        found = heavy_imports(made, "score", _problem(1)[1])
        assert not found, f"score imports {found}"


def _states_what_it_knows(made: Any, scores_N: Floats) -> None:
    wanted, found = ("finite", np.isfinite) if made.by_card else ("NaN", np.isnan)
    assert found(scores_N).all(), f"by_card is {made.by_card}, so scores by card alone must be {wanted}"


def _problem(seed: int = 0) -> tuple[dict[str, Any], dict[str, Any], NDArray[np.int64]]:
    """Cards and texts as signals, and the expert of each text."""
    random = np.random.default_rng(seed)
    expert_N = np.repeat(np.arange(EXPERTS), EACH)
    centres = np.eye(WIDTH)[:EXPERTS]

    def near(rows: Floats) -> Floats:
        return _unit(rows + 0.1 * random.normal(size=rows.shape))

    texts = {"embedding": near(centres[expert_N]), "tfidf": _unit(np.abs(near(centres[expert_N])))}
    cards = {
        "embedding": near(centres),
        "tfidf": _unit(centres),
        "phrases": near(np.repeat(centres, 2, axis=0)),
        "phrase_count": np.full(EXPERTS, 2.0),
    }
    return cards, texts, expert_N


def _card() -> dict[str, Any]:
    """A newcomer's card, near to the second expert's, with three phrases."""
    cards = _problem()[0]
    known = {name: cards[name][1:2] for name in ("embedding", "tfidf")}
    return {**known, "phrases": cards["phrases"][2:5], "phrase_count": np.array([3.0])}


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)

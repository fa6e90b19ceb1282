"""Checks on a floor, on utterances of three experts and on strangers. Shape letters: N texts, E experts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.cards.floors.base import Evidence
from turnout.errors import NotFittedError
from turnout.features import take
from turnout.testing._contract_component import refusal, registered
from turnout.testing._contract_estimator import round_trip
from turnout.testing._imports import heavy_imports

__all__ = [
    "experts_may_lack_utterances",
    "fit_is_deterministic",
    "fit_leaves_its_input_alone",
    "fit_returns_self",
    "one_text_scores_as_among_others",
    "saved_state_scores_the_same_bits",
    "score_before_fit_is_refused_where_something_is_learned",
    "scores_are_finite_and_one_per_text",
    "scoring_imports_nothing_heavy",
    "strangers_lie_below",
]

Make = Callable[..., Any]

EXPERTS, EACH, WIDTH = 3, 20, 6
CLOSE = 1e-4  # float32 sums in another order
EVIDENCE = "turnout.cards.floors.base:Evidence"


def fit_returns_self(make: Make) -> None:
    """`fit` gives back the floor."""
    made = make()
    assert _fitted(made) is made, "fit must return self"


def fit_leaves_its_input_alone(make: Make) -> None:
    """Parameters, texts and experts are as before."""
    made, (known, expert_N), (before, experts_before_N) = make(), _known(), _known()
    shown = repr(made)
    made.fit(known.texts, expert_N).score(known)
    same = np.array_equal(np.asarray(known.texts["embedding"]), np.asarray(before.texts["embedding"]))
    assert same, "fit changes the texts"
    assert np.array_equal(known.logits_NE, before.logits_NE), "score changes the experts' scores"
    assert np.array_equal(expert_N, experts_before_N), "fit changes the experts"
    assert repr(made) == shown, f"fit changes the parameters: {made!r}"


def fit_is_deterministic(make: Make) -> None:
    """Two fits on the same utterances give the same bits."""
    first, second = (_fitted(make()).score(_known(1)[0]) for _ in range(2))
    assert np.array_equal(first, second), "two fits score differently"


def score_before_fit_is_refused_where_something_is_learned(make: Make) -> None:
    """NotFittedError before `fit`, unless `fit` learns nothing."""
    if _fitted(make()).learned():
        assert refusal(NotFittedError, lambda: make().score(_known()[0])), "`score` works before `fit`"


def scores_are_finite_and_one_per_text(make: Make) -> None:
    """Shape (N,), floating and finite; one text and none work."""
    made, (known, _) = _fitted(make()), _known(1)
    for rows in (len(known.logits_NE), 1, 0):
        score_N = made.score(_rows(known, np.arange(rows)))
        assert score_N.shape == (rows,), f"{rows} texts: shape {score_N.shape}"
        assert np.issubdtype(score_N.dtype, np.floating), f"dtype {score_N.dtype}"
        assert np.isfinite(score_N).all(), "a score is not finite"


def one_text_scores_as_among_others(make: Make) -> None:
    """A text alone scores as in a batch, but for rounding."""
    made, (known, expert_N) = _fitted(make()), _known(1)
    batch_N = made.score(known)
    for row in range(0, len(expert_N), 7):
        alone = float(made.score(_rows(known, np.array([row])))[0])
        assert np.isclose(alone, batch_N[row], atol=CLOSE, rtol=CLOSE), f"text {row} scores differently alone"


def strangers_lie_below(make: Make) -> None:
    """New utterances of the experts score above texts that belong to none of them."""
    made = _fitted(make())
    known_N, strange_N = made.score(_known(1)[0]), made.score(_strangers())
    share = float((known_N[:, None] > strange_N).mean())
    assert share > 0.95, f"a known text is above a strange one in {share:.0%} of the pairs"


def experts_may_lack_utterances(make: Make) -> None:
    """An expert that no utterance belongs to changes nothing for the others."""
    (known, expert_N), (asked, _) = _known(), _known(1)
    score_N = make().fit(known.texts, expert_N * 2).score(asked)
    assert np.allclose(score_N, _fitted(make()).score(asked), atol=CLOSE, rtol=CLOSE), "a gap in the experts matters"


def saved_state_scores_the_same_bits(make: Make) -> None:
    """A saved floor gives the same bits."""
    made, (asked, _) = _fitted(make()), _known(1)
    if registered(made):
        assert np.array_equal(round_trip(made).score(asked), made.score(asked)), "scores differ after saving"


def scoring_imports_nothing_heavy(make: Make) -> None:
    """A fresh interpreter that loads and scores has imported neither scikit-learn, scipy, polars nor torch."""
    made, (asked, _) = _fitted(make()), _known(1)
    if registered(made):
        found = heavy_imports(made, "score", asked.logits_NE, dict(asked.texts), wrapped=EVIDENCE)
        assert not found, f"score imports {found}"


def _fitted(made: Any) -> Any:
    known, expert_N = _known()
    return made.fit(known.texts, expert_N)


def _known(seed: int = 0) -> tuple[Evidence, NDArray[np.int64]]:
    """Utterances near to one direction per expert, and the expert of each."""
    expert_N = np.repeat(np.arange(EXPERTS), EACH)
    return _evidence(np.eye(WIDTH)[expert_N], seed), expert_N


def _strangers() -> Evidence:
    """Texts near to directions that no expert has."""
    return _evidence(np.eye(WIDTH)[np.repeat(np.arange(EXPERTS, WIDTH), EACH)], 9)


def _evidence(centre_ND: NDArray[np.float64], seed: int) -> Evidence:
    rows = centre_ND + 0.1 * np.random.default_rng(seed).normal(size=centre_ND.shape)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Evidence(8.0 * rows[:, :EXPERTS], {"embedding": rows.astype(np.float32)})


def _rows(evidence: Evidence, index_N: NDArray[np.int64]) -> Evidence:
    return Evidence(evidence.logits_NE[index_N], take(evidence.texts, index_N))

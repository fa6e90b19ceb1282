"""What a log tells a router, as arrays: features, scores, weights, costs, and values for what was not observed.

Shape letters: N queries, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from turnout import registry
from turnout.errors import LogError
from turnout.estimators.base import weighted_mean
from turnout.features import Features, Sparse, take
from turnout.prices import sizes
from turnout.signals.base import Signal
from turnout.stats.offpolicy import doubly_robust
from turnout.types import Price

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog

Array = NDArray[np.float64]

_LEAST_PROPENSITY = 0.02  # weights stop at 50, so that one unlikely outcome cannot outvote the rest of a log


class Values(NamedTuple):
    """What every expert would have scored and cost on every query, each (N, E): logged, or doubly robust."""

    score_NE: Array
    cost_NE: Array


@dataclass(frozen=True)
class Evidence:
    """The scored part of a log. `propensity_NE` is None on a full matrix, token counts where the log has none.

    `cost_NE` has NaN where nothing is known.
    """

    experts: tuple[str, ...]
    query_ids: list[str]
    texts: list[str]
    tasks: list[str] | None
    features: dict[str, Features]
    scores_NE: Array
    weights_NE: Array
    propensity_NE: Array | None
    cost_NE: Array
    size_N: Array
    groups_N: NDArray[np.int64]
    prompt_NE: Array | None = None
    completion_NE: Array | None = None

    @property
    def observed(self) -> NDArray[np.bool_]:
        """Where an expert's score is known, (N, E)."""
        return np.isfinite(self.scores_NE)

    def rows(self, index_N: NDArray[np.intp]) -> Evidence:
        """The chosen queries, in the given order."""
        return Evidence(
            experts=self.experts,
            query_ids=[self.query_ids[n] for n in index_N.tolist()],
            texts=[self.texts[n] for n in index_N.tolist()],
            tasks=None if self.tasks is None else [self.tasks[n] for n in index_N.tolist()],
            features=take(self.features, index_N),
            scores_NE=self.scores_NE[index_N],
            weights_NE=self.weights_NE[index_N],
            propensity_NE=None if self.propensity_NE is None else self.propensity_NE[index_N],
            cost_NE=self.cost_NE[index_N],
            size_N=self.size_N[index_N],
            groups_N=self.groups_N[index_N],
            prompt_NE=None if self.prompt_NE is None else self.prompt_NE[index_N],
            completion_NE=None if self.completion_NE is None else self.completion_NE[index_N],
        )

    def values(self, predicted_NE: Array, expected_cost_NE: Array) -> Values:
        """Doubly robust score and cost of every expert on every query, each (N, E); exact on a full matrix.

        Predictions must be cross-fitted. Weights are self-normalised per expert, which costs little bias and saves
        much variance where an expert was rarely tried. Without logged propensities an outcome is taken to be missing
        at random, with its expert's share of observed queries as the propensity.
        """
        score_NE = _fill(self.scores_NE, self.propensity_NE, predicted_NE)
        known_NE = np.where(np.isfinite(self.cost_NE), self.cost_NE, expected_cost_NE)
        observed_cost_NE = np.where(self.observed, known_NE, np.nan)
        return Values(score_NE, _fill(observed_cost_NE, self.propensity_NE, expected_cost_NE))

    def averages(self, rows_N: NDArray[np.bool_], cost_NE: Array) -> tuple[Array, Array]:
        """Mean score of each expert where it was observed (weighted), and mean of `cost_NE`, on some queries: (E,)."""
        score_E, _ = weighted_mean(self.scores_NE[rows_N], self.weights_NE[rows_N])
        seen_E = self.observed[rows_N].any(axis=0)
        return np.where(seen_E, score_E, 0.0), cost_NE[rows_N].mean(axis=0)


def _fill(observed_NE: Array, propensity_NE: Array | None, predicted_NE: Array) -> Array:
    rows = len(observed_NE)
    if propensity_NE is None and np.isfinite(observed_NE).all():
        return np.asarray(observed_NE)
    if propensity_NE is not None:
        weight_E = np.where(np.isfinite(observed_NE), 1.0 / propensity_NE, 0.0).mean(axis=0)
        propensity_NE = propensity_NE * np.where(weight_E > 0, weight_E, 1.0)
    columns = [
        doubly_robust(np.full(rows, e, dtype=np.intp), observed_NE, propensity_NE, predicted_NE)
        for e in range(observed_NE.shape[1])
    ]
    return np.stack(columns, axis=1)


def gather(
    log: OutcomeLog, wanted: Sequence[str], prices: Mapping[str, Price], fitted: Mapping[str, Signal] | None = None
) -> tuple[Evidence, dict[str, Signal]]:
    """Arrays of the queries and experts that have scores, and the fitted signals. Raises LogError where none has.

    `fitted` signals are taken as they are, the others are learned from all texts (never from scores).
    """
    signals, features = read_signals(log, wanted, fitted)
    return assemble(log, features, prices), signals


def assemble(log: OutcomeLog, features: Mapping[str, Features], prices: Mapping[str, Price]) -> Evidence:
    """The evidence of a log whose features are known, one row per query. Raises LogError where no query is complete."""
    scores_NE = log.matrix("score")
    rows = np.flatnonzero(np.isfinite(scores_NE).any(axis=1) & complete(features, len(log)))
    if not len(rows):
        raise LogError(f"no query has both a score and the signals {', '.join(features)}; nothing to fit")
    columns = np.flatnonzero(np.isfinite(scores_NE[rows]).any(axis=0))
    cut = np.ix_(rows, columns)
    scores_NE = scores_NE[cut]
    propensity_NE = _propensities(log, scores_NE, cut)
    experts = tuple(log.experts[e] for e in columns)
    texts = log.texts
    tasks = log.tasks
    return Evidence(
        experts=experts,
        query_ids=[log.query_ids[n] for n in rows],
        texts=[texts[n] for n in rows],
        tasks=None if tasks is None else [tasks[n] for n in rows],
        features=take(features, rows),
        scores_NE=scores_NE,
        weights_NE=_weights(scores_NE, propensity_NE if log.has("propensity") else None),
        propensity_NE=propensity_NE,
        cost_NE=logged_costs(log, prices)[cut],
        size_N=prompt_sizes(log)[rows],
        groups_N=log.groups()[rows],
        prompt_NE=log.matrix("prompt_tokens")[cut] if log.has("prompt_tokens") else None,
        completion_NE=log.matrix("completion_tokens")[cut] if log.has("completion_tokens") else None,
    )


def read_signals(
    log: OutcomeLog, wanted: Sequence[str], fitted: Mapping[str, Signal] | None = None
) -> tuple[dict[str, Signal], dict[str, Features]]:
    """The wanted signals and their features: computed from texts, or the stored values of queries without text."""
    fitted = fitted or {}
    if not wanted:
        return {}, nothing(len(log))
    if log.has_text:
        texts = log.texts
        signals = {n: fitted[n] if n in fitted else registry.create("signal", n).fit(texts) for n in wanted}
        return signals, _with_stored(log, {name: signal.transform(texts) for name, signal in signals.items()})
    stored = log.signals()
    missing = [name for name in wanted if name not in stored]
    if missing:
        raise LogError(
            f"the log has no prompts and no column `signal.{missing[0]}`; stored signals: {', '.join(stored) or 'none'}"
        )
    signals = {n: fitted[n] if n in fitted else registry.create("signal", n).fit([]) for n in wanted}
    return signals, {name: stored[name] for name in wanted}


def _with_stored(log: OutcomeLog, features: dict[str, Features]) -> dict[str, Features]:
    """Stored values in place of those of an empty text, for a log that kept only some of its prompts."""
    without_N = np.array([not text for text in log.texts])
    stored = log.signals() if without_N.any() else {}
    for name, values in features.items():
        kept = stored.get(name)
        if kept is not None and not isinstance(values, Sparse) and kept.shape[1] == values.shape[1]:
            known_N = without_N & np.isfinite(kept).all(axis=1)
            features[name] = np.where(known_N[:, None], kept, values)
    return features


def nothing(rows: int) -> dict[str, Features]:
    """Features for an estimator that reads no signal: rows without columns, which still count the queries."""
    return {"": np.empty((rows, 0), dtype=np.float32)}


def complete(features: Mapping[str, Features], rows: int) -> NDArray[np.bool_]:
    """Queries for which every signal has a value, shape (N,)."""
    whole_N = np.ones(rows, dtype=bool)
    for values in features.values():
        if not isinstance(values, Sparse):
            whole_N &= np.isfinite(values).all(axis=1)
    return whole_N


def prompt_sizes(log: OutcomeLog) -> Array:
    """Tokens of each prompt, shape (N,): from its text, else the mean of the logged counts, else 0."""
    size_N = sizes(log.texts)
    if size_N.all() or not log.has("prompt_tokens"):
        return size_N
    counts_NE = log.matrix("prompt_tokens")
    seen_NE = np.isfinite(counts_NE)
    counted_N = np.where(seen_NE, counts_NE, 0.0).sum(axis=1) / np.maximum(seen_NE.sum(axis=1), 1)
    return np.where(size_N > 0, size_N, counted_N)


def logged_costs(log: OutcomeLog, prices: Mapping[str, Price]) -> Array:
    """What each outcome cost, (N, E): a known price × logged tokens, else the logged cost, else NaN."""
    cost_NE = log.matrix("cost") if log.has("cost") else np.full((len(log), len(log.experts)), np.nan)
    if not (log.has("prompt_tokens") and log.has("completion_tokens")):
        return cost_NE
    prompt_NE, completion_NE = log.matrix("prompt_tokens"), log.matrix("completion_tokens")
    for e, name in enumerate(log.experts):
        if name in prices:
            priced_N = (prices[name].input * prompt_NE[:, e] + prices[name].output * completion_NE[:, e]) / 1e6
            cost_NE[:, e] = np.where(np.isfinite(priced_N), priced_N, cost_NE[:, e])
    return cost_NE


def _propensities(log: OutcomeLog, scores_NE: Array, cut: tuple[NDArray[np.intp], ...]) -> Array | None:
    observed_NE = np.isfinite(scores_NE)
    if log.has("propensity"):
        return np.where(observed_NE, log.matrix("propensity")[cut], np.nan)
    if observed_NE.all():
        return None
    return np.where(observed_NE, observed_NE.mean(axis=0), np.nan)


def _weights(scores_NE: Array, propensity_NE: Array | None) -> Array:
    observed_NE = np.isfinite(scores_NE)
    if propensity_NE is None:
        return observed_NE.astype(np.float64)
    certain_NE = np.where(np.isfinite(propensity_NE), propensity_NE, 1.0)
    return np.where(observed_NE, 1.0 / np.maximum(certain_NE, _LEAST_PROPENSITY), 0.0)

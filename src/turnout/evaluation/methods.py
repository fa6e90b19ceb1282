"""Methods that an evaluation can fit on one side of a log and ask about the other.

Shape letters: N queries, E experts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from turnout import registry
from turnout.departures import sample
from turnout.errors import LogError
from turnout.evaluation import metrics
from turnout.evaluation.protocol import Estimates
from turnout.evaluation.tables import Table
from turnout.features import FeatureMap, Features, Floats, take
from turnout.prices import CostModel, sizes
from turnout.state import pack
from turnout.stats import group_folds

if TYPE_CHECKING:
    from turnout.estimators.base import Estimator
    from turnout.outcomes import OutcomeLog
    from turnout.signals.base import Signal

Index = NDArray[np.integer[Any]]


class FeatureCache:
    """Features of a log's texts, computed once per learned state of a signal: fitted on training texts only."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(texts)
        self._held: dict[str, Features] = {}
        self._order: dict[str, list[str]] = {}

    def features(self, signal: Signal, train_I: Index) -> Features:
        """The signal fitted on the training texts, applied to all texts."""
        fitted = signal.clone().fit([self.texts[i] for i in train_I.tolist()])
        key = _digest(fitted)
        if key not in self._held:
            recent = self._order.setdefault(fitted.name, [])
            if len(recent) >= 2:  # a vocabulary per fold would fill the memory; two folds are ever in use
                del self._held[recent.pop(0)]
            recent.append(key)
            self._held[key] = fitted.transform(self.texts)
        return self._held[key]


def _digest(part: Signal) -> str:
    arrays: dict[str, NDArray[Any]] = {}
    found = hashlib.sha256(repr(pack(part, arrays)).encode())
    for name in sorted(arrays):
        found.update(arrays[name].tobytes())
    return found.hexdigest()


@dataclass
class Recipe:
    """An estimator over signals, without guard or calibration: the harness for comparing estimators quickly.

    Signals are fitted on the training side; the training side's estimates are cross-fitted over `folds`. Costs come
    from the product's cost model. The choice is by predicted quality alone, ties to the cheaper expert.
    """

    estimator: Estimator
    name: str = ""
    note: str = ""
    signals: Mapping[str, Signal] = field(default_factory=dict)
    folds: int = 5
    cross_fit: bool = True
    cache: dict[int, FeatureCache] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = self.name or self.estimator.name

    def __call__(self, log: OutcomeLog, train_I: Index, test_I: Index, seed: int) -> Estimates:
        cache = self.cache.setdefault(id(log), FeatureCache(log.texts))
        wanted = self.estimator.signals or ("length",)  # even an estimator that reads nothing must know N
        made = {name: self.signals.get(name) or registry.create("signal", name) for name in wanted}
        features = {name: cache.features(signal, train_I) for name, signal in made.items()}
        table = Table.of(log)
        train, test = take(features, train_I), take(features, test_I)
        side = table.rows(train_I)
        fitted = self.estimator.clone().fit(train, side.score_NE, tasks=side.tasks)
        train_NE = _cross_fitted(self.estimator, train, side, self.folds, seed) if self.cross_fit else None
        test_NE = fitted.predict(test)[0]
        cost_NE = _costs(log, table, train_I, features)
        ties_NE = np.zeros_like(test_NE) if cost_NE is None else cost_NE[test_I]
        return Estimates(
            train_quality_NE=fitted.predict(train)[0] if train_NE is None else train_NE,
            test_quality_NE=test_NE,
            choice_N=metrics.sweep(test_NE, ties_NE, np.zeros(1))[:, 0],
            train_cost_NE=None if cost_NE is None else cost_NE[train_I],
            test_cost_NE=None if cost_NE is None else cost_NE[test_I],
        )


def _cross_fitted(estimator: Estimator, features: Mapping[str, Features], side: Table, folds: int, seed: int) -> Floats:
    quality_NE = np.empty(side.score_NE.shape)
    fold_N = group_folds(side.group_N, folds, seed + 1)
    for fold in range(folds):
        fit_I, ask_I = np.flatnonzero(fold_N != fold), np.flatnonzero(fold_N == fold)
        part = side.rows(fit_I)
        fitted = estimator.clone().fit(take(features, fit_I), part.score_NE, tasks=part.tasks)
        quality_NE[ask_I] = fitted.predict(take(features, ask_I))[0]
    return quality_NE


def _costs(log: OutcomeLog, table: Table, train_I: Index, features: FeatureMap) -> Floats | None:
    """Predicted US dollars per request for all queries, learned on the training side."""
    if table.cost_NE is None:
        return None
    size_N, sampled_I = sizes(log.texts), train_I[sample(len(train_I))]
    names = {"cost_NE": "cost", "prompt_NE": "prompt_tokens", "completion_NE": "completion_tokens"}
    logged: dict[str, Any] = {key: log.matrix(name) for key, name in names.items() if log.has(name)}
    model = CostModel.fit(log.experts, size_N[train_I], **{key: seen_NE[train_I] for key, seen_NE in logged.items()})
    seen = {key: seen_NE[sampled_I] for key, seen_NE in logged.items()}
    return model.informed(take(features, sampled_I), size_N[sampled_I], **seen).predict(size_N, features=features)


@dataclass
class Fitted:
    """The product: `Router.fit` on the training side, with calibration, policy, costs and guard.

    `options` go to `Router.fit`. With an `encoder` the default stack reads that sentence encoder.
    """

    name: str = "router"
    note: str = "fitted on the training side, guard included"
    options: Mapping[str, Any] = field(default_factory=dict)
    encoder: str | None = None

    def __call__(self, log: OutcomeLog, train_I: Index, test_I: Index, seed: int) -> Estimates:
        from turnout.routers import Router
        from turnout.routers.fitting import default_estimator, sentence_signal

        train, test = log.select(train_I), log.select(test_I)
        held: list[tuple[Floats, Floats]] = []
        made = default_estimator(train, sentences=self.encoder is not None)
        options: dict[str, Any] = {"estimator": made}
        if self.encoder is not None:
            options["signals"] = sentence_signal(train, self.encoder)
        options.update(self.options)
        router = Router.fit(train, seed=seed, watch=lambda *told: held.append((told[0].quality_NE, told[1])), **options)
        if router.experts != log.experts:
            unknown = ", ".join(name for name in log.experts if name not in router.experts)
            raise LogError(
                f"too few scores of {unknown}: in cross-validation, one training side holds none; leave it out"
            )
        quality_NE, _, cost_NE = router.predict(test)
        if not held or len(held[0][0]) != len(train):
            raise LogError("to be evaluated, every training query needs a score, and there must be several groups")
        priced = log.has("cost")
        return Estimates(
            train_quality_NE=held[0][0],
            test_quality_NE=quality_NE,
            choice_N=router.choose(test),
            train_cost_NE=held[0][1] if priced else None,
            test_cost_NE=cost_NE if priced else None,
        )


@dataclass
class Fixed:
    """A router that is fitted already: it is only asked, and the log at hand never reaches it."""

    ask: Callable[[OutcomeLog], tuple[Floats, Floats | None, Index]]
    name: str = "router"
    note: str = "the router as it was saved"
    _known: dict[int, tuple[Floats, Floats | None, Index]] = field(default_factory=dict)

    def __call__(self, log: OutcomeLog, train_I: Index, test_I: Index, seed: int) -> Estimates:
        if id(log) not in self._known:
            self._known[id(log)] = self.ask(log)
        quality_NE, cost_NE, choice_N = self._known[id(log)]
        return Estimates(
            train_quality_NE=quality_NE[train_I],
            test_quality_NE=quality_NE[test_I],
            choice_N=choice_N[test_I],
            train_cost_NE=None if cost_NE is None else cost_NE[train_I],
            test_cost_NE=None if cost_NE is None else cost_NE[test_I],
        )

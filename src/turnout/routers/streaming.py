"""Fitting on logs whose features do not fit the memory: chunk by chunk here, or spread over a Ray cluster.

The log's texts and scores are held; features, which take a hundred times as much, exist one chunk at a time. A first
pass sums moments per fold, a second predicts every fold by the model without it. The router is the one that
`Router.fit` makes, to rounding. Shape letters: N queries, E experts, D columns.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from turnout import registry
from turnout.departures import sample
from turnout.errors import ConfigError, LogError
from turnout.estimators._linear import sample_rows
from turnout.estimators._moments import Moments, check, columns, learned
from turnout.estimators.base import Estimator
from turnout.estimators.ridge import Ridge
from turnout.features import Features
from turnout.policies.base import Policy
from turnout.prices import CostModel
from turnout.routers.bound import stated_prices
from turnout.routers.costs import fit_costs, fold_costs
from turnout.routers.crossfit import CrossFit, calibrated
from turnout.routers.evidence import Evidence, assemble, nothing
from turnout.routers.examples import Examples
from turnout.routers.fitting import default_policy, describe_fit, fit_decisions
from turnout.routers.novelty import SHARE, Novelty
from turnout.routers.router import Router, named_arms
from turnout.signals.base import Signal
from turnout.stats.folds import group_folds
from turnout.types import Arm

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog

Array = NDArray[np.float64]
T = TypeVar("T")
Engine = Callable[[Callable[[Any], T], Iterable[Any]], Iterator[T]]

CHUNK = 20_000
LEARNED_FROM = 50_000  # texts that signals are fitted on


def fit_by_chunks(
    log: OutcomeLog,
    *,
    arms: Sequence[Arm] = (),
    estimator: Estimator | None = None,
    policy: Policy | None = None,
    folds: int = 5,
    seed: int = 0,
    guard: bool = True,
    chunk: int = CHUNK,
    engine: str = "chunks",
    keep_text: bool = True,
    novelty: float = SHARE,
) -> Router:
    """What `Router.fit` makes with a `ridge` estimator on dense signals and a full log with prompts.

    `engine` is "chunks" (one after the other) or "ray" (spread over the cluster that `ray.init()` finds, which must
    have this package). Raises ConfigError for another estimator or an engine that is not there, LogError for a log
    that is not full, has no prompts, or has propensities below 1.

    Limits: signals that learn from texts do so from the first 50,000; grouping near-duplicates needs the texts.
    """
    log.require_text()
    if not log.is_full:
        raise LogError("by chunks a full log is needed: every expert's score on every query")
    estimator = registry.create("estimator", "ridge") if estimator is None else estimator.clone()
    policy = default_policy() if policy is None else policy.clone()
    signals = {n: registry.create("signal", n).fit(log.texts[:LEARNED_FROM]) for n in estimator.signals}
    ridge = check(estimator, _transform(signals, log.texts[:1]))
    prices = stated_prices(arms)
    evidence = assemble(log, nothing(len(log)), prices)
    if not (evidence.weights_NE == 1.0).all():
        raise LogError("by chunks every outcome counts alike, and the log's propensities are not all 1")
    sampled_N = sample(len(evidence.query_ids))
    drawn = evidence.rows(sampled_N)
    drawn = replace(drawn, features=_transform(signals, drawn.texts))
    costs = fit_costs(log, evidence, prices, drawn)
    groups = len(np.unique(evidence.groups_N))
    if groups < 2:
        raise LogError("by chunks at least two queries that differ are needed")
    work = _Work(ridge, signals, evidence, group_folds(evidence.groups_N, min(folds, groups), seed), chunk)
    unusual = Novelty.learn(drawn.features, novelty)
    found, cost_NE, novel_N, fitted = work.run(
        _engine(engine), fold_costs(costs, drawn, work.fold_N[sampled_N], min(folds, groups)), unusual
    )
    calibration, verdict, figures = fit_decisions(
        evidence,
        fitted,
        policy,
        costs,
        folds=folds,
        seed=seed,
        guard=guard,
        baseline=None,
        known=found,
        cost_NE=cost_NE,
        novelty=unusual,
        novel_N=novel_N,
    )
    return Router.settled(
        signals=signals,
        widths=work.widths,
        estimator=fitted,
        calibration=calibration,
        policy=policy,
        costs=costs,
        guard=verdict,
        arms=named_arms(arms, evidence.experts),
        examples=_examples(evidence, signals, seed, keep_text),
        summary=describe_fit(log, evidence, figures, seed),
    )


class _Work:
    """Both passes over one log."""

    def __init__(
        self,
        ridge: Ridge,
        signals: Mapping[str, Signal],
        evidence: Evidence,
        fold_N: NDArray[np.int64],
        chunk: int,
    ) -> None:
        self.ridge, self.signals, self.evidence, self.fold_N = ridge, dict(signals), evidence, fold_N
        self.widths = {name: values.shape[1] for name, values in _transform(signals, [""]).items()}
        rows = len(fold_N)
        self.parts = [np.arange(start, min(start + chunk, rows)) for start in range(0, rows, chunk)]

    def run(
        self, engine: Engine[Any], costs: Sequence[CostModel], novelty: Novelty | None
    ) -> tuple[CrossFit, Array, NDArray[np.bool_], Ridge]:
        """Held-out predictions and costs of all queries, which of them are novel, and the model of all."""
        per_fold = self._moments(engine)
        total = sum(per_fold[1:], per_fold[0])
        everywhere = np.ones(len(self.fold_N), dtype=bool)
        models = [self._model(total - part, self.fold_N != fold) for fold, part in enumerate(per_fold)]
        raw_NE, se_NE, cost_NE = np.empty((3, *self.evidence.scores_NE.shape))
        tasks = [(self._texts(at), self.fold_N[at], self.evidence.size_N[at]) for at in self.parts]
        novel_N = np.zeros(len(self.fold_N), dtype=bool)
        ask = partial(_predicted, self.signals, models, costs, novelty)
        for at, told in zip(self.parts, engine(ask, tasks), strict=True):
            raw_NE[at], se_NE[at], cost_NE[at], novel_N[at] = told
        found = calibrated(self.fold_N, raw_NE, se_NE, self.evidence)
        return found, cost_NE, novel_N, self._model(total, everywhere)

    def _moments(self, engine: Engine[Any]) -> list[Moments]:
        tasks = [(self._texts(at), self.evidence.scores_NE[at], self.fold_N[at]) for at in self.parts]
        summed: dict[int, Moments] = {}
        for found in engine(partial(_summed, self.signals, self.ridge.signals), tasks):
            for fold, moments in found.items():
                summed[fold] = summed[fold] + moments if fold in summed else moments
        return [summed[fold] for fold in range(len(summed))]

    def _model(self, moments: Moments, rows_N: NDArray[np.bool_]) -> Ridge:
        """The model of some rows; its penalty is chosen on the sample that `Ridge.fit` would take of them."""
        at = np.flatnonzero(rows_N)
        at = at[sample_rows(np.ones((len(at), 1), dtype=bool), self.ridge.seed)]
        sample = _transform(self.signals, self._texts(at))
        return learned(self.ridge, self.widths, moments, sample, self.evidence.scores_NE[at])

    def _texts(self, at: NDArray[np.intp]) -> list[str]:
        return [self.evidence.texts[n] for n in at.tolist()]


def _summed(
    signals: Mapping[str, Signal], names: Sequence[str], task: tuple[list[str], Array, NDArray[np.int64]]
) -> dict[int, Moments]:
    texts, score_NE, fold_N = task
    x_ND = columns(_transform(signals, texts), names)
    return {int(f): Moments.of(x_ND[fold_N == f], score_NE[fold_N == f]) for f in np.unique(fold_N)}


def _predicted(
    signals: Mapping[str, Signal],
    models: Sequence[Ridge],
    costs: Sequence[CostModel],
    novelty: Novelty | None,
    task: tuple[list[str], NDArray[np.int64], Array],
) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    texts, fold_N, size_N = task
    features = _transform(signals, texts)
    mean_NE, se_NE, cost_NE = np.empty((3, len(texts), len(models[0].intercept_E_)))
    for fold in np.unique(fold_N):
        at = np.flatnonzero(fold_N == fold)
        some = {name: np.asarray(values)[at] for name, values in features.items()}
        mean_NE[at], se_NE[at] = models[int(fold)].predict(some)
        cost_NE[at] = costs[int(fold)].predict(size_N[at], features=some)
    novel_N = np.zeros(len(texts), dtype=bool) if novelty is None else novelty.abstains(features)
    return mean_NE, se_NE, cost_NE, novel_N


def _transform(signals: Mapping[str, Signal], texts: Sequence[str]) -> dict[str, Features]:
    return {name: signal.transform(texts) for name, signal in signals.items()}


def _examples(evidence: Evidence, signals: Mapping[str, Signal], seed: int, keep_text: bool) -> Examples:
    """A sample of queries to explain decisions by, whose features are computed again."""
    at = np.sort(np.random.default_rng(seed).permutation(len(evidence.query_ids))[:500])
    some = evidence.rows(at)
    return Examples.draw(replace(some, features=_transform(signals, some.texts)), 500, seed, keep_text)


def _engine(name: str) -> Engine[Any]:
    if name == "chunks":
        return map
    if name != "ray":
        raise ConfigError(f"the engine must be 'chunks' or 'ray', got {name!r}")
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("the engine 'ray' needs Ray: pip install 'turnout[ray]'")
    return _on_ray


def _on_ray(work: Callable[[Any], T], tasks: Iterable[Any]) -> Iterator[T]:
    """Results in the order of the tasks, computed by Ray's workers, at most two per core waiting at once."""
    ray: Any = importlib.import_module("ray")
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    remote = ray.remote(lambda shared, task: shared(task))
    shared = ray.put(work)
    most = 2 * max(int(ray.cluster_resources().get("CPU", 1)), 1)
    waiting: list[Any] = []
    for task in tasks:
        waiting.append(remote.remote(shared, task))
        if len(waiting) >= most:
            yield ray.get(waiting.pop(0))
    for each in waiting:
        yield ray.get(each)

"""One command for a log: search for the method that suits it, and say what the search itself is worth.

Inner folds choose the method and the multiplier λ; outer folds, which the search never saw, value the whole procedure.
Source: nested cross-validation, Varma and Simon, BMC Bioinformatics 7:91 (2006). Shape letters: N queries, E experts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from turnout import registry
from turnout.errors import ConfigError, LogError
from turnout.evaluation import _parallel
from turnout.evaluation.candidates import Candidate, candidates
from turnout.evaluation.goals import Goal
from turnout.evaluation.methods import FeatureCache
from turnout.evaluation.protocol import Estimates, Study, folds, study, whole_groups
from turnout.evaluation.search import Choice, Search, Standing
from turnout.evaluation.tables import Table
from turnout.features import Features, take
from turnout.policies.base import Policy
from turnout.prices import CostModel
from turnout.routers import Router
from turnout.routers.bound import stated_prices
from turnout.routers.costs import fit_costs, held_out_costs
from turnout.routers.evidence import Evidence, assemble, nothing, prompt_sizes, read_signals
from turnout.routers.fitting import fit_decisions
from turnout.routers.novelty import SHARE, Novelty
from turnout.stats import group_folds
from turnout.types import Arm, Price

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog
    from turnout.signals.base import Signal

Index = NDArray[np.integer[Any]]
FOLDS = 5  # of the costs
SEARCHING = 0.7  # part of the time that a search may take; fitting what it found needs the rest


@dataclass(frozen=True)
class TunedEstimates(Estimates):
    """Estimates of a search's winner, with its name and the guard's verdict."""

    winner: str = ""
    abstains: bool = False


@dataclass
class Tuned:
    """The whole procedure as a method: search on the training side, fit the winner, guard it, choose on the other.

    `methods` are names of estimators and systems (None: all); with an `encoder` each that reads the shipped table is
    tried on that sentence encoder too; `seconds` bounds one search and fit.
    """

    goal: Goal = field(default_factory=Goal)
    methods: Sequence[str] | None = None
    folds: int = 3
    arms: Sequence[Arm] = ()
    seconds: float | None = None
    encoder: str | None = None
    guard: bool = True
    name: str = "tuned"
    note: str = "method and λ chosen on inner folds of the training side, guard included"
    _features: dict[int, FeatureCache] = field(default_factory=dict, repr=False)

    def __call__(self, log: OutcomeLog, train_I: Index, test_I: Index, seed: int) -> TunedEstimates:
        tried, _ = self.candidates(log)
        prices = stated_prices(self.arms)
        features = self._of(log, _wanted(tried), train_I)
        train = log.select(train_I)
        evidence = assemble(train, take(features, train_I), prices)
        if evidence.experts != log.experts or len(evidence.query_ids) != len(train_I):
            raise LogError("to be valued by cross-validation, every query and expert needs a score on every side")
        costs = _Costs(train, evidence, prices)
        search = Search(evidence, costs, self.goal, folds=self.folds, seed=seed, seconds=_share(self.seconds))
        choice = search.run(tried)
        model = costs.model(choice.estimator.signals)
        held_NE = held_out_costs(model, evidence, choice.found.fold_N)
        policy = choice.policy if self.goal.dollars_per_1k is None else _budget(self.goal.within_reach(held_NE))
        read = {name: evidence.features[name] for name in choice.estimator.signals}
        calibration, guard, _ = fit_decisions(
            evidence, choice.estimator, policy, model,
            folds=self.folds, seed=seed, guard=self.guard, baseline=None, known=choice.found, cost_NE=held_NE,
            novelty=Novelty.learn(read, SHARE),
        )  # fmt: skip
        fitted = choice.estimator.clone().fit(
            evidence.features, evidence.scores_NE, weights_NE=evidence.weights_NE, tasks=evidence.tasks
        )
        asked = take(features, test_I)
        quality_NE, _ = calibration.apply(*fitted.predict(asked))
        asked_NE = model.predict(prompt_sizes(log)[test_I], features=asked)
        choice_N = policy.choose(quality_NE, asked_NE)
        priced = log.has("cost")
        return TunedEstimates(
            train_quality_NE=choice.found.quality_NE,
            test_quality_NE=quality_NE,
            choice_N=np.where(guard.holds(asked), np.argmax(guard.ranking), choice_N),
            train_cost_NE=costs(choice.estimator.signals) if priced else None,
            test_cost_NE=asked_NE if priced else None,
            winner=choice.winner,
            abstains=guard.abstains,
        )

    def candidates(self, log: OutcomeLog) -> tuple[tuple[Candidate, ...], dict[str, str]]:
        """What is tried on the log, and why the others cannot be. Raises ConfigError."""
        if self.encoder is not None and not log.has_text:
            raise ConfigError("a sentence encoder reads prompts, and the log has none")
        return candidates(log, self.methods, sentences=self.encoder is not None)

    def signal(self, name: str) -> Signal:
        """An unfitted signal; `sentence` is the encoder's."""
        made: Signal = registry.create("signal", name)
        return made if self.encoder is None or name != "sentence" else made.clone(encoder=self.encoder)

    def _of(self, log: OutcomeLog, wanted: Sequence[str], train_I: Index) -> dict[str, Features]:
        """Features of all queries, signals learned from training texts; what no learning changes is computed once."""
        if not wanted:
            return nothing(len(log))
        if not log.has_text:
            return read_signals(log, wanted)[1]
        cache = self._features.setdefault(id(log), FeatureCache(log.texts))
        return {name: cache.features(self.signal(name), train_I) for name in wanted}


@dataclass(frozen=True)
class Tuning:
    """What `tune` found: the router fitted on the whole log, the leaderboard, and the value of the procedure.

    `study` is None where it was not asked for; `winners` and `abstained` tell what each outer fold chose.
    """

    router: Router
    goal: Goal
    standings: tuple[Standing, ...]
    refused: dict[str, str]
    study: Study | None
    winners: tuple[str, ...]
    abstained: tuple[bool, ...]
    seconds: float


def tune(
    log: OutcomeLog,
    goal: Goal | None = None,
    *,
    methods: Sequence[str] | None = None,
    arms: Sequence[Arm] = (),
    seeds: Sequence[int] = (0,),
    outer: int = 5,
    inner: int = 3,
    seconds: float | None = None,
    encoder: str | None = None,
    workers: int | None = None,
    keep_text: bool = True,
    clock: Callable[[], float] = time.monotonic,
    progress: Callable[[int, int], None] | None = None,
) -> Tuning:
    """Search on the whole log and fit the winner with its guard; value the procedure on `outer` folds per seed.

    `outer=0` leaves the valuation out. `seconds` bounds the whole: methods whose next fit would end too late drop
    out, and a slow machine may then choose another method. Without it the same log makes the same router.
    Raises ConfigError for a goal in dollars on a log without costs and for too few folds, LogError where nothing can
    be fitted.
    """
    goal, start = goal or Goal(), clock()
    if outer < 0 or outer == 1 or inner < 2:
        raise ConfigError(f"outer folds must be 0 or at least 2, and inner ones at least 2; got {outer} and {inner}")
    if goal != Goal() and not log.has("cost") and not stated_prices(arms):
        raise ConfigError(f"{goal.words} needs costs; give prices, or a log with `cost` or token counts")
    table = Table.of(log)
    _reachable(goal, log, arms)
    outer = outer and min(outer, whole_groups(table))
    splits = folds(table, outer, seeds) if outer else []
    workers = _parallel.automatic(log, splits) if workers is None else workers
    method = Tuned(goal, methods, inner, arms, _each(seconds, len(splits), workers), encoder)
    tick = progress or _silent
    tick(0, len(splits) + 1)
    said: list[TunedEstimates] = []
    for answers in _parallel.estimates([method], log, splits, workers):
        said += [answer for answer in answers if isinstance(answer, TunedEstimates)]
        tick(len(said), len(splits) + 1)
    left = None if seconds is None else max(seconds - (clock() - start), 0.0)
    router, choice, refused = _final(log, method, left, keep_text, clock)
    tick(len(splits) + 1, len(splits) + 1)
    found = None
    if splits:
        protocol = (
            f"Nested cross-validation by groups of near-duplicates: {outer} outer folds value what a search on {inner} "
            f"inner folds chose, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
        )
        found = study([_Replay(iter(said), method.name, method.note)], log, splits, protocol=protocol, workers=1)
    return Tuning(
        router, goal, choice.standings, {**refused, **choice.refused}, found,
        tuple(each.winner for each in said), tuple(each.abstains for each in said), clock() - start,
    )  # fmt: skip


def _reachable(goal: Goal, log: OutcomeLog, arms: Sequence[Arm]) -> None:
    """Raise ParameterError for a budget below what the whole log costs at the cheapest expert of each query."""
    if goal.dollars_per_1k is None:
        return
    prices = stated_prices(arms)
    evidence = assemble(log, nothing(len(log)), prices)
    told_NE = fit_costs(log, evidence, prices).predict(evidence.size_N)
    paid_NE = np.where(np.isfinite(evidence.cost_NE), evidence.cost_NE, told_NE)
    cheaper_NE = min(told_NE, paid_NE, key=lambda cost_NE: float(cost_NE.min(axis=1).mean()))
    _budget(goal.dollars_per_1k).fit(np.zeros_like(cheaper_NE), cheaper_NE)


def _budget(dollars_per_1k: float) -> Policy:
    made: Policy = registry.create("policy", "budget", dollars_per_1k=float(dollars_per_1k))
    return made


def _final(
    log: OutcomeLog, method: Tuned, seconds: float | None, keep_text: bool, clock: Callable[[], float]
) -> tuple[Router, Choice, dict[str, str]]:
    """The search on the whole log, and the router that it leads to."""
    tried, refused = method.candidates(log)
    prices = stated_prices(method.arms)
    wanted = _wanted(tried)
    fitted = {"sentence": method.signal("sentence").fit(log.texts)} if "sentence" in wanted else None
    signals, features = read_signals(log, wanted, fitted)
    evidence = assemble(log, features, prices)
    costs = _Costs(log, evidence, prices)
    search = Search(evidence, costs, method.goal, folds=method.folds, seconds=_share(seconds), clock=clock)
    choice = search.run(tried)
    scored = int(np.isfinite(log.matrix()).any(axis=1).sum())
    router = Router.fit(
        log,
        arms=method.arms,
        estimator=choice.estimator,
        policy=choice.policy if method.goal.dollars_per_1k is None else _budget(method.goal.dollars_per_1k),
        folds=method.folds,
        signals=signals,
        keep_text=keep_text,
        known=choice.found if len(evidence.query_ids) == scored else None,  # a signal may lack for some queries
    )
    return router, choice, refused


class _Costs:
    """Held-out US dollars per request, (N, E), as a router that reads the named signals tells them.

    Learned once for each set of signals, which methods share.
    """

    def __init__(self, log: OutcomeLog, evidence: Evidence, prices: Mapping[str, Price]) -> None:
        self._log, self._evidence, self._prices = log, evidence, prices
        groups = len(np.unique(evidence.groups_N))
        self._fold_N = group_folds(evidence.groups_N, min(FOLDS, groups), seed=0)
        self._models: dict[frozenset[str], CostModel] = {}
        self._told: dict[frozenset[str], NDArray[np.float64]] = {}

    def __call__(self, signals: Sequence[str]) -> NDArray[np.float64]:
        read = frozenset(signals)
        if read not in self._told:
            self._told[read] = held_out_costs(self.model(signals), self._evidence, self._fold_N)
        return self._told[read]

    def model(self, signals: Sequence[str]) -> CostModel:
        """Of all queries."""
        read = frozenset(signals)
        if read not in self._models:
            features = {name: values for name, values in self._evidence.features.items() if name in read}
            self._models[read] = fit_costs(self._log, replace(self._evidence, features=features), self._prices)
        return self._models[read]


@dataclass
class _Replay:
    """Answers that are known already, in the order of the splits."""

    said: Any
    name: str
    note: str

    def __call__(self, log: OutcomeLog, train_I: Index, test_I: Index, seed: int) -> Estimates:
        answer: Estimates = next(self.said)
        return answer


def _wanted(tried: Sequence[Candidate]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for candidate in tried for name in candidate.estimator.signals))


def _silent(done: int, total: int) -> None: ...


def _share(seconds: float | None) -> float | None:
    return None if seconds is None else SEARCHING * seconds


def _each(seconds: float | None, splits: int, workers: int) -> float | None:
    """The time for one search: those of the splits run side by side, and one more follows."""
    return None if seconds is None else seconds / (-(-splits // max(workers, 1)) + 1)

"""From a log to the parts of a router: estimates, calibration, policy, costs and the guard's verdict.

Shape letters: N queries, E experts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from turnout import __version__, registry
from turnout.errors import ConfigError, LogError, UnknownNameError
from turnout.estimators.base import Estimator
from turnout.estimators.stack import MEMBERS, SENTENCES, Stack
from turnout.policies.base import Policy
from turnout.prices import CostModel
from turnout.routers.calibration import Calibration
from turnout.routers.costs import held_out_costs
from turnout.routers.crossfit import CrossFit, cross_fit, replay
from turnout.routers.evidence import Evidence, Values
from turnout.routers.guard import Guard, best_single, judge, paired_gain, price_of_quality, proven
from turnout.routers.novelty import Novelty
from turnout.routers.regions import Regions
from turnout.signals.base import Signal
from turnout.stats.bootstrap import paired_bootstrap

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog

Array = NDArray[np.float64]


def fit_decisions(
    evidence: Evidence,
    estimator: Estimator,
    policy: Policy,
    costs: CostModel,
    *,
    folds: int,
    seed: int,
    guard: bool,
    baseline: str | None,
    watch: Callable[[CrossFit, Array], None] | None = None,
    known: CrossFit | None = None,
    cost_NE: Array | None = None,
    regions: Regions | None = None,
    novelty: Novelty | None = None,
    novel_N: NDArray[np.bool_] | None = None,
) -> tuple[Calibration, Guard, dict[str, Any]]:
    """Calibrate, fit `policy` in place on held-out predictions, and judge it. Also returns the table of figures.

    `known` are held-out predictions of this estimator on this evidence, where a search has made them already, and
    `cost_NE` held-out costs on the same folds. With `regions` the guard's verdict is taken in each of them. `novel_N`
    are the queries to which the best single expert is sent as `novelty` says, where the evidence holds no features.
    """
    if baseline is not None and baseline not in evidence.experts:
        raise UnknownNameError("baseline expert", baseline, evidence.experts)
    found = cross_fit(estimator, evidence, folds, seed) if known is None else known
    if found is None:
        told_NE = costs.predict(evidence.size_N, features=evidence.features)
        return _without_evidence(evidence, policy, told_NE, guard, baseline)
    cost_NE = held_out_costs(costs, evidence, found.fold_N) if cost_NE is None else cost_NE
    if isinstance(estimator, Stack) and found.lesson is not None:
        estimator.teach(found.lesson)
    if watch is not None:
        watch(found, cost_NE)
    policy.fit(found.quality_NE, cost_NE)
    values = evidence.values(found.quality_NE, cost_NE)
    fixed = None if baseline is None else evidence.experts.index(baseline)
    choice_N, baseline_N = replay(policy, found, cost_NE, evidence, values)
    if fixed is not None:
        baseline_N = np.full_like(baseline_N, fixed)
    if novelty is not None:
        novel_N = novelty.abstains(evidence.features) if novel_N is None else novel_N
        choice_N = np.where(novel_N, baseline_N, choice_N)
    lam = price_of_quality(policy, found.quality_NE, cost_NE)
    (gain, low, high), support = judge(choice_N, baseline_N, evidence, values, lam=lam, seed=seed)
    averages = evidence.averages(np.ones(len(cost_NE), dtype=bool), values.cost_NE)
    single = best_single(policy, *averages, evidence.observed) if fixed is None else fixed
    if regions is not None:
        gain_N = paired_gain(choice_N, baseline_N, values, lam)
        regions = regions.judged(gain_N, evidence, seed=seed)
    verdict = Guard(
        enabled=guard,
        passed=bool(low > 0) if regions is None else bool(regions.passed_K.any()),
        baseline=evidence.experts[single],
        gain=gain,
        low=low,
        high=high,
        lam=lam,
        groups=len(np.unique(evidence.groups_N)),
        support=support,
        ranking=_ranking(policy, averages, evidence.observed, single),
        regions=regions,
        novelty=novelty,
    )
    return found.calibration, verdict, figures(evidence, values, choice_N, baseline_N, seed=seed)


def _without_evidence(
    evidence: Evidence, policy: Policy, cost_NE: Array, guard: bool, baseline: str | None
) -> tuple[Calibration, Guard, dict[str, Any]]:
    """One group of queries proves nothing: estimates stay uncalibrated and the guard fails."""
    mean_E = np.nanmean(evidence.scores_NE, axis=0)
    values = Values(np.where(evidence.observed, evidence.scores_NE, mean_E), cost_NE)
    policy.fit(*values)
    averages = evidence.averages(np.ones(len(cost_NE), dtype=bool), cost_NE)
    named = None if baseline is None else evidence.experts.index(baseline)
    single = best_single(policy, *averages, evidence.observed) if named is None else named
    nan = float("nan")
    verdict = Guard(
        guard, False, evidence.experts[single], nan, nan, nan, price_of_quality(policy, *values),
        1, 0, _ranking(policy, averages, evidence.observed, single),
    )  # fmt: skip
    return Calibration.identity(), verdict, {}


def _ranking(
    policy: Policy, averages: tuple[Array, Array], observed_NE: NDArray[np.bool_], first: int
) -> tuple[float, ...]:
    """The policy's objective for each expert's averages; `first` leads, and experts of few outcomes come last."""
    objective_E = policy.objective(averages[0][None], averages[1][None])[0].astype(np.float64)
    objective_E -= np.where(proven(observed_NE), 0.0, np.ptp(objective_E) + 1.0)
    objective_E[first] = max(float(objective_E.max()), float(objective_E[first]))
    others_E = np.delete(objective_E, first)
    if len(others_E) and others_E.max() >= objective_E[first]:
        objective_E[first] = float(others_E.max()) + 1e-9
    return tuple(objective_E.tolist())


def figures(
    evidence: Evidence, values: Values, choice_N: NDArray[np.intp], baseline_N: NDArray[np.intp], *, seed: int
) -> dict[str, Any]:
    """Held-out quality and cost per request of the router and its rivals, with the experts' shares of requests."""
    rows = np.arange(len(choice_N))
    value_NE, cost_NE = values
    mean_cost_E = cost_NE.mean(axis=0)

    def row(columns_N: NDArray[np.intp], name: str | None = None) -> dict[str, Any]:
        quality_N = value_NE[rows, columns_N]
        interval = paired_bootstrap(quality_N, evidence.groups_N, seed=seed)
        return {
            "expert": name,
            "quality": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "cost": float(cost_NE[rows, columns_N].mean()),
        }

    def one(column: int) -> dict[str, Any]:
        return row(np.full(len(rows), column, dtype=np.intp), evidence.experts[column])

    table = {
        "router": row(choice_N),
        "best single": row(baseline_N, evidence.experts[int(np.bincount(baseline_N).argmax())]),
        "best quality": one(int(evidence.averages(np.ones(len(rows), dtype=bool), cost_NE)[0].argmax())),
    }
    if mean_cost_E.any():  # else nothing is known of costs
        table |= {"cheapest": one(int(mean_cost_E.argmin())), "dearest": one(int(mean_cost_E.argmax()))}
    if evidence.observed.all():
        table["oracle"] = row(np.lexsort((cost_NE, -value_NE), axis=1)[:, 0].astype(np.intp))
    shares_E = np.bincount(choice_N, minlength=len(evidence.experts)) / len(rows)
    return {"table": table, "shares": dict(zip(evidence.experts, shares_E.tolist(), strict=True))}


def describe_fit(log: OutcomeLog, evidence: Evidence, found: dict[str, Any], seed: int) -> dict[str, Any]:
    """The router's summary: what it was fitted on, by which version, and the held-out figures."""
    from turnout.outcomes.coverage import uneven

    dropped: Sequence[str] = [name for name in log.experts if name not in evidence.experts]
    return {
        "versions": {"turnout": __version__, "numpy": np.__version__},
        "log": {
            "fingerprint": log.fingerprint(),
            "queries": len(evidence.query_ids),
            "groups": len(np.unique(evidence.groups_N)),
            "experts": list(evidence.experts),
            "outcomes": int(evidence.observed.sum()),
            "full": bool(evidence.observed.all()),
            "without_score": list(dropped),
            "uneven": uneven(log),
        },
        "seed": seed,
        "held_out": found,
    }


def default_policy() -> Policy:
    """Best quality, whatever it costs; equal quality goes to the cheaper."""
    made: Policy = registry.create("policy", "utility", lam=0.0)
    return made


def default_estimator(log: OutcomeLog, *, sentences: bool = False) -> Estimator:
    """A stack over all signals, and over tasks where the log names several. Raises LogError.

    With `sentences` most members read the signal `sentence`, whose weights must have been pulled. On a log without
    text, it reads the signals that the log stores.
    """
    if log.has_text:
        members: tuple[Estimator, ...] = SENTENCES if sentences else MEMBERS
        if len(set(log.tasks or ())) < 2:
            members = members[:-1]
        made: Estimator = registry.create("estimator", "stack", members=members)
        return made.clone()
    if sentences:
        raise LogError("a sentence encoder reads prompts, and the log has none")
    stored = tuple(log.signals())
    if not stored:
        raise LogError(
            "the log has neither prompts nor stored signals (`signal.<name>`); nothing can tell queries apart"
        )
    parts = [registry.create("estimator", "ridge", on=stored)]
    if "embedding" in stored:
        parts.append(registry.create("estimator", "prototype"))
    average: Estimator = registry.create("estimator", "average", members=tuple(parts))
    return average


def named_estimator(name: str) -> Estimator:
    """A registered estimator, or the mean of several: names joined by `+`. `name@signal` reads that signal too.

    Raises UnknownNameError, and ConfigError for a signal beside those of an estimator that takes none.

    >>> [member.signals for member in named_estimator("trees+ridge@own").params()["members"]]
    [('embedding', 'format', 'length'), ('embedding', 'format', 'own')]
    """
    parts = [_reading(*part.split("@")) for part in name.split("+")]
    made: Estimator = registry.create("estimator", "average", members=tuple(parts))
    return made if len(parts) > 1 else parts[0]


def _reading(name: str, *more: str) -> Estimator:
    """A registered estimator that also reads these signals."""
    made: Estimator = registry.create("estimator", name.strip())
    if not more:
        return made
    read = made.params().get("on")
    if not isinstance(read, tuple):
        raise ConfigError(
            f"estimator {made.name!r} names its signals not in `on`, so it reads none beside them: {more}"
        )
    for signal in more:
        registry.get("signal", signal.strip())
    return made.clone(on=(*read, *(signal.strip() for signal in more)))


def sentence_signal(log: OutcomeLog, encoder: str) -> dict[str, Signal]:
    """For `Router.fit(signals=…)`: the signal `sentence` by a named encoder or a file of weights."""
    made: Signal = registry.create("signal", "sentence", encoder=encoder)
    return {made.name: made.fit(log.texts)}

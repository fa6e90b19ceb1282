"""Never worse than the best single expert: the router routes only where held-out evidence says that it gains.

Shape letters: N queries, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.features import FeatureMap, n_rows
from turnout.policies.base import Policy
from turnout.routers.evidence import Evidence, Values
from turnout.routers.novelty import Novelty
from turnout.routers.regions import Regions
from turnout.stats.bootstrap import paired_bootstrap

Array = NDArray[np.float64]
Columns = NDArray[np.intp]

_PROVEN = 30  # outcomes below which an expert's average is not trusted
_SUPPORT = 20  # groups of queries below which a bootstrap interval is not believed


@dataclass(frozen=True)
class Guard:
    """The paired gain in utility over the best single expert, with its 95 % interval, and what follows from it.

    Utility is `quality − lam · cost`: `lam` is the policy's own λ, or for a policy without one the λ at which
    maximising utility spends as much as the policy does. The baseline is the expert that the same policy would take
    for all queries, knowing only average quality and cost on the training folds, and within the same budget.
    `ranking` is that average objective per expert, those of few outcomes last; an abstaining router follows it.
    With `regions` the verdict is taken in each by itself, and `passed` says whether any passed. `novelty` tells queries
    that the evidence does not speak of. `heir` is who serves in the baseline's place since experts came or went.
    """

    enabled: bool
    passed: bool
    baseline: str
    gain: float
    low: float
    high: float
    lam: float
    groups: int
    support: int
    ranking: tuple[float, ...]
    regions: Regions | None = None
    novelty: Novelty | None = None
    heir: str | None = None

    def among(self, experts: Sequence[str], ranking: tuple[float, ...]) -> Guard:
        """The same verdict for other experts, of whom the first by `ranking` serves where the router abstains."""
        first = experts[int(np.argmax(ranking))]
        return replace(self, ranking=ranking, heir=None if first == self.baseline else first)

    @property
    def serves(self) -> str:
        """Who serves where the router abstains."""
        return self.heir or self.baseline

    @property
    def abstains(self) -> bool:
        """Whether every request goes to the baseline."""
        return self.enabled and not self.passed

    def holds(self, features: FeatureMap) -> NDArray[np.bool_]:
        """Which queries go to the baseline, shape (N,)."""
        parts = [part for part in (self.regions, self.novelty) if part is not None]
        if not self.enabled or self.abstains or not parts:
            return np.full(n_rows(features), self.abstains)
        return reduce(np.logical_or, [part.abstains(features) for part in parts])

    def words(self) -> str:
        """The verdict in plain words."""
        if self.novelty is None or self.abstains or not self.enabled:
            return self._judged()
        return f"{self._judged()}; {self.novelty.words(self.serves)}"

    def _judged(self) -> str:
        if self.regions is None:
            return self._overall()
        regions = self.regions.words(self.serves)
        if self.abstains:
            return f"abstains: {regions}, so every request goes to {self.serves}"
        over = f"over all queries its choices gain {self.gain:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"
        return f"{regions}; {over}" if self.enabled else f"routes unguarded: {regions}; {over}"

    def _overall(self) -> str:
        now = f"; now every request goes to {self.heir}" if self.heir and self.enabled else ""
        if not np.isfinite(self.low):
            verdict = "abstains" if self.enabled else "routes unguarded"
            return (
                f"{verdict}: {self.groups} groups of queries, with {self.support} outcomes of either side where its "
                f"choice is not {self.baseline}, are too few to show a gain over always asking {self.baseline}{now}"
            )
        if self.gain == self.low == self.high == 0.0:
            verdict = "abstains" if self.enabled else "routes unguarded"
            return f"{verdict}: {self.baseline} was its choice on every held-out query{now}"
        gained = f"{self.gain:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"
        if self.passed:
            return f"routes: on held-out queries it gains {gained} over always asking {self.baseline}"
        short = "is a loss" if self.high < 0 else "is not clear of zero"
        shown = f"on held-out queries the gain over always asking {self.baseline}, {gained}, {short}"
        if self.enabled:
            return f"abstains: {shown}, so every request goes to {self.serves}"
        return f"routes unguarded: {shown}"

    def state(self) -> dict[str, Any]:
        """Plain values, and the arrays of regions and novelty; NaN becomes None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= {name: part and part.state() for name, part in (("regions", self.regions), ("novelty", self.novelty))}
        return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in values.items()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Guard:
        """The inverse of `state`."""
        values: dict[str, Any] = {k: float("nan") if v is None else v for k, v in state.items()}
        regions = None if state.get("regions") is None else Regions.from_state(state["regions"])
        novelty = None if state.get("novelty") is None else Novelty.from_state(state["novelty"])
        ranking, heir = tuple(state["ranking"]), state.get("heir")
        return cls(**{**values, "ranking": ranking, "regions": regions, "novelty": novelty, "heir": heir})


def judge(
    choice_N: Columns, baseline_N: Columns, evidence: Evidence, values: Values, *, lam: float, seed: int
) -> tuple[tuple[float, float, float], int]:
    """Mean gain with its interval, and how many outcomes there are of either side where they differ (the lesser).

    The interval is NaN where there are fewer than 20 groups, or where choices differ but one side was hardly ever
    observed there: what an estimator alone says of itself is no evidence.
    """
    rows = np.arange(len(choice_N))
    gain_N = paired_gain(choice_N, baseline_N, values, lam)
    differs_N = choice_N != baseline_N
    seen = [differs_N & evidence.observed[rows, columns_N] for columns_N in (choice_N, baseline_N)]
    support = min(int(seen_N.sum()) for seen_N in seen)
    if not differs_N.any():
        return (0.0, 0.0, 0.0), support
    if len(np.unique(evidence.groups_N)) < _SUPPORT or support < min(_SUPPORT, int(differs_N.sum())):
        return (float(gain_N.mean()), float("nan"), float("nan")), support
    interval = paired_bootstrap(gain_N, evidence.groups_N, seed=seed)
    return (interval.mean, interval.low, interval.high), support


def paired_gain(choice_N: Columns, baseline_N: Columns, values: Values, lam: float) -> Array:
    """Gain in utility of each choice over the baseline's, shape (N,)."""
    rows = np.arange(len(choice_N))
    utility_NE = values.score_NE - lam * values.cost_NE
    return np.asarray(utility_NE[rows, choice_N] - utility_NE[rows, baseline_N])


def best_single(policy: Policy, quality_E: Array, cost_E: Array, observed_NE: NDArray[np.bool_]) -> int:
    """The one expert the policy would take for all queries, knowing only averages and keeping to its own budget.

    Only experts that were observed often enough are trusted with that.
    """
    within_E, proven_E = affordable(policy, cost_E), proven(observed_NE)
    if not within_E.any():
        return int(np.where(proven_E, cost_E, np.inf).argmin())
    within_E = within_E & proven_E if (within_E & proven_E).any() else within_E
    return int(policy.choose(quality_E[None], cost_E[None], within_E[None])[0])


def proven(observed_NE: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Experts with 30 outcomes or more, or with as many as any other has."""
    count_E = observed_NE.sum(axis=0)
    return np.asarray(count_E >= enough(int(count_E.max())))


def enough(most: int) -> int:
    """How many outcomes an average needs to be trusted, where the expert of most outcomes has `most`."""
    return min(_PROVEN, most)


def affordable(policy: Policy, cost_E: Array) -> NDArray[np.bool_]:
    """Experts that may serve every query without breaking the policy's budget or share of strong calls."""
    budget, share = getattr(policy, "dollars_per_1k", None), getattr(policy, "strong_share", None)
    if budget is not None:
        return np.asarray(1000 * cost_E <= budget * (1 + 1e-9))
    strong = getattr(policy, "strong_", None)
    if share is not None and share < 1 and isinstance(strong, int):
        return np.asarray(np.arange(len(cost_E)) != strong)
    return np.ones(len(cost_E), dtype=bool)


def price_of_quality(policy: Policy, quality_NE: Array, cost_NE: Array) -> float:
    """The policy's λ, in score per US dollar; without one, the λ at which best utility spends as the policy does."""
    own: Sequence[object] = (getattr(policy, "lam_", None), getattr(policy, "lam", None))
    for value in own:
        if isinstance(value, (int, float, np.floating)):
            return float(value)
    rows = np.arange(len(quality_NE))
    spend = float(cost_NE[rows, policy.choose(quality_NE, cost_NE)].mean())
    low, high = 0.0, 1.0 / max(float(np.ptp(cost_NE)), 1e-12) * 1e3
    if _spend(low, quality_NE, cost_NE) <= spend:
        return low
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _spend(middle, quality_NE, cost_NE) > spend else (low, middle)
    return high


def _spend(lam: float, quality_NE: Array, cost_NE: Array) -> float:
    choice_N = (quality_NE - lam * cost_NE).argmax(axis=1)
    return float(cost_NE[np.arange(len(choice_N)), choice_N].mean())

"""What a search for a router seeks: the best quality, within a budget, or the least cost at a quality.

Shape letters: N queries, E experts, P operating points (multipliers λ).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnout import registry
from turnout.errors import ConfigError
from turnout.evaluation import metrics
from turnout.features import Floats
from turnout.policies.base import Policy
from turnout.stats import Interval, paired_bootstrap

POINTS = 240
MARGIN = 1.0  # standard errors by which a held-out mean must clear a floor, so that it holds elsewhere too
WINDOW = 9  # neighbouring multipliers whose held-out means are averaged, so that no lucky point is picked


@dataclass(frozen=True)
class Held:
    """Held-out estimates of N queries, and what each choice would have been worth and cost, all (N, E).

    `single` is the column of the best single expert.
    """

    quality_NE: Floats
    cost_NE: Floats
    value_NE: Floats
    spend_NE: Floats
    group_N: NDArray[np.int64]
    single: int


@dataclass(frozen=True)
class Goal:
    """At most one of `dollars_per_1k` (mean spend per 1,000 requests), `floor` (mean quality, or "best") and `curve`.

    `floor="best"` asks for the best single expert's quality at the least cost, `curve` for the best quality averaged
    over all costs (AIQ), the multiplier being set later. Without any the best quality counts.
    """

    dollars_per_1k: float | None = None
    floor: float | str | None = None
    curve: bool = False

    def __post_init__(self) -> None:
        if (self.dollars_per_1k is not None) + (self.floor is not None) + self.curve > 1:
            raise ConfigError("give one of a budget, a floor and a curve")
        if isinstance(self.floor, str) and self.floor != "best":
            raise ConfigError(f"a floor must be a number in [0, 1] or 'best', got {self.floor!r}")
        if isinstance(self.floor, (int, float)) and not 0 <= self.floor <= 1:
            raise ConfigError(f"a floor must be a number in [0, 1] or 'best', got {self.floor!r}")

    @property
    def words(self) -> str:
        """The goal in words."""
        if self.dollars_per_1k is not None:
            return f"best quality within ${self.dollars_per_1k:g} per 1,000 requests"
        if self.floor is not None:
            named = "the best single expert's quality" if self.floor == "best" else f"a mean quality of {self.floor:g}"
            return f"least cost at {named}"
        if self.curve:
            return "best quality over all costs"
        return "best quality"

    def policy(self, held: Held) -> Policy:
        """The policy that seeks the goal, its multiplier learned from held-out estimates and outcomes."""
        if self.dollars_per_1k is not None:
            made: Policy = registry.create("policy", "budget", dollars_per_1k=self.within_reach(held.cost_NE))
        else:
            made = registry.create("policy", "utility", lam=0.0 if self.floor is None else self._thriftiest(held))
        return made.fit(held.quality_NE, held.cost_NE)

    def within_reach(self, cost_NE: Floats) -> float:
        """The budget, or what these queries cost at the cheapest expert of each, where that is more.

        A budget that just holds on a whole log is out of reach on some of its parts.
        """
        assert self.dollars_per_1k is not None
        return max(float(self.dollars_per_1k), 1000 * float(cost_NE.min(axis=1).mean()))

    def merit(self, held: Held, policy: Policy) -> float:
        """How well held-out choices serve the goal, larger is better.

        The mean quality, for a curve averaged over the costs between the experts'; for a floor that is held, above 1
        and the more, the less is spent: one plus the best single expert's part in its own spend and this one's.
        """
        if self.curve:
            return _area(held)
        choice_N = policy.choose(held.quality_NE, held.cost_NE)
        value_N, spend_N = metrics.chosen(held.value_NE, choice_N), metrics.chosen(held.spend_NE, choice_N)
        if self.floor is None or not self._clears(value_N, held):
            return float(value_N.mean())
        spend, single = max(float(spend_N.mean()), 0.0), max(float(held.spend_NE[:, held.single].mean()), 1e-300)
        return 1.0 + single / (single + spend)

    def _over(self, value_N: Floats, held: Held) -> Floats:
        """By how much each query's value exceeds the floor."""
        if self.floor == "best":
            return value_N - held.value_NE[:, held.single]
        assert isinstance(self.floor, (int, float))
        return value_N - self.floor

    def _clears(self, value_N: Floats, held: Held) -> bool:
        over_N = self._over(value_N, held)
        return bool(over_N.mean() >= 0)

    def _thriftiest(self, held: Held) -> float:
        """The largest λ at which held-out quality clears the floor by `MARGIN` standard errors; 0 where none does."""
        lambdas = metrics.lambda_grid(held.quality_NE, held.cost_NE, POINTS)
        choice_NP = metrics.sweep(held.quality_NE, held.cost_NE, lambdas)
        over_NP = np.stack([self._over(metrics.chosen(held.value_NE, c_N), held) for c_N in choice_NP.T], axis=1)
        mean_P = over_NP.mean(axis=0)
        if len(lambdas) > WINDOW:
            padded = np.pad(mean_P, WINDOW // 2, mode="edge")
            mean_P = np.convolve(padded, np.full(WINDOW, 1.0 / WINDOW), mode="valid")
        error_P = over_NP.std(axis=0) / np.sqrt(len(np.unique(held.group_N)))
        clear_P = np.flatnonzero(mean_P >= MARGIN * error_P)
        return float(lambdas[clear_P[-1]]) if len(clear_P) else 0.0


def _area(held: Held) -> float:
    """Mean quality over the costs between the cheapest and the dearest expert, along the hull of all multipliers."""
    lambdas = metrics.lambda_grid(held.quality_NE, held.cost_NE, POINTS)
    choice_NP = metrics.sweep(held.quality_NE, held.cost_NE, lambdas)
    spend_P, value_P = (np.take_along_axis(m, choice_NP, 1).mean(axis=0) for m in (held.spend_NE, held.value_NE))
    mean_E = held.spend_NE.mean(axis=0)
    found = metrics.aiq(spend_P, value_P, float(mean_E.min()), float(mean_E.max()))
    return found if np.isfinite(found) else float(value_P[0])


def gain(held: Held, policy: Policy) -> Interval:
    """Paired gain in score over the best single expert."""
    value_N = metrics.chosen(held.value_NE, policy.choose(held.quality_NE, held.cost_NE))
    return paired_bootstrap(value_N - held.value_NE[:, held.single], held.group_N, seed=0)

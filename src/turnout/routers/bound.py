"""A router bound to a live pool of arms: the hot path, one decision at a time or many at once.

Shape letters: N requests, X the router's experts followed by the pool's newcomers, P the pool's arms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from turnout.errors import ConfigError, RequestError, StateError, did_you_mean
from turnout.features import Features, Sparse
from turnout.prices import CostModel
from turnout.routers.evidence import nothing
from turnout.routers.switching import Switching
from turnout.types import Arm, Decision, Plan, Price, Request

if TYPE_CHECKING:
    from turnout.routers.router import Router

_MASK = (1 << 64) - 1
_MANY = 64  # arms from which numpy sorts faster
_UNKNOWN_SE = 0.5  # the largest standard deviation that a score in [0, 1] can have


class _Row(NamedTuple):
    """Estimates for one request, over the pool's arms; `objective` decides."""

    quality: tuple[float, ...]
    se: tuple[float, ...]
    cost: tuple[float, ...]
    objective: tuple[float, ...]
    held: bool = False  # the guard abstains in this request's region


class Bound:
    """Decides for the arms of one pool. Immutable, so threads may share it; make a new one when the pool changes.

    An arm's stated price overrides the router's. An arm that the router was never fitted on ranks below every fitted
    one (its estimate is the others' mean with a standard error of 0.5) but can be explored; in a pool of such arms
    alone the default decides, else the dearest, and the reason is `unfitted`. An abstaining router ranks experts by
    their average on its log.
    """

    def __init__(
        self, router: Router, arms: Sequence[Arm], default: str | None = None, switching: Switching | None = None
    ) -> None:
        """Raises ConfigError for an empty pool, a repeated id, or a default that is not in the pool.

        Every signal is computed once, so that tables are loaded before the first request; StateError tells where one
        has another number of columns than the router was fitted on.
        """
        self.arms = tuple(arms)
        self.experts = tuple(arm.id for arm in self.arms)
        _check_pool(self.experts, default)
        self.default = default
        self._signals = tuple((name, router.signals[name]) for name in router.signal_names)
        for name, signal in self._signals:
            if (width := signal.transform(("",)).shape[1]) != router.widths[name]:
                raise wider(name, width, router.widths[name])
        self._estimator, self._calibration, self._policy = router.estimator, router.calibration, router.policy
        known = router.experts
        newcomers = [arm for arm in self.arms if arm.id not in known]
        self._newcomers = len(newcomers)
        order_X = (*known, *(arm.id for arm in newcomers))
        at = [order_X.index(expert) for expert in self.experts]
        self._take = None if at == list(range(len(order_X))) else np.array(at)
        self._known = tuple(expert in known for expert in self.experts)
        self.fitted = any(self._known)
        self._costs = _live_costs(router.costs, self.arms, newcomers)
        self._ranking = self._fixed_ranking(router)
        self._guard = router.guard
        self._ranking_E = np.array(router.guard.ranking)
        self._switching, self._lam = switching or Switching(), router.policy.worth(router.guard.lam)
        self._prompt_rates = tuple(self._of_pool(self._costs.prompt_rates[None])[0])
        self.reason = "unfitted" if not self.fitted else "abstained" if router.guard.abstains else "routed"
        self._contexts = tuple(arm.limits.context for arm in self.arms)
        self._least_context = min((c for c in self._contexts if c is not None), default=float("inf"))
        self._features = tuple(arm.limits.features for arm in self.arms)
        self._all = tuple(range(len(self.arms)))
        self._true = (True,) * len(self.arms)

    def decide(self, request: Request, *, seed: int, explore: float = 0.0, switch_margin: float = 0.0) -> Decision:
        """One decision. Pure: the same request and seed give the same decision.

        `explore` is the chance of a uniform choice among eligible arms; it leaves a conversation alone that has an
        eligible expert (`request.previous`), which is left only for a gain in the objective above `switch_margin` and
        the price of a switch (`Switching`).
        Raises RequestError where no arm is eligible.
        """
        features = {name: signal.transform((request.text,)) for name, signal in self._signals}
        row = self._rows(features or nothing(1), (request,))[0]
        traced = {name: values[0] for name, values in features.items() if not isinstance(values, Sparse)}
        return self._select(request, row, traced, seed=seed, explore=explore, switch_margin=switch_margin)

    def is_slow(self, request: Request) -> bool:
        """Whether `decide` may take over a millisecond on this request, so that a server should use a thread."""
        return any(signal.is_slow(request.text) for _, signal in self._signals)

    def decide_many(
        self,
        requests: Sequence[Request],
        *,
        seed: int = 0,
        seeds: Sequence[int] | None = None,
        explore: float = 0.0,
        switch_margin: float = 0.0,
    ) -> list[Decision]:
        """A decision per request, with `seeds`, else `seed + n` for request n.

        Raises RequestError where a request has no eligible arm.
        """
        if not requests:
            return []
        seeds = range(seed, seed + len(requests)) if seeds is None else seeds
        texts = [request.text for request in requests]
        features = {name: signal.transform(texts) for name, signal in self._signals}
        dense = {name: values for name, values in features.items() if not isinstance(values, Sparse)}
        decisions = []
        for n, row in enumerate(self._rows(features or nothing(len(requests)), requests)):
            traced = {name: values[n] for name, values in dense.items()}
            decisions.append(
                self._select(requests[n], row, traced, seed=seeds[n], explore=explore, switch_margin=switch_margin)
            )
        return decisions

    def _rows(self, features: Mapping[str, Features], requests: Sequence[Request]) -> list[_Row]:
        size_N = np.array([request.prompt_tokens for request in requests], dtype=np.float64)
        limits = [request.max_tokens for request in requests]
        cap_N = None if not any(limits) else np.array([np.inf if limit is None else float(limit) for limit in limits])
        cost_NX = self._costs.predict(size_N, cap_N, features)
        cost_NP = self._of_pool(cost_NX)
        if not self.fitted:
            return [_Row((), (), tuple(cost), self._ranking or ()) for cost in cost_NP]
        quality_NX, se_NX = self._calibration.apply(*self._estimator.predict(features))
        ranking, held = self._ranking, [False] * len(requests)
        if ranking is None:
            objective_NX = self._policy.objective(quality_NX, cost_NX[:, : quality_NX.shape[1]])
            held = self._guard.holds(features).tolist()
            if any(held):
                objective_NX = np.where(np.array(held)[:, None], self._ranking_E, objective_NX)
        else:
            objective_NX = np.broadcast_to(np.array(ranking), (len(requests), len(ranking)))
        if self._newcomers:
            quality_NX, se_NX, objective_NX = _with_newcomers(
                quality_NX, se_NX, objective_NX, self._newcomers if ranking is None else 0, self._newcomers
            )
        quality_NP, se_NP, objective_NP = (self._of_pool(a_NX) for a_NX in (quality_NX, se_NX, objective_NX))
        rows = zip(quality_NP, se_NP, cost_NP, objective_NP, held, strict=True)
        return [_Row(tuple(q), tuple(se), tuple(c), tuple(o), h) for q, se, c, o, h in rows]

    def _of_pool(self, values_NX: NDArray[Any]) -> list[list[float]]:
        """The pool's columns as Python numbers."""
        taken: list[list[float]] = (values_NX if self._take is None else values_NX[:, self._take]).tolist()
        return taken

    def _fixed_ranking(self, router: Router) -> tuple[float, ...] | None:
        """What ranks the arms where estimates do not: per X for an abstaining router, per P for an unfitted pool."""
        if not self.fitted:
            dearest = [_list_price(arm.price) for arm in self.arms]
            top = max(dearest) + 1.0
            return tuple(
                top if arm.id == self.default else price for arm, price in zip(self.arms, dearest, strict=True)
            )
        if not router.guard.abstains:
            return None
        ranking = router.guard.ranking
        return (*ranking, *((min(ranking) - 1.0,) * self._newcomers))

    def _select(
        self,
        request: Request,
        row: _Row,
        traced: Mapping[str, NDArray[Any]],
        *,
        seed: int,
        explore: float,
        switch_margin: float,
    ) -> Decision:
        eligible, refusals = self._eligible(request)
        objective, cost = row.objective, row.cost
        order = _ranked(eligible, objective, cost)
        chosen, reason, propensity = order[0], "abstained" if row.held else self.reason, 1.0
        if len(eligible) == 1:
            reason = "only"
        elif request.previous is not None and (kept := self._previous(request.previous, eligible)) is not None:
            if kept != chosen and objective[chosen] - objective[kept] <= switch_margin + self._price(request, kept):
                chosen, reason = kept, "kept"
        elif explore > 0:
            share = explore / len(eligible)
            drawn = _uniform(seed)
            if drawn < explore:
                picked = eligible[min(int(drawn / share), len(eligible) - 1)]
                reason = reason if picked == chosen else "explored"
                chosen = picked
            propensity = share if chosen != order[0] else 1.0 - explore + share
        order.remove(chosen)
        experts = self.experts
        flags = self._true if not refusals else tuple(expert not in refusals for expert in experts)
        return Decision(
            Plan(experts[chosen], tuple([experts[i] for i in order])),
            reason,
            experts,
            flags,
            row.quality,
            row.se,
            cost,
            objective,
            propensity,
            seed,
            traced,
            refusals,
        )

    def _price(self, request: Request, kept: int) -> float:
        """What a switch loses beside the margin, in units of the objective."""
        if not (request.cached_tokens or request.tool_loop):
            return 0.0
        lam = self._lam if np.isfinite(self._lam) else 0.0
        return self._switching.price(request, lam, self._prompt_rates[kept])

    def _eligible(self, request: Request) -> tuple[Sequence[int], dict[str, str]]:
        """Columns of the arms that may serve the request, and why the others may not."""
        refusals: dict[str, str] = {}
        needs, allow, deny = request.needs, request.allow, request.deny
        tokens = request.prompt_tokens + (request.max_tokens or 0)
        if tokens <= self._least_context and allow is None and not deny and not needs:
            return self._all, refusals
        for i, context in enumerate(self._contexts):
            expert = self.experts[i]
            if allow is not None and expert not in allow:
                refusals[expert] = "not among the allowed experts"
            elif deny and expert in deny:
                refusals[expert] = "denied"
            elif (context is not None and tokens > context) or (needs and not needs <= self._features[i]):
                refusals[expert] = self.arms[i].limits.refusal(request) or "refused"
        if not refusals:
            return self._all, refusals
        eligible = [i for i, expert in enumerate(self.experts) if expert not in refusals]
        if not eligible:
            raise self._nobody(request, refusals)
        return eligible, refusals

    def _nobody(self, request: Request, refusals: Mapping[str, str]) -> RequestError:
        limits = {arm.id: arm.limits.refusal(request) for arm in self.arms}
        by_limit = {expert: why for expert, why in refusals.items() if why == limits[expert]}
        too_long = bool(by_limit) and all(not request.needs - self._features[self.experts.index(e)] for e in by_limit)
        listed = "; ".join(f"{expert}: {why}" for expert, why in refusals.items())
        return RequestError(
            f"no expert can serve this request: {listed}",
            code="context_length_exceeded" if too_long else "no_eligible_expert",
        )

    def _previous(self, previous: str, eligible: Sequence[int]) -> int | None:
        for i in eligible:
            if self.experts[i] == previous:
                return i
        return None


def _ranked(eligible: Sequence[int], objective: Sequence[float], cost: Sequence[float]) -> list[int]:
    """Eligible columns, the largest objective first; ties go to the cheaper, then to the earlier."""
    if len(eligible) > _MANY:
        index = np.array(eligible)
        value = np.array(objective)[index]
        order = np.argsort(-value, kind="stable")
        if (np.diff(value[order]) == 0).any():
            order = np.lexsort((np.array(cost)[index], -value))
        found: list[int] = index[order].tolist()
        return found
    by_cost = sorted(eligible, key=cost.__getitem__)
    by_cost.sort(key=objective.__getitem__, reverse=True)
    return by_cost


def _with_newcomers(
    quality_NX: NDArray[Any], se_NX: NDArray[Any], objective_NX: NDArray[Any], unranked: int, newcomers: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    rows = len(quality_NX)
    prior_NX = np.repeat(quality_NX.mean(axis=1, keepdims=True), newcomers, axis=1)
    quality_NX = np.concatenate([quality_NX, prior_NX], axis=1)
    se_NX = np.concatenate([se_NX, np.full((rows, newcomers), _UNKNOWN_SE)], axis=1)
    if unranked:
        last_NX = np.repeat(objective_NX.min(axis=1, keepdims=True) - 1.0, unranked, axis=1)
        objective_NX = np.concatenate([objective_NX, last_NX], axis=1)
    return quality_NX, se_NX, objective_NX


def wider(name: str, width: int, fitted: int) -> StateError:
    """What to raise where a signal has another number of columns than a router was fitted on."""
    return StateError(f"signal {name!r} has {width} columns, the router was fitted on {fitted}; fit again")


def _check_pool(experts: Sequence[str], default: str | None) -> None:
    if not experts:
        raise ConfigError("the pool has no experts; name at least one")
    twice = sorted({expert for expert in experts if experts.count(expert) > 1})
    if twice:
        raise ConfigError(f"two experts of the pool have the id {twice[0]!r}; ids must be unique")
    if default is not None and default not in experts:
        near = did_you_mean(default, experts)
        raise ConfigError(f"`router.default` names no expert of the pool: {default!r}{near} pool: {', '.join(experts)}")


def _live_costs(costs: CostModel, arms: Sequence[Arm], newcomers: Sequence[Arm]) -> CostModel:
    """The router's cost model at the pool's stated prices, followed by the newcomers'."""
    for arm in arms:
        if arm.id in costs.experts and stated(arm.price) and costs.prices[costs.experts.index(arm.id)] != arm.price:
            costs = costs.reprice(arm.id, arm.price)
    return costs.append(costs.typical([arm.id for arm in newcomers], [arm.price for arm in newcomers]))


def stated(price: Price) -> bool:
    """Whether a price says anything: all zeros and not nominal is what an arm has that names none."""
    return bool(price.input or price.output or price.nominal)


def stated_prices(arms: Iterable[Arm]) -> dict[str, Price]:
    """The prices that say anything, by expert."""
    return {arm.id: arm.price for arm in arms if stated(arm.price)}


def _list_price(price: Price) -> float:
    """US dollars for three tokens of prompt and one of answer, per million: how dear an arm looks on the list."""
    return 0.75 * price.input + 0.25 * price.output


def _uniform(seed: int) -> float:
    """A uniform number in [0, 1) from any integer: SplitMix64 (Steele, Lea and Flood, 2014).

    >>> round(_uniform(1), 6) == round(_uniform(1), 6) != round(_uniform(2), 6)
    True
    """
    z = (seed + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / float(1 << 53)

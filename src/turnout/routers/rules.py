"""An operator's rules around a bound router: the first rule that holds refuses, forces or narrows; the router chooses.

    signals (named, lazy) -> conditions (Boolean) -> the first rule that holds -> the router, within what is left

Source: vLLM Semantic Router's order of signals, decisions and selection (its paper; github.com/vllm-project/
semantic-router), without its plug-ins.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from turnout import registry
from turnout.errors import ConfigError, RefusedError, RequestError, did_you_mean
from turnout.routers.bound import Bound
from turnout.routers.conditions import Conditions, View
from turnout.rules import Rule, SignalSpec, Then, check
from turnout.rules.expression import Expression
from turnout.signals.base import is_long
from turnout.types import Arm, Decision, Plan, Request

if TYPE_CHECKING:
    from turnout.routers.router import Router

Trade: TypeAlias = tuple[float | None, float | None]  # λ and floor


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule that is ready to be asked."""

    name: str
    when: Expression
    then: Then
    text: str
    priority: int


class Ruled:
    """A `Bound` behind rules; decides as one. Immutable but for what a request's own view holds.

    A rule's `lam` or `floor` takes the place of the router's policy and of its guard, which never judged that trade:
    estimates decide. A request that a client sent to an expert by name is only screened for refusals.

    Limits: one rule applies, the first that holds; effects of several rules do not add up.
    """

    def __init__(
        self,
        router: Router,
        arms: Sequence[Arm],
        default: str | None = None,
        *,
        signals: Mapping[str, SignalSpec],
        rules: Sequence[Rule],
    ) -> None:
        """Raises ConfigError for rules that cannot be meant, or that name an expert outside of the pool."""
        ordered = check(signals, rules)
        self.conditions = Conditions(signals)
        self.rules = tuple(
            Compiled(e.name, self.conditions.compiled(e.when), e.rule.then, e.rule.when, e.rule.priority)
            for e in ordered
        )
        self._plain = router.bind(arms, default)
        self.arms, self.experts, self.fitted = self._plain.arms, self._plain.experts, self._plain.fitted
        for rule in self.rules:
            for expert in rule.then.experts:
                if expert not in self.experts:
                    near = did_you_mean(expert, self.experts)
                    raise ConfigError(
                        f"rule {rule.name!r} names no expert of the pool: {expert!r}{near} pool: "
                        + ", ".join(self.experts)
                    )
        trades = {(rule.then.lam, rule.then.floor) for rule in self.rules}
        self._routers = {trade: _traded(router, *trade) for trade in trades - {(None, None)}}
        self._routers[None, None] = router
        self._bounds: dict[Trade, Bound] = {
            trade: self._plain if own is router else own.bind(arms, default) for trade, own in self._routers.items()
        }
        self._refuses = any(rule.then.refuse is not None for rule in self.rules)
        self.reads_turns = self.conditions.turns

    def is_slow(self, request: Request) -> bool:
        """As `Bound.is_slow`; conditions read the text and the turns too."""
        return self._plain.is_slow(request) or any(map(is_long, (request.text, *request.turns)))

    def decide(self, request: Request, *, seed: int, explore: float = 0.0, switch_margin: float = 0.0) -> Decision:
        """As `Bound.decide`. Raises RefusedError where a rule refuses, RequestError where a rule leaves no expert."""
        rule, view = self.match(request)
        self._refuse(rule, view, seed)
        bound, narrowed = self._bounds[_trade(rule)], self._narrowed(request, rule)
        try:
            made = bound.decide(narrowed, seed=seed, explore=explore, switch_margin=switch_margin)
        except RequestError as error:
            raise _within(rule, error) from error
        return self._told(made, rule, view, request)

    def decide_many(
        self,
        requests: Sequence[Request],
        *,
        seed: int = 0,
        seeds: Sequence[int] | None = None,
        explore: float = 0.0,
        switch_margin: float = 0.0,
    ) -> list[Decision]:
        """As `Bound.decide_many`; the first request that a rule refuses raises RefusedError."""
        seeds = range(seed, seed + len(requests)) if seeds is None else seeds
        matched = [self.match(request) for request in requests]
        for n, (rule, view) in enumerate(matched):
            self._refuse(rule, view, seeds[n])
        by_trade: dict[Trade, list[int]] = {}
        for n, (rule, _) in enumerate(matched):
            by_trade.setdefault(_trade(rule), []).append(n)
        decisions: dict[int, Decision] = {}
        for trade, places in by_trade.items():
            made = self._bounds[trade].decide_many(
                [self._narrowed(requests[n], matched[n][0]) for n in places],
                seeds=[seeds[n] for n in places],
                explore=explore,
                switch_margin=switch_margin,
            )
            decisions |= {n: self._told(one, *matched[n], requests[n]) for n, one in zip(places, made, strict=True)}
        return [decisions[n] for n in range(len(requests))]

    def screen(self, request: Request, *, seed: int) -> None:
        """Raise RefusedError where a rule refuses the request, whoever was asked to serve it."""
        if self._refuses:
            rule, view = self.match(request)
            self._refuse(rule, view, seed)

    def match(self, request: Request) -> tuple[Compiled | None, View]:
        """The first rule that holds, and the values that were needed to know."""
        view = View(request)
        for rule in self.rules:
            if rule.when.holds(lambda name: self.conditions.holds(name, view)):
                return rule, view
        return None, view

    def router(self, request: Request) -> Router:
        """The router that decides: with the policy of the rule that applies, where that has one."""
        return self._routers[_trade(self.match(request)[0])]

    def explain(self, request: Request) -> dict[str, Any]:
        """The rules as they were tried, and the values of the signals that were needed."""
        found, view = self.match(request)
        tried = self.rules if found is None else self.rules[: self.rules.index(found) + 1]
        return {
            "rule": None if found is None else found.name,
            "then": None if found is None else str(found.then),
            "tried": [
                {"rule": r.name, "when": r.text, "priority": r.priority, "holds": r is found, "then": str(r.then)}
                for r in tried
            ],
            "not_tried": [rule.name for rule in self.rules[len(tried) :]],
            "signals": view.readings(),
        }

    def _refuse(self, rule: Compiled | None, view: View, seed: int) -> None:
        if rule is None or rule.then.refuse is None:
            return
        nobody = (False,) * len(self.experts)
        refusals = dict.fromkeys(self.experts, f"refused by the rule {rule.name!r}")
        decision = Decision(
            Plan(""), "refused", self.experts, nobody, seed=seed, refusals=refusals, rule=rule.name,
            conditions=view.readings(),
        )  # fmt: skip
        raise RefusedError(rule.then.refuse, decision=decision)

    def _narrowed(self, request: Request, rule: Compiled | None) -> Request:
        if rule is None or not rule.then.experts:
            return request
        then = rule.then
        wanted = frozenset((then.expert,) if then.expert else then.among or self.experts) - frozenset(then.avoid)
        return replace(request, allow=wanted if request.allow is None else wanted & request.allow)

    def _told(self, made: Decision, rule: Compiled | None, view: View, request: Request) -> Decision:
        """The decision with the rule and the values behind it; whom the rule excluded is told as such."""
        if rule is None:
            return replace(made, conditions=view.readings()) if view.read else made
        refusals = made.refusals
        if rule.then.experts:
            own = request.allow
            refusals = {
                expert: why if why != "not among the allowed experts" or (own is not None and expert not in own)
                else f"excluded by the rule {rule.name!r}"
                for expert, why in refusals.items()
            }  # fmt: skip
        reason = "ruled" if rule.then.expert is not None else made.reason
        return replace(made, reason=reason, refusals=refusals, rule=rule.name, conditions=view.readings())


def bind(
    router: Router,
    arms: Sequence[Arm],
    default: str | None = None,
    *,
    signals: Mapping[str, SignalSpec] | None = None,
    rules: Sequence[Rule] = (),
) -> Bound | Ruled:
    """The router for a live pool, behind rules where there are any."""
    if not rules:
        return router.bind(arms, default)
    return Ruled(router, arms, default, signals=signals or {}, rules=rules)


def _trade(rule: Compiled | None) -> Trade:
    return (None, None) if rule is None else (rule.then.lam, rule.then.floor)


def _traded(router: Router, lam: float | None, floor: float | None) -> Router:
    """The router with another policy, which its guard never judged."""
    made = copy.copy(router)
    made.policy = (
        registry.create("policy", "floor", quality=floor)
        if lam is None
        else registry.create("policy", "utility", lam=lam)
    )
    made.guard = replace(router.guard, enabled=False, lam=router.guard.lam if lam is None else lam)
    return made


def _within(rule: Compiled | None, error: RequestError) -> RequestError:
    if rule is None or isinstance(error, RefusedError):
        return error
    message = f"the rule {rule.name!r} applies ({rule.then}), and {error}"
    return RequestError(message, status=error.status, type=error.type, code=error.code, param=error.param)

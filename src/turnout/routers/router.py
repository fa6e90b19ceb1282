"""Signals, an estimator, a policy, costs and a guard as one object that is fitted, asked, explained and saved.

Shape letters: N queries, E experts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from turnout.errors import ConfigError, StateError, UnknownNameError
from turnout.estimators.base import Estimator
from turnout.features import FeatureMap, Features, n_rows
from turnout.policies.base import Policy
from turnout.prices import CostModel, sizes
from turnout.routers import saving
from turnout.routers.bound import Bound, stated_prices, wider
from turnout.routers.calibration import Calibration
from turnout.routers.evidence import nothing
from turnout.routers.examples import Examples
from turnout.routers.guard import Guard
from turnout.routers.novelty import SHARE, Novelty
from turnout.routers.switching import Switching
from turnout.signals.base import Signal
from turnout.types import Arm, Decision, How, Limits, Price, Request

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog
    from turnout.routers.crossfit import CrossFit

Array = NDArray[np.float64]


class Router:
    """Decides which expert serves a request, from what a log of outcomes showed.

    Made by `fit` or `load`. `experts` are the columns of every estimate; `arms` say what is known of them besides.
    `guard` holds the verdict on held-out queries, `summary` what the router was fitted on and its held-out figures.
    Decisions are pure and a router is safe to share between threads; `add_expert`, `remove_expert` and `reprice`
    put new parts in place of the old ones, so a `Bound` made before keeps deciding as it did.

    >>> from turnout.outcomes import OutcomeLog
    >>> prompts = [f"{'add' if n % 2 else 'name'} item {n} {'+' * (n % 2)} {n * 7919 % 1000}" for n in range(200)]
    >>> scores_NE = [[n % 2, 1 - n % 2] for n in range(200)]
    >>> router = Router.fit(OutcomeLog.from_arrays(prompts, ["sums", "names"], scores_NE))
    >>> router.decide([Request("add item 7 + 41"), Request("name item 8  310")])[0].expert
    'sums'

    Limits: experts are compared by estimates from the log's kind of traffic; on other traffic the guard's interval
    does not hold.
    """

    def __init__(
        self,
        *,
        signals: Mapping[str, Signal],
        widths: Mapping[str, int],
        estimator: Estimator,
        calibration: Calibration,
        policy: Policy,
        costs: CostModel,
        guard: Guard,
        arms: Sequence[Arm],
        examples: Examples,
        summary: Mapping[str, Any],
    ) -> None:
        self.signals, self.widths = dict(signals), dict(widths)
        self.estimator, self.calibration, self.policy = estimator, calibration, policy
        self.costs, self.guard, self.arms, self.examples = costs, guard, tuple(arms), examples
        self.summary: dict[str, Any] = dict(summary)

    @classmethod
    def fit(
        cls,
        log: OutcomeLog,
        *,
        arms: Sequence[Arm] = (),
        estimator: Estimator | None = None,
        policy: Policy | None = None,
        folds: int = 5,
        seed: int = 0,
        guard: bool = True,
        baseline: str | None = None,
        signals: Mapping[str, Signal] | None = None,
        examples: int = 500,
        keep_text: bool = True,
        watch: Callable[[CrossFit, Array], None] | None = None,
        known: CrossFit | None = None,
        regions: int | str | None = None,
        novelty: float = SHARE,
    ) -> Self:
        """Learn from a log; every figure comes from queries that were held out, near-duplicates together.

        `arms` give prices and limits by id (a stated price wins over the log's costs). `guard=False` routes even where
        no gain was shown; `baseline` names the single expert to beat instead of the best on the training folds.
        `signals` are fitted ones to reuse. `examples` logged queries are kept for explanations, with the first 160
        characters of their text unless `keep_text` is False. `watch` is told the held-out predictions and costs;
        `known` are such predictions, made before by this estimator on this log. `regions` (a number of clusters, or
        "tasks") lets the guard judge each region of queries by itself; `novelty` is the share of logged queries, those
        of the least usual form, beyond which a query goes to the best single expert (0: none; only an estimator that
        reads the signal `format` can tell).
        Raises LogError for a log without scores, ParameterError for a budget out of reach.
        """
        from turnout.routers.costs import fit_costs
        from turnout.routers.evidence import gather
        from turnout.routers.fitting import default_estimator, default_policy, describe_fit, fit_decisions
        from turnout.routers.regions import Regions

        prices = stated_prices(arms)
        estimator = default_estimator(log) if estimator is None else estimator.clone()
        policy = default_policy() if policy is None else policy.clone()
        evidence, fitted = gather(log, estimator.signals, prices, signals)
        costs = fit_costs(log, evidence, prices)
        drawn = None if regions is None else Regions.draw(evidence, regions, seed=seed)
        calibration, verdict, found = fit_decisions(
            evidence, estimator, policy, costs,
            folds=folds, seed=seed, guard=guard, baseline=baseline, watch=watch, known=known, regions=drawn,
            novelty=Novelty.learn(evidence.features, novelty),
        )  # fmt: skip
        estimator.fit(evidence.features, evidence.scores_NE, weights_NE=evidence.weights_NE, tasks=evidence.tasks)
        return cls.settled(
            signals=fitted,
            widths={name: values.shape[1] for name, values in evidence.features.items()},
            estimator=estimator,
            calibration=calibration,
            policy=policy,
            costs=costs,
            guard=verdict,
            arms=named_arms(arms, evidence.experts),
            examples=Examples.draw(evidence, examples, seed, keep_text),
            summary=describe_fit(log, evidence, found, seed),
        )

    @classmethod
    def settled(cls, **parts: Any) -> Self:
        """The router of these parts as it will be once saved and loaded, so that it decides alike before and after."""
        return cls._from_parts(saving.settled(cls(**parts)._parts()))

    @property
    def experts(self) -> tuple[str, ...]:
        """The experts that estimates are for, in the order of every array."""
        return self.costs.experts

    @property
    def signal_names(self) -> tuple[str, ...]:
        """The signals a decision computes, each once: those that tell cost, as they were learned, and quality."""
        return tuple(dict.fromkeys((*self.costs.departures.on, *self.estimator.signals)))

    def bind(self, arms: Sequence[Arm], default: str | None = None, switching: Switching | None = None) -> Bound:
        """The router for a live pool: absent experts are masked, unknown ones join as newcomers."""
        return Bound(self, arms, default, switching)

    def decide(
        self, requests: Sequence[Request], *, seed: int = 0, explore: float = 0.0, switch_margin: float = 0.0
    ) -> list[Decision]:
        """A decision per request, over the router's own arms."""
        return self.bind(self.arms).decide_many(requests, seed=seed, explore=explore, switch_margin=switch_margin)

    def features(self, source: OutcomeLog | Sequence[str] | FeatureMap) -> tuple[FeatureMap, Array]:
        """The signals' values and the prompt's size in tokens, from a log, texts, or features as they are (size 0).

        Raises StateError where a signal has another number of columns than the router was fitted on.
        """
        if isinstance(source, Mapping):
            return source, np.zeros(n_rows(source))
        if isinstance(source, Sequence):
            found = {name: self.signals[name].transform(source) for name in self.signal_names}
            return self._checked(found) or nothing(len(source)), sizes(source)
        from turnout.routers.evidence import prompt_sizes, read_signals

        return self._checked(read_signals(source, self.signal_names, self.signals)[1]), prompt_sizes(source)

    def _checked(self, found: dict[str, Features]) -> dict[str, Features]:
        for name, values in found.items():
            if values.shape[1] != self.widths.get(name, values.shape[1]):
                raise wider(name, values.shape[1], self.widths[name])
        return found

    def predict(self, source: OutcomeLog | Sequence[str] | FeatureMap) -> tuple[Array, Array, Array]:
        """Calibrated quality, its standard error, and cost in US dollars per request: three arrays (N, E)."""
        return self._estimates(*self.features(source))

    def _estimates(self, features: FeatureMap, size_N: Array) -> tuple[Array, Array, Array]:
        quality_NE, se_NE = self.calibration.apply(*self.estimator.predict(features))
        return quality_NE, se_NE, self.costs.predict(size_N, features=features)

    def choose(
        self, source: OutcomeLog | Sequence[str] | FeatureMap, eligible_E: NDArray[np.bool_] | None = None
    ) -> NDArray[np.intp]:
        """The chosen expert's column per query, guard included: shape (N,). All experts are eligible unless told."""
        features, size_N = self.features(source)
        quality_NE, _, cost_NE = self._estimates(features, size_N)
        mask_E = np.ones(len(self.experts), dtype=bool) if eligible_E is None else eligible_E
        fixed = int(np.where(mask_E, self.guard.ranking, -np.inf).argmax())
        if self.guard.abstains:
            return np.full(len(quality_NE), fixed, dtype=np.intp)
        choice_N = self.policy.choose(quality_NE, cost_NE, np.broadcast_to(mask_E, quality_NE.shape))
        return np.where(self.guard.holds(features), fixed, choice_N)

    def explain(self, text: str, *, neighbours: int = 5, among: Collection[str] | None = None) -> dict[str, Any]:
        """Why this text goes where it goes: estimates, arithmetic, neighbours, and what would flip the choice.

        `among` names the experts that may serve it (None: all).
        """
        from turnout.routers.explain import explain

        return explain(self, text, neighbours, among)

    def reprice(self, expert: str, price: Price) -> Self:
        """Put another price on one expert. Nothing is refitted; the others' costs and all qualities stay."""
        self.costs = self.costs.reprice(expert, price)
        self.arms = tuple(_priced(arm, price) if arm.id == expert else arm for arm in self.arms)
        return self

    def add_expert(self, arm: Arm, log: OutcomeLog, *, caution: float = 0.0) -> Self:
        """Learn one more expert from its outcomes in `log`; the others' estimates do not change.

        Its quality is predicted `caution` standard errors lower: with few outcomes an expert is otherwise asked
        wherever luck made it look best. It takes the router's calibration. An abstaining router ranks it by its mean
        score and cost, which are comparable only if `log` holds the same kind of queries, and last with fewer than 30
        outcomes. Raises LogError where it has no scores.
        """
        from turnout.routers.additions import learn_expert

        if arm.id in self.experts:
            raise ConfigError(f"the router already has an expert {arm.id!r}; remove it first")
        learn_expert(self, arm, log, caution)
        return self

    def remove_expert(self, expert: str) -> Self:
        """Forget one expert; the others' estimates do not change."""
        if expert not in self.experts:
            raise UnknownNameError("expert", expert, self.experts)
        if len(self.experts) == 1:
            raise ConfigError(f"{expert!r} is the router's only expert; a router needs one")
        from turnout.routers.additions import forget_expert

        forget_expert(self, self.experts.index(expert))
        return self

    def save(self, folder: str | Path) -> None:
        """Write `router.json` and `arrays.npz` into the folder, atomically; an older router there is replaced."""
        saving.write(Path(folder), self._parts())

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """A saved router. Raises StateError where it is missing, damaged or from a newer format."""
        return cls._from_parts(saving.read(Path(folder)))

    def copy(self) -> Self:
        """An independent copy."""
        return copy.deepcopy(self)

    def __repr__(self) -> str:
        return f"Router({len(self.experts)} experts, {self.estimator!r}, {self.policy!r}, {self.guard.words()!r})"

    def _parts(self) -> dict[str, Any]:
        return {
            "signals": self.signals,
            "widths": self.widths,
            "estimator": self.estimator,
            "calibration": {"table": self.calibration.table_G, "slope": self.calibration.slope},
            "policy": self.policy,
            "costs": self.costs.state(),
            "guard": self.guard.state(),
            "arms": [_arm_state(arm) for arm in self.arms],
            "examples": self.examples.state(),
            "summary": _listed(self.summary),
        }

    @classmethod
    def _from_parts(cls, parts: Mapping[str, Any]) -> Self:
        try:
            return cls(
                signals=parts["signals"],
                widths=parts["widths"],
                estimator=parts["estimator"],
                calibration=Calibration(parts["calibration"]["table"], parts["calibration"]["slope"]),
                policy=parts["policy"],
                costs=CostModel.from_state(parts["costs"]),
                guard=Guard.from_state(parts["guard"]),
                arms=[_arm(state) for state in parts["arms"]],
                examples=Examples.from_state(parts["examples"]),
                summary=_listed(parts["summary"]),
            )
        except (KeyError, TypeError) as error:
            raise StateError(f"the saved router lacks or garbles a part: {error}") from error


def shipped_path() -> Path:
    """The router that comes with the package."""
    return Path(__file__).parents[1] / "data" / "router"


def _priced(arm: Arm, price: Price) -> Arm:
    return Arm(arm.id, arm.card, price, arm.limits, arm.tags, arm.model, arm.how)


def _arm_state(arm: Arm) -> dict[str, Any]:
    return {
        "id": arm.id,
        "card": arm.card,
        "price": [arm.price.input, arm.price.output, arm.price.nominal],
        "context": arm.limits.context,
        "features": sorted(arm.limits.features),
        "tags": sorted(arm.tags),
        "model": arm.model,
        "how": {"name": arm.how.name, "suffix": arm.how.suffix, "body": _listed(arm.how.body)},
    }


def named_arms(arms: Sequence[Arm], experts: Sequence[str]) -> list[Arm]:
    """An arm per expert: the given one, or one of which only the id is known."""
    given = {arm.id: arm for arm in arms}
    return [given.get(expert, Arm(expert)) for expert in experts]


def _arm(state: Mapping[str, Any]) -> Arm:
    return Arm(
        id=state["id"],
        card=state["card"],
        price=Price(*state["price"]),
        limits=Limits(state["context"], frozenset(state["features"])),
        tags=frozenset(state["tags"]),
        model=state["model"],
        how=How(**_listed(state["how"])),
    )


def _listed(value: Any) -> Any:
    """Plain JSON values again: tuples as lists, as `state.unpack` returns lists as tuples."""
    if isinstance(value, Mapping):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value

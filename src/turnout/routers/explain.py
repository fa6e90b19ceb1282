"""Why a text goes where it goes: estimates, the objective's arithmetic, its nearest logged queries, and what flips it.

Shape letters: E experts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from turnout.features import FeatureMap, Sparse
from turnout.policies.base import Policy
from turnout.types import Request

if TYPE_CHECKING:
    from turnout.routers.router import Router

Array = NDArray[np.float64]

_FACTORS = np.geomspace(1.0, 1e6, 241)  # how far a price is raised (or cut) in search of a flip


@dataclass(frozen=True)
class _Case:
    """One text's estimates; `choice` is the policy's among those that may serve, before any guard."""

    policy: Policy
    quality_E: Array
    cost_E: Array
    may_E: NDArray[np.bool_]

    @property
    def choice(self) -> int:
        return self.chosen_at(self.cost_E)

    def chosen_at(self, cost_E: Array) -> int:
        return int(self.policy.choose(self.quality_E[None], cost_E[None], self.may_E[None])[0])


def explain(router: Router, text: str, neighbours: int, among: Collection[str] | None = None) -> dict[str, Any]:
    """A plain dictionary, in the router's order of experts; costs in US dollars per request.

    Choices and flips are `among` the named experts, where some are named, and those whose limits the text keeps to.
    """
    features, _ = router.features([text])
    quality_1E, se_1E, cost_1E = router.predict([text])
    objective_E = router.policy.objective(quality_1E, cost_1E)[0]
    may_E = _may(router, text, among)
    case = _Case(router.policy, quality_1E[0], cost_1E[0], may_E)
    choice = case.choice
    guard = router.guard
    held = bool(guard.holds(features)[0])
    served = int(np.where(may_E, guard.ranking, -np.inf).argmax()) if held else choice
    half_E = 1.96 * se_1E[0]
    rows = [
        {
            "expert": name,
            "quality": float(case.quality_E[e]),
            "low": float(max(case.quality_E[e] - half_E[e], 0.0)),
            "high": float(min(case.quality_E[e] + half_E[e], 1.0)),
            "cost": float(case.cost_E[e]),
            "objective": float(objective_E[e]),
            "arithmetic": arithmetic(case, e, float(objective_E[e])),
        }
        for e, name in enumerate(router.experts)
    ]
    return {
        "text": text[:160],
        "expert": router.experts[served],
        "reason": "abstained" if held else "routed",
        "region": None if guard.regions is None else guard.regions.names[int(guard.regions.of(features)[0])],
        "novel": guard.novelty is not None and bool(guard.novelty.abstains(features)[0]),
        "policy": repr(router.policy),
        "policy_choice": router.experts[choice],
        "guard": guard.words(),
        "experts": rows,
        "flips": flips(router, case),
        "neighbours": nearest(router, features, neighbours),
    }


def _may(router: Router, text: str, among: Collection[str] | None) -> NDArray[np.bool_]:
    """Experts that may serve the text, shape (E,); all where none may."""
    request = Request(text, bytes=len(text.encode("utf-8", "replace")))
    may_E = np.array(
        [(among is None or arm.id in among) and arm.limits.refusal(request) is None for arm in router.arms]
    )
    return may_E if may_E.any() else np.ones_like(may_E)


def arithmetic(case: _Case, e: int, objective: float) -> str:
    """The objective of one expert as a sum a reader can check."""
    quality, cost = float(case.quality_E[e]), float(case.cost_E[e])
    lam = own_lambda(case.policy)
    if lam is not None:
        return f"{quality:.4f} − {lam:.6g} × ${cost:.6g} = {objective:.4f}"
    floor = getattr(case.policy, "quality", None)
    if case.policy.name == "floor" and floor is not None:
        met = quality >= floor
        return f"{quality:.4f} {'≥' if met else '<'} {floor:g}: " + (
            f"counts by its cost, ${cost:.6g}" if met else "below"
        )
    threshold = getattr(case.policy, "threshold_", None)
    if threshold is not None and e == getattr(case.policy, "strong_", -1):
        return f"{quality:.4f} − {threshold:.4f} (threshold of the strong expert) = {objective:.4f}"
    return f"{objective:.4f}"


def own_lambda(policy: Policy) -> float | None:
    """The policy's λ in score per US dollar, where it has one."""
    for name in ("lam_", "lam"):
        value = getattr(policy, name, None)
        if isinstance(value, (int, float)):
            return float(value)
    return None


def flips(router: Router, case: _Case) -> list[dict[str, Any]]:
    """The smallest changes that would make the policy choose another expert, the smallest relative change first."""
    found = [*_lambda_flips(router.experts, case), *_price_flips(router.experts, case)]
    return sorted(found, key=lambda flip: abs(np.log(flip["factor"])) if flip["factor"] else np.inf)


def _lambda_flips(experts: tuple[str, ...], case: _Case) -> list[dict[str, Any]]:
    """The nearest λ below and above at which another expert is as good: where two lines `quality − λ·cost` cross."""
    lam = own_lambda(case.policy)
    if lam is None:
        return []
    i = case.choice
    above: list[tuple[float, int]] = []
    below: list[tuple[float, int]] = []
    for j in np.flatnonzero(case.may_E).tolist():
        saved = case.cost_E[i] - case.cost_E[j]
        if j == i or abs(saved) <= 1e-15:
            continue
        crossing = float((case.quality_E[i] - case.quality_E[j]) / saved)
        if saved > 0 and crossing >= lam:
            above.append((crossing, j))
        if saved < 0 and 0 < crossing <= lam:  # at 0 a tie goes to the cheaper
            below.append((crossing, j))
    return [
        {
            "change": "lambda",
            "from": lam,
            "to": crossing,
            "factor": crossing / lam if lam else None,
            "expert": experts[j],
            "words": f"λ {side} {crossing:.6g} (now {lam:.6g}) would choose {experts[j]}",
        }
        for side, found in (("above", min(above, default=None)), ("below", max(below, default=None)))
        if found is not None
        for crossing, j in [found]
    ]


def _price_flips(experts: tuple[str, ...], case: _Case) -> list[dict[str, Any]]:
    """For the chosen expert the least dearer price, for every other the least cheaper one, that changes the choice."""
    found = []
    for e, name in enumerate(experts):
        if case.cost_E[e] <= 0 or not case.may_E[e]:
            continue
        up = e == case.choice
        factor = _least_factor(case, e, up)
        if factor is None:
            continue
        scaled_E = case.cost_E.copy()
        scaled_E[e] *= factor
        winner = experts[case.chosen_at(scaled_E)]
        side = "dearer" if up else "cheaper"
        shown = f"{factor:.3g} times its price" if up else f"{factor:.1%} of its price"
        found.append(
            {
                "change": "price",
                "of": name,
                "from": float(case.cost_E[e]),
                "to": float(scaled_E[e]),
                "factor": factor,
                "expert": winner,
                "words": f"{name} {side}, at {shown} (${scaled_E[e]:.6g} for this request), would choose {winner}",
            }
        )
    return found


def _least_factor(case: _Case, e: int, up: bool) -> float | None:
    """The factor nearest 1 at which scaling one expert's cost flips the choice, to one part in a million."""

    def flipped(factor: float) -> bool:
        scaled_E = case.cost_E.copy()
        scaled_E[e] *= factor if up else 1.0 / factor
        winner = case.chosen_at(scaled_E)
        return winner != e if up else winner == e

    return _bisect(flipped, up)


def _bisect(flipped: Callable[[float], bool], up: bool) -> float | None:
    at = next((k for k, factor in enumerate(_FACTORS) if flipped(float(factor))), None)
    if at is None:
        return None
    low, high = float(_FACTORS[max(at - 1, 0)]), float(_FACTORS[at])
    while high / low > 1 + 1e-6:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if flipped(middle) else (middle, high)
    return high if up else 1.0 / high


def nearest(router: Router, features: FeatureMap, count: int) -> list[dict[str, Any]]:
    """The most similar logged queries, with what the experts scored on them."""
    signal = router.examples.signal
    vectors = None if signal is None else features.get(signal)
    if vectors is None or isinstance(vectors, Sparse):
        return []
    found = []
    for row, similarity in router.examples.nearest(vectors[0], count):
        scores_E = router.examples.scores_ME[row]
        found.append(
            {
                "query_id": router.examples.ids[row],
                "text": router.examples.excerpts[row],
                "similarity": similarity,
                "scores": {
                    name: float(score)
                    for name, score in zip(router.experts, scores_E, strict=True)
                    if np.isfinite(score)
                },
            }
        )
    return found

"""CARROT: estimates of quality and of cost, by kNN or regression, put into the trade-off as they are.

Source: Somerstep et al., arXiv 2502.03261.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems._frontier import frontier
from turnout.systems.base import Claim, System

__all__ = ["CARROT"]


def _build() -> Mapping[str, Any]:
    members = (registry.create("estimator", "knn"), registry.create("estimator", "ridge", on=("embedding",)))
    average = registry.create("estimator", "average", members=members)
    return {"estimator": average, "policy": registry.create("policy", "utility", lam=0.0), "guard": False, "folds": 3}


CARROT = System(
    name="carrot",
    title="CARROT",
    level="request",
    claim=Claim(
        "A router that estimates every model's cost and performance and plugs them into the trade-off is "
        "minimax rate-optimal.",
        "arXiv 2502.03261, abstract",
    ),
    parts=("signal:embedding", "estimator:average", "estimator:knn", "estimator:ridge", "policy:utility"),
    novelty="policy",
    build=_build,
    deviations=(
        "The authors report CARROT (kNN) and CARROT (RoBERTa) apart; here kNN and a ridge regression on the "
        "same embedding are averaged.",
        "Embeddings come from the shipped static table instead of text-embedding-3-small.",
        "Cost is predicted by the router's cost model (price times the prompt's size and the usual length of an "
        "answer), not by kNN on the embedding.",
    ),
    limits=(
        "Its optimality is about rates: it says nothing of a log of a few thousand queries.",
        "At 34 % of the best single expert's cost its gain in accuracy, .009, is within the noise: cheaper, not "
        "better.",
    ),
    code="github.com/somerstep/CARROT",
    measure=frontier,
)

"""kNN over logged queries, the baseline that learned routers should be held against.

Source: Li, "Rethinking Predictive Modeling for LLM Routing: When Simple kNN Beats Complex Learned Routers",
arXiv 2505.12601.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems.base import Claim, System

__all__ = ["KNN_ROUTER"]

NEIGHBOURS = 40


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "knn", k=NEIGHBOURS, prior=0.0),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
        "folds": 3,
    }


KNN_ROUTER = System(
    name="knn_router",
    title="kNN router",
    level="request",
    claim=Claim(
        "A well-tuned k-nearest-neighbour router matches and often outperforms learned routers on a range of "
        "benchmarks.",
        "arXiv 2505.12601, abstract",
    ),
    parts=("signal:embedding", "estimator:knn", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "Embeddings come from the shipped static table instead of a large encoder.",
        "k is 40 and not tuned per table.",
        "Predictions pass through the router's calibration, one increasing map for all experts.",
    ),
    limits=(
        "Time and memory grow with the log; a served request costs several times a parametric model.",
        "It is only as good as the embedding: it cannot learn that some of its directions do not matter.",
    ),
)

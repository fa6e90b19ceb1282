"""Eagle: the mean of a global rating and one from the queries nearby, both Elo's.

Source: Zhao, Jin and Mao, arXiv 2409.15518.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems.base import Claim, System

__all__ = ["EAGLE"]

LOCAL = 1000.0


def _build() -> Mapping[str, Any]:
    members = tuple(
        registry.create("estimator", "bradley_terry", gamma=gamma, level="rating") for gamma in (1.0, LOCAL)
    )
    average = registry.create("estimator", "average", members=members)
    return {"estimator": average, "policy": registry.create("policy", "utility", lam=0.0), "guard": False, "folds": 3}


EAGLE = System(
    name="eagle",
    title="Eagle",
    level="request",
    claim=Claim(
        "Up to 23.52 % better area under the cost–quality curve than learned baselines, with 1/20 of their time "
        "to start and updates 100 to 200 times faster.",
        "arXiv 2409.15518, abstract",
    ),
    parts=("signal:embedding", "estimator:average", "estimator:bradley_terry", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "Embeddings come from the shipped static table instead of text-embedding-3.",
        "The local rating weighs all queries by similarity (a weight of 1,000 to 1 between the nearest and an "
        "orthogonal one) where the paper takes the 20 nearest.",
        "A difference in score on one query stands for a vote.",
        "Ratings are fitted at once instead of updated vote by vote, so the order of the log does not matter.",
    ),
    limits=(
        "Where every expert answered every query, comparisons hold no more than mean scores do, and it comes "
        "close to kNN with distance weights.",
        "A log with one outcome per query holds no comparison.",
    ),
)

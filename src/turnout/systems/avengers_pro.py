"""Avengers-Pro: clusters of embeddings, and in each the expert with the best balance of performance and efficiency.

Source: Zhang et al., arXiv 2508.12631; 25 clusters and a weight of 0.45 on performance, as in the authors'
`balance_config.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems._frontier import frontier
from turnout.systems.base import Claim, System

__all__ = ["AVENGERS_PRO"]

CLUSTERS, PERFORMANCE = 25, 0.45


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "prototype", k=CLUSTERS, prior=0.0),
        "policy": registry.create("policy", "balance", weight=PERFORMANCE),
        "guard": False,
        "folds": 3,
    }


AVENGERS_PRO = System(
    name="avengers_pro",
    title="Avengers-Pro",
    level="request",
    claim=Claim(
        "Seven points more accurate than the strongest single model, or as accurate for 27 % less, or 90 % as "
        "accurate for 63 % less.",
        "arXiv 2508.12631, abstract",
    ),
    parts=("signal:embedding", "estimator:prototype", "policy:balance"),
    novelty="policy",
    build=_build,
    deviations=(
        "Embeddings come from the shipped static table instead of Qwen3-Embedding-8B.",
        "A query takes the nearest cluster alone; the authors blend the three nearest.",
        "Costs are those of the very query (price times its size) and not means of a cluster.",
        "The row `at best single's quality` replaces the fixed balance by a multiplier that the training side chose.",
    ),
    limits=(
        "A fixed balance is relative to the pool: with a dear and poor expert in it, almost everything looks cheap.",
    ),
    code="github.com/ZhangYiqun018/AvengersPro",
    measure=frontier,
)

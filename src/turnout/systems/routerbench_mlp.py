"""RouterBench's predictive router: a small network from the embedding to every model's score, and the best trade.

Source: Hu et al., "RouterBench: A Benchmark for Multi-LLM Routing System", arXiv 2403.12031.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems._frontier import frontier
from turnout.systems.base import Claim, System

__all__ = ["ROUTERBENCH_MLP"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "mlp", on=("embedding",), hidden=100),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
        "folds": 3,
    }


ROUTERBENCH_MLP = System(
    name="routerbench_mlp",
    title="RouterBench's MLP",
    level="request",
    claim=Claim(
        "Predictive routers (kNN and MLP) come close to the best single models at lower cost, but do not "
        "clearly beat the zero router, a mix of single models.",
        "arXiv 2403.12031, section 5, by a summary",
    ),
    parts=("signal:embedding", "estimator:mlp", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "Embeddings come from the shipped static table instead of all-MiniLM-L12-v2.",
        "One network predicts all models' scores, with exact logistic regressions as its last layer; costs come "
        "from the router's cost model.",
        "The table is a part of RouterBench: ARC-c, MBPP and WinoGrande.",
    ),
    limits=(
        "A few thousand queries are little for a network: held to the best single expert's quality, it saves only a "
        "few percent of its cost here.",
    ),
    code="github.com/withmartian/routerbench",
    table="routerbench_subset",
    measure=frontier,
)

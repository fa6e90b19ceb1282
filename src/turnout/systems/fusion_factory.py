"""FusionFactory at query level: kNN, an MLP and clusters as routers over arms of model × way of asking.

Source: Feng et al., "Fusing LLM Capabilities with Routing Data", arXiv 2507.10540.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems.base import Claim, System

__all__ = ["FUSION_FACTORY"]


def _build() -> Mapping[str, Any]:
    members = (
        registry.create("estimator", "knn"),
        registry.create("estimator", "mlp"),
        registry.create("estimator", "prototype"),
    )
    average = registry.create("estimator", "average", members=members)
    return {"estimator": average, "policy": registry.create("policy", "utility", lam=0.0), "guard": False, "folds": 3}


FUSION_FACTORY = System(
    name="fusion_factory",
    title="FusionFactory (query level)",
    level="request",
    claim=Claim(
        "Fusion beats the best single model on all 14 tasks of its benchmark, at a level (query, thought or "
        "model) that varies by task.",
        "arXiv 2507.10540, abstract",
    ),
    parts=(
        "signal:embedding",
        "signal:format",
        "estimator:average",
        "estimator:knn",
        "estimator:mlp",
        "estimator:prototype",
        "policy:utility",
    ),
    novelty="estimator",
    build=_build,
    deviations=(
        "The paper compares query-level routers one by one; here three of its families are averaged into one.",
        "Judge scores of response texts cannot be had: the table holds scores without responses, so scores are "
        "the benchmarks' own.",
        "An SVM and a fine-tuned BERT, which the paper also compares, are left out; the graph router is a "
        "preset of its own.",
    ),
    limits=(
        "Thought- and model-level fusion need responses and training of models, and are not here.",
        "The MLP adds least on a few thousand queries.",
    ),
    number=67,
    code="github.com/ulab-uiuc/FusionFactory",
)

"""IRT-Router: multidimensional item response theory, abilities of experts against a query's demands and difficulty.

Source: Song et al., arXiv 2506.01048.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems.base import Claim, System

__all__ = ["IRT_ROUTER"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "bilinear", on=("embedding",), rank=16, difficulty=True),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
        "folds": 3,
    }


IRT_ROUTER = System(
    name="irt_router",
    title="IRT-Router",
    level="request",
    claim=Claim(
        "Outperforms most baselines on 20 models and 12 datasets in effectiveness and interpretability, also on "
        "cold-start queries.",
        "arXiv 2506.01048, abstract",
    ),
    parts=("signal:embedding", "estimator:bilinear", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "Embeddings come from the shipped static table instead of a BERT encoder.",
        "This is the MIRT variant (a logistic function of ability times demand minus difficulty), its abilities "
        "free vectors; the paper maps a profile text of every model to its abilities, and has a neural variant "
        "(NIRT) too.",
        "Cold-start queries are not warmed up by their neighbours' mean.",
        "Fitted by L-BFGS (numpy and scipy) instead of torch.",
    ),
    limits=(
        "Difficulty moves all experts alike and never changes a choice; it only helps the levels.",
        "Linear in the query's embedding.",
        "A regression per expert on embedding and format does as well (.638 against .638 on nine_llm).",
    ),
)

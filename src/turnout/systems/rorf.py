"""RoRF: routing on random forests over embeddings.

Source: Not Diamond's repository; 100 trees of depth 20 on embeddings, as its trainer has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems._pairs import pairwise
from turnout.systems.base import Claim, System

__all__ = ["RORF"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create(
            "estimator", "trees", on=("embedding",), trees=100, depth=20, leaf=1, share=0.1, prior=1.0
        ),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
        "folds": 3,
    }


RORF = System(
    name="rorf",
    title="RoRF",
    level="request",
    claim=Claim(
        "Routing between a strong and a weak model reduces cost while the strong model's performance is "
        "maintained, and the released routers outperform existing ones.",
        "repository, README",
    ),
    parts=("signal:embedding", "estimator:trees", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "Embeddings come from the shipped static table instead of jina-embeddings-v3 or voyage-large-2-instruct.",
        "A regression forest on all experts' scores at once; the authors classify which of two models is preferred.",
        "Cuts are drawn at random in a tenth of the columns (extremely randomised trees); the authors' forest "
        "searches all cuts of all columns, which takes a hundred times longer here.",
    ),
    limits=(
        "Axis-parallel cuts see little in an embedding.",
        "The repository's claims come with no paper.",
        "Its gain over prompt length, .011 in APGR, is within the noise; a logistic regression on the same embedding "
        "has .032.",
    ),
    code="github.com/Not-Diamond/RoRF",
    table="routellm_mmlu",
    measure=pairwise,
)

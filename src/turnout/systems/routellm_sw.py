"""RouteLLM, similarity-weighted ranking: who should be asked, the weak or the strong model.

Source: Ong et al., "RouteLLM: Learning to Route LLMs with Preference Data", arXiv 2406.18665, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems._pairs import pairwise
from turnout.systems.base import Claim, System

__all__ = ["ROUTELLM_SW"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "bradley_terry", gamma=10.0),
        "policy": registry.create("policy", "share", strong_share=0.5),
        "guard": False,
        "folds": 3,
    }


ROUTELLM_SW = System(
    name="routellm_sw",
    title="RouteLLM, similarity-weighted ranking",
    level="request",
    claim=Claim(
        "Cost falls by over 2 times in certain cases without compromising the quality of responses.",
        "arXiv 2406.18665, abstract",
    ),
    parts=("signal:embedding", "estimator:bradley_terry", "policy:share"),
    novelty="estimator",
    build=_build,
    deviations=(
        "Embeddings come from the shipped static table instead of text-embedding-3-small.",
        "Comparisons come from 1,500 right-or-wrong labels of the two models themselves; the authors group 64 "
        "models of Chatbot Arena into ten tiers.",
        "Weights are γ to the power of similarity over the largest one with γ = 10, as published; the common "
        "factor γ is left out, for it changes nothing but the pull to zero.",
    ),
    limits=(
        "A factor of ten between the nearest and an orthogonal query is little: ratings hardly move.",
        "Solves a regression per request: time grows with the log.",
    ),
    code="github.com/lm-sys/RouteLLM",
    table="routellm_mmlu",
    measure=pairwise,
)

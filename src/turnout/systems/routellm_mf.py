"""RouteLLM, matrix factorisation: who should be asked, the weak or the strong model.

Source: Ong et al., "RouteLLM: Learning to Route LLMs with Preference Data", arXiv 2406.18665, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems._pairs import pairwise
from turnout.systems.base import Claim, System

__all__ = ["ROUTELLM_MF"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "bilinear", on=("embedding",), rank=32, loss="pair"),
        "policy": registry.create("policy", "share", strong_share=0.5),
        "guard": False,
        "folds": 3,
    }


ROUTELLM_MF = System(
    name="routellm_mf",
    title="RouteLLM, matrix factorisation",
    level="request",
    claim=Claim(
        "Cost falls by over 2 times in certain cases without compromising the quality of responses.",
        "arXiv 2406.18665, abstract",
    ),
    parts=("signal:embedding", "estimator:bilinear", "policy:share"),
    novelty="estimator",
    build=_build,
    deviations=(
        "Embeddings come from the shipped static table instead of text-embedding-3-small.",
        "Learned from 1,500 right-or-wrong labels of the very task, as the authors' augmented variant is, and "
        "not from 80,000 votes of Chatbot Arena.",
        "Expert vectors are not normalised; L-BFGS with a penalty (numpy and scipy) takes the place of Adam "
        "with noise on the embeddings (torch).",
    ),
    limits=(
        "With two models it is a logistic regression of the win on the embedding.",
        "Loses here: it ranks queries no better than prompt length does (APGR .580), while a logistic "
        "regression per model on the same embedding reaches .613.",
    ),
    code="github.com/lm-sys/RouteLLM",
    table="routellm_mmlu",
    measure=pairwise,
)

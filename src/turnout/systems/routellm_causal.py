"""RouteLLM, causal LLM classifier: who should be asked, the weak or the strong model.

Source: Ong et al., "RouteLLM: Learning to Route LLMs with Preference Data", arXiv 2406.18665, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems._pairs import pairwise
from turnout.systems.base import Claim, System

__all__ = ["ROUTELLM_CAUSAL"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "logistic", on=("tfidf", "embedding", "format", "length")),
        "policy": registry.create("policy", "share", strong_share=0.5),
        "guard": False,
        "folds": 3,
    }


ROUTELLM_CAUSAL = System(
    name="routellm_causal",
    title="RouteLLM, causal LLM classifier",
    level="request",
    claim=Claim(
        "Cost falls by over 2 times in certain cases without compromising the quality of responses.",
        "arXiv 2406.18665, abstract",
    ),
    parts=("signal:embedding", "signal:format", "signal:length", "signal:tfidf", "estimator:logistic", "policy:share"),
    novelty="estimator",
    build=_build,
    deviations=(
        "Not reproduced: the authors fine-tune Llama 3 8B to write a token for each of five win labels. In its "
        "place stands the strongest text classifier that a CPU fits in seconds, a logistic regression on words, "
        "embedding, format and length.",
        "Learned from 1,500 right-or-wrong labels of the very task, as the authors' augmented variant is.",
    ),
    limits=("What an 8B model knows of a question's difficulty beyond its words is not here.",),
    code="github.com/lm-sys/RouteLLM",
    table="routellm_mmlu",
    measure=pairwise,
)

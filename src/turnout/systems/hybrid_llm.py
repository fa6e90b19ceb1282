"""Hybrid LLM: how likely the small model comes near the large one, with labels transformed so that there is something
to learn.

Source: Ding et al., arXiv 2404.14618.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems._pairs import pairwise
from turnout.systems.base import Claim, System

__all__ = ["HYBRID_LLM"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "gap"),
        "policy": registry.create("policy", "share", strong_share=0.5),
        "guard": False,
        "folds": 3,
    }


HYBRID_LLM = System(
    name="hybrid_llm",
    title="Hybrid LLM",
    level="request",
    claim=Claim(
        "Up to 40 % fewer calls to the large model, with no drop in response quality.",
        "arXiv 2404.14618, abstract",
    ),
    parts=("signal:embedding", "estimator:gap", "estimator:logistic", "policy:share"),
    novelty="estimator",
    build=_build,
    deviations=(
        "A logistic regression on the shipped static embedding stands for the fine-tuned DeBERTa-v3-large.",
        "Labels come from one answer per model, right or wrong; the paper samples ten and scores them with "
        "BART. Then no margin helps, and the transformed router is the plain one.",
        "Learned from 1,500 labels of the very task.",
    ),
    limits=(
        "Queries that both models fail count as easy: the label is about the gap, not about quality.",
        "Loses here: it ranks queries worse than prompt length does (APGR .561 against .580).",
    ),
    table="routellm_mmlu",
    measure=pairwise,
)

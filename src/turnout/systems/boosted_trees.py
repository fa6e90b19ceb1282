"""Gradient-boosted trees over embedding, format and length: the usual strong baseline on tabular features.

Source: Friedman, "Greedy Function Approximation: A Gradient Boosting Machine", Annals of Statistics 29 (2001).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems.base import Claim, System

__all__ = ["BOOSTED_TREES"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "trees", grow="boosting", depth=5, trees=120, leaf=10, share=0.5),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
        "folds": 3,
    }


BOOSTED_TREES = System(
    name="boosted_trees",
    title="Gradient-boosted trees",
    level="request",
    claim=Claim(
        "Competitive, highly robust, interpretable procedures for regression and classification, fit for data "
        "that is less than clean; no claim about routing.",
        "Friedman 2001, abstract",
    ),
    parts=("signal:embedding", "signal:format", "signal:length", "estimator:trees", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "One tree per round serves all experts, a value per expert in each leaf, so that an expert can be added "
        "without growing trees again.",
        "Cuts are drawn at random in half of the columns.",
    ),
    limits=("On format and length alone trees are about as good: the embedding's axes mean little one by one.",),
)

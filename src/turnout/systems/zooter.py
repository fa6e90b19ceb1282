"""Zooter: a small router that learns the distribution over experts that a reward model's scores imply.

Source: Lu et al., "Routing to the Expert: Efficient Reward-guided Ensemble of Large Language Models", arXiv 2311.08692.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems.base import Claim, System

__all__ = ["ZOOTER"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "bilinear", loss="soft", rank=8, penalty=0.1, temperature=0.5),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
        "folds": 3,
    }


ZOOTER = System(
    name="zooter",
    title="Zooter",
    level="request",
    claim=Claim(
        "Outperforms the best single model on average over 26 subsets and ranks first on 44 % of the tasks.",
        "arXiv 2311.08692, abstract",
    ),
    parts=("signal:embedding", "signal:format", "estimator:bilinear", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "A low-rank linear map of the shipped embedding and the format signal instead of a fine-tuned "
        "mDeBERTa-v3-base.",
        "The target is the softmax of scores over a temperature of .5.",
        "Scores are right or wrong (or a benchmark's own), not a reward model's.",
        "Rewards are not smoothed by tags of the queries.",
    ),
    limits=(
        "The softmax of right-or-wrong scores is nearly flat, so little is learned from easy and from hopeless "
        "queries.",
        "Its gain over the best single expert, .008 on nine_llm, is within the noise.",
    ),
)

"""Elo: one rating per expert from its results against the others, whatever is asked.

Source: the ratings of Chatbot Arena, arXiv 2403.04132; LLMRouter ships them as a router.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems._crossval import crossvalidated
from turnout.systems.base import Claim, System

__all__ = ["ELO"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "bradley_terry", gamma=1.0, level="rating"),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
        "folds": 3,
    }


ELO = System(
    name="elo",
    title="Elo",
    level="request",
    claim=Claim(
        "Ratings from pairwise votes rank models in agreement with experts' judgement.",
        "arXiv 2403.04132, abstract",
    ),
    parts=("signal:embedding", "estimator:bradley_terry", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "A difference in score on one query stands for a vote.",
        "Ratings are the maximum-likelihood fit that Elo's updates approach, so the order of the log does not matter.",
    ),
    limits=(
        "On a log where every expert answered every query it is the best single expert; it differs where "
        "experts were asked different queries.",
    ),
    code="github.com/ulab-uiuc/LLMRouter (its `elorouter`)",
    measure=crossvalidated,  # it does not read the query, so it is no router of queries
)

"""Prompt-to-Leaderboard (P2L): a Bradley–Terry rating per expert as a function of the prompt.

Source: Frick et al., arXiv 2502.14855.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems.base import Claim, System

__all__ = ["PROMPT_TO_LEADERBOARD"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "bilinear", loss="pair", rank=8, penalty=0.2),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
        "folds": 3,
    }


PROMPT_TO_LEADERBOARD = System(
    name="prompt_to_leaderboard",
    title="Prompt-to-Leaderboard",
    level="request",
    claim=Claim(
        "A router built on it reached the first place of Chatbot Arena in January 2025.",
        "arXiv 2502.14855, abstract",
    ),
    parts=("signal:embedding", "signal:format", "estimator:bilinear", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "A low-rank linear map of the shipped embedding and the format signal instead of a language model of "
        "135 million to 7 billion parameters.",
        "A difference in score on one query stands for a vote; all pairs of experts of a query count.",
        "A rating becomes an expected score by a line per expert, so that cost can be weighed.",
    ),
    limits=(
        "Votes say who is better, not how good both are: what all experts fail at is not seen.",
        "On full tables of scores a regression per expert has more to learn from and does better.",
        "Loses here: .002 below the best single expert on nine_llm.",
    ),
)

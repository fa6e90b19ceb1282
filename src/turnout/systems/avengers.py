"""Avengers: clusters of embeddings, and the expert that did best in a query's cluster.

Source: Zhang et al., "The Avengers: A Simple Recipe for Uniting Smaller Language Models to Challenge Proprietary
Giants", arXiv 2505.19797. The number of clusters is the recipe's sole parameter; the authors' scripts use 64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems.base import Claim, System

__all__ = ["AVENGERS"]

CLUSTERS = 64


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "prototype", signal="embedding", k=CLUSTERS, prior=0.0),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
    }


AVENGERS = System(
    name="avengers",
    title="Avengers",
    level="request",
    claim=Claim(
        "Ten open models of about 7B parameters together surpass GPT-4.1 by 18.21 % on mathematics and by 7.46 % on "
        "code.",
        "arXiv 2505.19797, abstract",
    ),
    parts=("signal:embedding", "estimator:prototype", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "Embeddings come from the shipped static table instead of a 7B encoder (gte-Qwen2-7B-instruct).",
        "A query takes the mean scores of its nearest cluster; the authors' router can also blend the rankings of the "
        "few nearest clusters.",
        "One answer by one expert: the paper's repeated sampling and voting need answers that a log of scores lacks.",
        "Cluster means pass through the router's calibration, one increasing map for all experts.",
    ),
    limits=(
        "Clusters follow topics, whether or not the experts differ there; a small cluster's winner is partly luck.",
        "Cost plays no part in the choice.",
    ),
    code="github.com/ZhangYiqun018/Avengers",
)

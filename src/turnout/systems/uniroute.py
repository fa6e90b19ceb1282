"""UniRoute: an expert as its errors on clusters of prompts, so that one never seen before can be routed to.

Source: Jitkrittum et al., "Universal Model Routing for Efficient LLM Inference", arXiv 2502.08773; the variant with
K-means clusters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems._newcomer import newcomers
from turnout.systems.base import Claim, System

__all__ = ["UNIROUTE"]

CLUSTERS = 20


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "prototype", k=CLUSTERS),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
        "folds": 3,
    }


UNIROUTE = System(
    name="uniroute",
    title="UniRoute",
    level="request",
    claim=Claim(
        "Routes effectively among more than 30 models that were unseen while it was fitted, with an excess risk bound.",
        "arXiv 2502.08773, abstract",
    ),
    parts=("signal:embedding", "estimator:prototype", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "Embeddings come from the shipped static table instead of Gecko or Sentence-T5.",
        "The plain variant: a query takes its nearest cluster's errors; the learned map from queries to "
        "clusters is not built.",
        "Cluster means are shrunk to the expert's mean by as many queries as suit the log, for twenty outcomes "
        "of a newcomer fill few clusters.",
    ),
    limits=(
        "What tells experts apart within a cluster is lost.",
        "With twenty outcomes for as many clusters a newcomer is hardly more than its mean.",
        "With twenty outcomes its gain over the newcomer's mean is .002; a graph of queries and experts "
        "(`graph_router`) has .003.",
    ),
    measure=newcomers,
)

"""GraphRouter: tasks, queries and experts as a graph; who suits a query is the prediction of an edge.

Source: Feng, Shen and You, arXiv 2410.03834; the authors' `graph_nn.py` and its ports. A query that was never seen has
no edges, so its own embedding is not convolved, and the prediction is a bilinear form of it and of an expert's vector,
which is a mean of logged queries weighted by their edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems._newcomer import newcomers
from turnout.systems.base import Claim, System

__all__ = ["GRAPH_ROUTER"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "bilinear", on=("embedding",), experts="mean", rank=16),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
        "folds": 3,
    }


GRAPH_ROUTER = System(
    name="graph_router",
    title="GraphRouter",
    level="request",
    claim=Claim(
        "At least 12.3 % better than earlier routers in three scenarios; for new experts without training at "
        "least 9.5 %.",
        "arXiv 2410.03834, abstract",
    ),
    parts=("signal:embedding", "estimator:bilinear", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "Embeddings come from the shipped static table instead of a sentence encoder (all-MiniLM or Longformer "
        "in ports).",
        "The network reduces to a bilinear scorer over mean-aggregated expert vectors, fitted by L-BFGS (numpy "
        "and scipy): two layers of message passing with batch norm and task nodes are not built.",
        "Half of the queries make the experts' vectors while the other half is learned from, where the authors "
        "hide a random 30 to 50 % of the edges in every step.",
        "Scores are regressed by cross-entropy; the authors classify the one best expert.",
    ),
    limits=(
        "One mean per expert says little where its strengths are several; kNN keeps them apart.",
        "With twenty outcomes of a newcomer it does no better than a regression of its own (.610 against .610 "
        "correct); with a hundred its error is the least (.214 against .235).",
    ),
    number=49,
    code="github.com/ulab-uiuc/GraphRouter",
    measure=newcomers,
)

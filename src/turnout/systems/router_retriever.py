"""RouterRetriever: pilot prototypes per expert retriever; the nearest pilot's expert searches.

Source: Lee et al., "RouterRetriever: Routing over a Mixture of Expert Embedding Models", arXiv 2409.02685; grouping by
(dataset, best expert) and one centroid per group as in the authors' `get_pilot_embeddings.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems._retrieval import judged
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["ROUTER_RETRIEVER"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "pilots", level="rating"),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
    }


def _measure(system: System, run: Run) -> Figures:
    """Beside the same pilots with a line per retriever, and a regression on the same embedding."""
    pilots = system.build()["estimator"]
    rivals = {
        system.name: pilots,
        "pilots, a line per retriever": pilots.clone(level="score"),
        "regression on the embedding": registry.create("estimator", "ridge", on=("embedding",)),
    }
    return judged(run, rivals)


ROUTER_RETRIEVER = System(
    name="router_retriever",
    title="RouterRetriever",
    level="request",
    claim=Claim(
        "On BEIR 2.1 points of nDCG@10 above one model trained on MS MARCO, 3.2 above one trained on all tasks, and "
        "1.8 above other ways to route.",
        "arXiv 2409.02685, abstract",
    ),
    parts=("signal:embedding", "estimator:pilots", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "Experts are four ways to search (BM25, BM25 in two rounds, dense, hybrid) and not LoRA query encoders trained "
        "per domain.",
        "Collections are Cranfield and the dialogues of LoCoMo instead of BEIR.",
        "Of equally good retrievers the one that is best on the collection has the query.",
        "Pilots come from training folds and are scored there; the released scripts score them on the test split.",
    ),
    limits=(
        "Where retrievers are nearly equal on most queries, the best one of a query is luck and its centroid says "
        "nothing: here the rule is worse than always taking the best retriever.",
    ),
    number=31,
    code="github.com/amy-hyunji/RouterRetriever",
    measure=_measure,
)

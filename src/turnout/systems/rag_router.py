"""RAGRouter-Bench's task: which way to retrieve suits the query and the corpus.

Source: RAGRouter-Bench, arXiv 2602.00296; corpus features (intrinsic dimension, hubness) after its list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems._retrieval import judged
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["RAG_ROUTER"]

BOTH = ("embedding", "search")  # the query's text; what first results and the corpus tell, not a signal of text


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "ridge", on=("embedding",)),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
    }


def _measure(system: System, run: Run) -> Figures:
    """Query and corpus features together and apart; also on a family of collections never seen."""
    ridge = system.build()["estimator"]
    rivals = {
        system.name: ridge.clone(on=BOTH),
        "query features alone": ridge,
        "search and corpus features alone": ridge.clone(on=BOTH[1:]),
    }
    return judged(run, rivals, unseen=(system.name,))


RAG_ROUTER = System(
    name="rag_router",
    title="RAG-paradigm routing",
    level="request",
    claim=Claim(
        "No retrieval paradigm wins on every query and corpus; which one does depends on both, and more elaborate "
        "ones do not always pay.",
        "arXiv 2602.00296, abstract",
    ),
    parts=("signal:embedding", "estimator:ridge", "policy:utility"),
    novelty="signal",
    build=_build,
    deviations=(
        "Paradigms are BM25, two rounds of it (pseudo-relevance feedback), dense, and hybrid (reciprocal rank fusion); "
        "no graph, and no answering without retrieval, for quality is nDCG@10 of what is found and not of an answer.",
        "Collections are Cranfield and the dialogues of LoCoMo; the benchmark's own data is not at hand.",
        "Besides the corpus's shape (size, text length, intrinsic dimension, hubness), the features hold what first "
        "results tell: rarity of the query's words, top scores and their fall, and whether both searches agree.",
    ),
    limits=(
        "Features of search need both searches to have run, so what is saved is the choice, not the work.",
        "Two families of collections: to one that it has not seen the router carries nothing over and does not beat "
        "the best retriever of the other.",
    ),
    number=66,
    measure=_measure,
)

"""EmbedLLM: a vector per expert, learned from who answered what correctly (matrix factorisation).

Source: Zhuang et al., arXiv 2410.02223.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems.base import Claim, System

__all__ = ["EMBED_LLM"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "bilinear", on=("embedding",), rank=16),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
        "folds": 3,
    }


EMBED_LLM = System(
    name="embed_llm",
    title="EmbedLLM",
    level="request",
    claim=Claim(
        "Compact embeddings of language models outperform earlier methods in model routing, in accuracy and in "
        "latency.",
        "arXiv 2410.02223, abstract",
    ),
    parts=("signal:embedding", "estimator:bilinear", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "Embeddings come from the shipped static table instead of all-mpnet-base-v2.",
        "Fitted by L-BFGS on all queries at once (numpy and scipy) instead of Adam on batches (torch); rank 16, "
        "as nine experts cannot fill the paper's 232.",
        "The score of an expert is a logistic function of a bilinear form; the paper has a linear layer with "
        "two outputs on the product of both vectors, which is the same family.",
    ),
    limits=(
        "Few experts leave little to factorise: with nine, one regression per expert does as well.",
        "Linear in the query's embedding.",
        "Loses to a regression per expert on embedding and format (.636 against .638 on nine_llm).",
    ),
    code="github.com/richardzhuang0412/EmbedLLM",
)

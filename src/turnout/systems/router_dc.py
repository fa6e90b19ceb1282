"""RouterDC: queries and experts in one space by two contrastive losses; the expert with the largest cosine is chosen.

Source: Chen et al., arXiv 2409.19886; losses as in the authors' `train_router_mdeberta.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems.base import Claim, System

__all__ = ["ROUTER_DC"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "bilinear", loss="contrast", rank=32, temperature=0.3, penalty=0.01),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
        "folds": 3,
    }


ROUTER_DC = System(
    name="router_dc",
    title="RouterDC",
    level="request",
    claim=Claim(
        "Outperforms the best single model by 2.76 % in distribution and by 1.90 % out of distribution.",
        "arXiv 2409.19886, abstract",
    ),
    parts=("signal:embedding", "signal:format", "estimator:bilinear", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "The encoder is not fine-tuned: a linear map of the shipped static embedding and the format signal "
        "takes the place of mDeBERTaV3-base.",
        "Fitted by L-BFGS on all queries at once, so every query's own-group and other-group examples are drawn "
        "once and not per batch; eight clusters of embeddings stand for the authors' clusters.",
        "Cosines are divided by .3 and each query is held against four of other groups; the authors' script has 1 "
        "(and none in the sample–sample loss) and 3.",
        "A cosine becomes an expected score by a line per expert. Chosen by the largest cosine, as published, "
        "accuracy was three points lower on development folds.",
        "Of experts that are equally right on a query, those with the better mean count as its best.",
    ),
    limits=(
        "It learns who is best, not how good: an expert that is slightly and one that is much better attract alike.",
        "A linear map of a frozen embedding is not the encoder that the paper trains: here it does not beat a "
        "regression per expert.",
        "Its gain over the best single expert, .001 on nine_llm, is within the noise.",
    ),
    code="github.com/shuhao02/RouterDC",
)

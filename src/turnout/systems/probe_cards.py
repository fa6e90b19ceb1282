"""Probe cards: an expert described by its results on a fixed set of probes.

Source: the idea of Young et al., "When Models Can't Follow: Testing Instruction Adherence Across 256 LLMs", twenty
prompts with verifiable constraints that every model is put through. Here the card feeds a router.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems._newcomer import newcomers
from turnout.systems.base import Claim, System

__all__ = ["PROBE_CARDS"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "bilinear", on=("embedding",), experts="probe", probes=20, rank=16),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
        "folds": 3,
    }


PROBE_CARDS = System(
    name="probe_cards",
    title="Probe cards",
    level="request",
    claim=Claim(
        "Twenty verifiable prompts separate 256 models by instruction adherence, with typical failures per kind "
        "of constraint.",
        "arXiv 2510.18892, abstract",
    ),
    parts=("signal:embedding", "estimator:bilinear", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "The paper's twenty prompts and results are not public; probes are clusters of the log's own queries, "
        "and a card holds an expert's mean score in each.",
        "The paper reports a pass table; routing by it is this project's addition: a bilinear form of the "
        "query's embedding and the expert's card.",
    ),
    limits=(
        "A card of twenty outcomes holds about one in each cell, and is mostly the expert's mean.",
        "Nine experts are few to learn from what a card foretells: with twenty outcomes a regression of the newcomer's "
        "own does as well (.610 against .609 correct).",
    ),
    number=64,
    measure=newcomers,
)

"""RouteLLM, BERT classifier: who should be asked, the weak or the strong model.

Source: Ong et al., "RouteLLM: Learning to Route LLMs with Preference Data", arXiv 2406.18665, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems._pairs import pairwise
from turnout.systems.base import Claim, System

__all__ = ["ROUTELLM_BERT"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "fine_tuned"),
        "policy": registry.create("policy", "share", strong_share=0.5),
        "guard": False,
        "folds": 2,
    }


ROUTELLM_BERT = System(
    name="routellm_bert",
    title="RouteLLM, BERT classifier",
    level="request",
    claim=Claim(
        "Cost falls by over 2 times in certain cases without compromising the quality of responses.",
        "arXiv 2406.18665, abstract",
    ),
    parts=("signal:tokens", "estimator:fine_tuned", "policy:share"),
    novelty="estimator",
    build=_build,
    deviations=(
        "Fine-tuned end to end, but not BERT-base: the shipped static table, attention pooling without positions and "
        "one hidden layer.",
        "Learned from 1,500 right-or-wrong labels of the very task, as the authors' augmented variant is.",
        "Two models' chances of being right are compared; the authors classify win, tie and loss.",
    ),
    limits=(
        "Loses to a logistic regression on the frozen embedding (APGR .590 against .613): word order is "
        "not seen, and 1,500 labels are few to tune a table by.",
        "Fitting needs torch; the router that it makes does not.",
    ),
    code="github.com/lm-sys/RouteLLM",
    table="routellm_mmlu",
    measure=pairwise,
)

"""GreenServ: linear bandit arms over task, cluster and complexity, with energy in the reward.

Source: the authors' repository, `src/bandit/` and `src/feature_extractor/`, and their result tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems._bandit import measured
from turnout.systems.base import Claim, System

__all__ = ["GREENSERV"]


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "linear_arms", tasks=False),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
    }


GREENSERV = System(
    name="greenserv",
    number=14,
    title="GreenServ",
    level="request",
    claim=Claim(
        "LinUCB over task, cluster and complexity reaches a mean reward of .747 against .671 for random over 16 "
        "models, and 22 % more accuracy at 31 % less energy than random routing.",
        "the repository's result table; the percentages from the abstract",
    ),
    parts=(
        "signal:embedding",
        "signal:format",
        "signal:length",
        "signal:readability",
        "estimator:linear_arms",
        "policy:utility",
    ),
    novelty="feedback",
    build=_build,
    deviations=(
        "The authors' runs give the bandit the true dataset label as its task. Here no label is used at any time: "
        "clusters over embedding, format and length stand in for task and cluster, their number and the ridge chosen "
        "within each training side. The row `published features` "
        "predicts the task from labels of the training side and has three clusters of embeddings, as they describe.",
        "The headline is an offline fit on both algorithms' logged rewards, valued on the uniform log alone.",
        "Online rows replay 11,008 uniform decisions, of which a learner accepts about one in sixteen; exploration of "
        "the greedy learner is constant, the authors let it decay from 1 to .01.",
        "k-means is fitted on the training side, the authors' clusters move with every query.",
        "Rewards are centred by the arm's mean.",
    ),
    limits=(
        "Rewards are deterministic per query and arm, so intervals are over queries; two policies differ visibly here "
        "only by about .015.",
        "The prompts of the five data sets have five templates: that clusters find them says little about free text.",
        "On this log it stays at or below a table by the true data set; both are far below the best arm of each query.",
    ),
    code="github.com/TZData1/llm-inference-router",
    table="greenserv",
    measure=measured,
)

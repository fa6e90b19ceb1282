"""AgentRouter: the graph router learned from soft labels, the shares that agents' scores would have.

Source: "AgentRouter: A Knowledge-Graph-Guided LLM Router for Collaborative Multi-Agent Question Answering",
arXiv 2510.05445; no code is public.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.evaluation import datasets
from turnout.evaluation.methods import Fitted
from turnout.evaluation.protocol import crossval
from turnout.systems._crossval import figures
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["AGENT_ROUTER"]

ONE_HOT = 0.01  # a temperature at which all of the label's mass is on the best experts


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create(
            "estimator", "bilinear", on=("embedding",), experts="mean", loss="soft", temperature=0.5, rank=16
        ),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
        "folds": 3,
    }


def _measure(system: System, run: Run) -> Figures:
    """Beside the same graph learned from the best experts alone, which is what soft labels should improve on."""
    options = dict(system.build())
    hard = {**options, "estimator": options["estimator"].clone(temperature=ONE_HOT)}
    methods = [Fitted(system.name, system.title, options), Fitted("hard labels", "best experts alone", hard)]
    found = crossval(methods, datasets.load(run.table, run.data), seeds=run.seeds, progress=run.tick)
    return figures(found.evaluation, run.table)


AGENT_ROUTER = System(
    name="agent_router",
    title="AgentRouter",
    level="request",
    claim=Claim(
        "Guided by a knowledge graph and soft labels of agents' measured performance, it consistently outperforms "
        "single agents and ensembles in question answering.",
        "arXiv 2510.05445, abstract",
    ),
    parts=("signal:embedding", "estimator:bilinear", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "No entity nodes: the table has questions without contexts. What remains of the graph is GraphRouter's, a "
        "bilinear form over experts' vectors that are means of logged queries.",
        "One expert answers; the paper combines several by weighted votes, which a log of scores cannot show.",
        "The soft label is the softmax of scores over a temperature of 0.5; the paper's own is not stated.",
    ),
    limits=(
        "Right-or-wrong scores make soft labels nearly flat among all experts that are right; little is left to learn "
        "from the others.",
    ),
    number=102,
    measure=_measure,
)

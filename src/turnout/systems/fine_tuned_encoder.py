"""A small text encoder, fine-tuned to predict which experts are right: the multi-label form of the BERT classifiers of
RouteLLM, Hybrid LLM and FusionFactory.

Source: Feng et al., "Fusing LLM Capabilities with Routing Data", arXiv 2507.10540, and the authors' repository, which
fine-tunes BERT over many experts; Ong et al., arXiv 2406.18665, over two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.evaluation import datasets
from turnout.evaluation.methods import Recipe
from turnout.evaluation.protocol import shares, study
from turnout.evaluation.tables import Table
from turnout.systems._crossval import figures
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["FINE_TUNED_ENCODER"]

LEARNED = 0.7  # of the queries, drawn per seed: training five folds would take minutes


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "fine_tuned"),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
        "folds": 2,
    }


def _measured(system: System, run: Run) -> Figures:
    """Beside a logistic regression on the frozen embedding that the encoder starts from."""
    log = datasets.load(run.table, run.data)
    frozen = registry.create("estimator", "logistic", on=("embedding",))
    methods = [
        Recipe(system.build()["estimator"], system.name, system.title, cross_fit=False),
        Recipe(frozen, "logistic on the frozen embedding", "the same start, not tuned", cross_fit=False),
    ]
    protocol = f"{LEARNED:.0%} of the queries drawn to learn from, {1 - LEARNED:.0%} to test, {len(run.seeds)} draws"
    splits = shares(Table.of(log), LEARNED, run.seeds)
    return figures(study(methods, log, splits, protocol=protocol, progress=run.tick).evaluation, run.table)


FINE_TUNED_ENCODER = System(
    name="fine_tuned_encoder",
    title="Fine-tuned small encoder",
    level="request",
    claim=Claim(
        "A fine-tuned BERT is one of the routers at query level that FusionFactory compares over 20 models; the "
        "abstract reports no figure for it alone.",
        "arXiv 2507.10540, abstract; the repository's `router_bert.py`",
    ),
    parts=("signal:tokens", "estimator:fine_tuned", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "No transformer: the shipped static table of 30,522 rows of 256, attention pooling without positions and one "
        "hidden layer, all of it trained; 7.8 million weights to BERT-base's 110.",
        "Each expert's score is predicted (multi-label cross-entropy) instead of the name of the best one.",
    ),
    limits=(
        "No better here than a logistic regression on the embedding that it starts from: it sees words but not their "
        "order, and a few thousand queries are little to move a table by.",
        "Its settings were not searched for.",
        "Fitting needs torch; the router that it makes does not.",
    ),
    code="github.com/ulab-uiuc/FusionFactory",
    measure=_measured,
)

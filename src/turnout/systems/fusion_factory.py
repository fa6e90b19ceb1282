"""FusionFactory at query level: kNN, an MLP and clusters as routers over arms of model × way of asking.

They learn from a log's scores, or from those that a judge gave to the answers' texts (`judge_score`), or from both.

Source: Feng et al., "Fusing LLM Capabilities with Routing Data", arXiv 2507.10540.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from turnout import registry
from turnout.evaluation import datasets
from turnout.evaluation.methods import Fitted
from turnout.evaluation.protocol import crossval
from turnout.features import Floats
from turnout.systems._crossval import figures
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from turnout.evaluation.protocol import Estimates
    from turnout.outcomes import OutcomeLog

__all__ = ["FUSION_FACTORY"]

JUDGE = "judge_score"  # the column that `turnout collect --judge-all` writes
WEIGHTS = (0.0, 0.5, 1.0)  # of the judge beside the log's scores
BY_JUDGE = "alpacaeval"  # a table whose scores are a judge's verdicts


def _build() -> Mapping[str, Any]:
    members = (
        registry.create("estimator", "knn"),
        registry.create("estimator", "mlp"),
        registry.create("estimator", "prototype"),
    )
    average = registry.create("estimator", "average", members=members)
    return {"estimator": average, "policy": registry.create("policy", "utility", lam=0.0), "guard": False, "folds": 3}


@dataclass
class _Taught:
    """The preset, fitted on `weight` of the judge's scores and the rest of the log's; what the judge thinks of its
    choices is kept in `judged`."""

    inner: Fitted
    weight: float
    judge_NE: Floats
    name: str = ""
    note: str = ""
    judged: list[Floats] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = f"{self.inner.name}, {self.weight:.0%} the judge's scores" if self.weight else self.inner.name

    def __call__(
        self, log: OutcomeLog, train_I: NDArray[np.integer[Any]], test_I: NDArray[np.integer[Any]], seed: int
    ) -> Estimates:
        found = self.inner(log.blended(JUDGE, self.weight) if self.weight else log, train_I, test_I, seed)
        self.judged.append(self.judge_NE[test_I, found.choice_N])
        return found


def _measured(system: System, run: Run) -> Figures:
    """By cross-validation; by both targets where the table holds a judge's scores beside its own, and by the judge's
    alone on a table that has no others."""
    log = datasets.load(run.table, run.data)
    preset = Fitted(system.name, system.title, system.build())
    if log.has(JUDGE):
        return _both(preset, log, run)
    found = figures(crossval([preset], log, seeds=run.seeds, progress=run.tick).evaluation, run.table)
    if run.table == BY_JUDGE or BY_JUDGE not in datasets.available(run.data):
        return found
    by_judge = crossval([preset], datasets.load(BY_JUDGE, run.data), seeds=run.seeds, progress=run.tick)
    shown = [
        {**row, "name": f"{BY_JUDGE}, a judge's scores: {row['name']}", "US$ per 1,000": None}
        for row in figures(by_judge.evaluation, BY_JUDGE).rows
        if row["name"] in (system.name, "best single", "oracle")
    ]
    return replace(found, rows=[*found.rows, *shown])


def _both(preset: Fitted, log: OutcomeLog, run: Run) -> Figures:
    """What each target earns, by the log's scores and by the judge's."""
    judge_NE = log.matrix(JUDGE)
    taught = [_Taught(preset, weight, judge_NE) for weight in WEIGHTS]
    found = figures(crossval(taught, log, seeds=run.seeds, progress=run.tick).evaluation, run.table)
    said = {one.name: float(np.nanmean(np.concatenate(one.judged))) for one in taught}
    return replace(found, rows=[{**row, "judged": said.get(str(row["name"]))} for row in found.rows])


FUSION_FACTORY = System(
    name="fusion_factory",
    title="FusionFactory (query level)",
    level="request",
    claim=Claim(
        "Fusion beats the best single model on all 14 tasks of its benchmark, at a level (query, thought or "
        "model) that varies by task.",
        "arXiv 2507.10540, abstract",
    ),
    parts=(
        "signal:embedding",
        "signal:format",
        "estimator:average",
        "estimator:knn",
        "estimator:mlp",
        "estimator:prototype",
        "policy:utility",
    ),
    novelty="estimator",
    build=_build,
    deviations=(
        "The paper compares query-level routers one by one; here three of its families are averaged into one.",
        "The authors' own judge scores cannot be had, and no table here holds responses that a capable judge has "
        "read beside benchmark scores. So nine_llm is learned from the benchmarks' scores, and a judge's scores "
        "alone from alpacaeval, where GPT-4 compared each answer with a reference. Blends of both are tested on "
        "made logs only; `turnout collect --judge-all` and `turnout fit --judged` make and use them.",
        "The authors' judge gives a wrong answer 0 and a right one .3 to 1 for its reasoning, so that it can serve "
        "training; ours compares with the target and pays nothing for reasoning unless `judge.rubric` says so.",
        "An SVM and a fine-tuned BERT, which the paper also compares, are left out; the graph router is a "
        "preset of its own.",
    ),
    limits=(
        "Thought- and model-level fusion need responses and training of models, and are not here.",
        "The MLP adds least on a few thousand queries.",
        "From a judge's scores alone, on 475 instructions and 58 experts, the gain over the best single one is small.",
    ),
    number=67,
    code="github.com/ulab-uiuc/FusionFactory",
    measure=_measured,
)

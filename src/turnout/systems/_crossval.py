"""How a system that is a router is measured: every query tested once per seed, beside every baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout.evaluation import datasets
from turnout.evaluation.methods import Fitted
from turnout.evaluation.protocol import crossval
from turnout.systems.base import Figures, Run, System

if TYPE_CHECKING:
    from turnout.evaluation.results import Evaluation


def crossvalidated(system: System, run: Run) -> Figures:
    """Fit the preset in five folds by groups of near-duplicates on the run's table."""
    method = Fitted(system.name, system.title, system.build())
    found = crossval([method], datasets.load(run.table, run.data), seeds=run.seeds, progress=run.tick)
    return figures(found.evaluation, run.table)


def figures(evaluation: Evaluation, table: str) -> Figures:
    """The first row as the headline, the others as the baselines of the same run."""
    first = evaluation.rows[0]
    return Figures(
        table=table,
        protocol=evaluation.protocol,
        metric="accuracy",
        value=first.accuracy,
        gain=first.gain,
        against="best single",
        rows=[
            {
                "name": row.name,
                "accuracy": row.accuracy.mean,
                "gain over best single": row.gain.mean if row.gain else None,
                "US$ per 1,000": row.cost.mean if row.cost else None,
            }
            for row in evaluation.rows
        ],
    )

"""How a system that trades quality for cost is measured: what it spends at the best single expert's quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from turnout.errors import LogError
from turnout.evaluation import datasets
from turnout.evaluation.baselines import best_single
from turnout.evaluation.goals import Goal, Held
from turnout.evaluation.methods import Fitted
from turnout.evaluation.protocol import Estimates, Rule, as_fitted, crossval
from turnout.evaluation.results import REFERENCE
from turnout.systems.base import Figures, Run, System

if TYPE_CHECKING:
    from collections.abc import Mapping

    from turnout.evaluation.results import Row
    from turnout.evaluation.tables import Table

SUFFIX = "at best single's quality"


def thrifty() -> Rule:
    """The multiplier with the least held-out spend on the training side whose quality is the best single expert's."""

    def choose(estimates: Estimates, train: Table, test: Table) -> NDArray[np.intp]:  # noqa: ARG001 - a rule sees both sides
        if estimates.train_cost_NE is None or estimates.test_cost_NE is None or train.spend_NE is None:
            raise LogError("this measurement trades quality for cost, and the table lacks costs; use one that has them")
        held = Held(
            estimates.train_quality_NE, estimates.train_cost_NE, train.value_NE, train.spend_NE, train.group_N,
            best_single(train),
        )  # fmt: skip
        return Goal(floor="best").policy(held).choose(estimates.test_quality_NE, estimates.test_cost_NE)

    return Rule(SUFFIX, "λ from the training side's held-out estimates", choose)


def frontier(system: System, run: Run) -> Figures:
    """Five-fold cross-validation; the headline is the accuracy where the training side promised equal quality."""
    log = datasets.load(run.table, run.data)
    method = Fitted(system.name, system.title, system.build())
    found = crossval([method], log, seeds=run.seeds, rules=(as_fitted(), thrifty()), progress=run.tick)
    cheap = found.evaluation.row(f"{system.name} {SUFFIX}")
    single = found.evaluation.row(REFERENCE)
    assert single.cost is not None
    return Figures(
        table=run.table,
        protocol=f"{found.evaluation.protocol}; λ from the training side's held-out estimates",
        metric=f"accuracy at {found.cost_ratio(cheap.name, REFERENCE).mean:.0%} of best single's cost",
        value=cheap.accuracy,
        gain=cheap.gain,
        against=REFERENCE,
        rows=[_line(row, single.cost.mean) for row in found.evaluation.rows],
    )


def _line(row: Row, spend: float) -> Mapping[str, str | float | None]:
    return {
        "name": row.name,
        "accuracy": row.accuracy.mean,
        "gain over best single": row.gain.mean if row.gain else None,
        "cost as part of best single's": row.cost.mean / spend if row.cost else None,
        "AIQ": row.aiq,
    }

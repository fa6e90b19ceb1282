"""How a router between a weak and a strong model is measured: RouteLLM's figures, beside prompt length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout.errors import LogError
from turnout.evaluation import datasets
from turnout.evaluation.methods import Fitted
from turnout.evaluation.pairs import LENGTH
from turnout.evaluation.protocol import few_labels, folds, study
from turnout.evaluation.tables import Table
from turnout.systems.base import Figures, Run, System

if TYPE_CHECKING:
    from collections.abc import Mapping

    from turnout.evaluation.results import PairRow

LABELS = 1500


def pairwise(system: System, run: Run) -> Figures:
    """On `routellm_mmlu` from 1,500 labels as the authors augment with; on other tables five-fold."""
    log = datasets.load(run.table, run.data)
    table = Table.of(log)
    few = run.table == "routellm_mmlu"
    splits = few_labels(table, LABELS, run.seeds) if few else folds(table, 5, run.seeds)
    method = Fitted(system.name, system.title, system.build())
    found = study([method], log, splits, progress=run.tick).evaluation
    if found.pair is None:
        raise LogError("this measurement needs a strong and a weak model, and this table's do not differ")
    lines = {row.name: row for row in found.pair.rows}
    learned = f"{LABELS} labelled queries, all others tested" if few else "five folds by groups of near-duplicates"
    return Figures(
        table=run.table,
        protocol=(
            f"RouteLLM's protocol (thresholds at the ten quantiles of the scores); {learned}; {len(run.seeds)} seeds"
        ),
        metric="APGR",
        value=lines[system.name].apgr,
        gain=lines[system.name].gain,
        against=LENGTH,
        rows=[*map(_line, lines.values()), {"name": "random", "APGR": 0.5, "CPT50": 0.5, "CPT80": 0.8}],
    )


def _line(row: PairRow) -> Mapping[str, str | float | None]:
    return {"name": row.name, "APGR": row.apgr.mean, "CPT50": row.cpt50, "CPT80": row.cpt80}

"""Composition of Experts: a classifier of categories, and a map from categories to experts chosen under a budget.

Source: Jain et al. (SambaNova), arXiv 2412.01868.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from turnout import registry
from turnout.estimators.base import Estimator
from turnout.estimators.category import Category
from turnout.evaluation import datasets, metrics
from turnout.features import take
from turnout.systems._assignment import assign
from turnout.systems._compare import Arena, Index, costs, text_features
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["COMPOSITION_OF_EXPERTS"]

BUDGETS = (1.0, 0.6, 0.33, 0.2)  # as parts of what the best single expert costs; the first is the headline


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "category"),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
    }


def _measure(system: System, run: Run) -> Figures:
    """The integer programme at four budgets, and a regression per expert that trades at the same spend."""
    log = datasets.load(run.table, run.data)
    estimator: Category = system.build()["estimator"]
    direct: Estimator = registry.create("estimator", "logistic", on=estimator.signals)
    features = text_features(log.texts, estimator.signals)
    arena, cost_NE = Arena.of_log(log, features), costs(log)
    splits = arena.splits(run.seeds)
    held: dict[str, list[tuple[Index, Index]]] = {}
    for done, (train_I, test_I) in enumerate(splits, start=1):
        score_IE, train, test = arena.score_NE[train_I], take(features, train_I), take(features, test_I)
        fitted = estimator.clone().fit(train, score_IE, tasks=[arena.tasks[i] for i in train_I.tolist()])
        regressed = direct.clone().fit(train, score_IE)
        single = cost_NE[train_I, score_IE.mean(axis=0).argmax()].mean()
        for part in BUDGETS:
            map_K = _map(fitted, fitted.cells(train), cost_NE[train_I], part * single)
            held.setdefault(f"{system.name} at {part:.0%}", []).append((test_I, map_K[fitted.cells(test)]))
            policy = registry.create("policy", "budget", dollars_per_1k=1000 * part * float(single))
            policy.fit(regressed.predict(train)[0], cost_NE[train_I])
            chosen_I = policy.choose(regressed.predict(test)[0], cost_NE[test_I])
            held.setdefault(f"regression per expert at {part:.0%}", []).append((test_I, chosen_I))
        if run.tick:
            run.tick(done, len(splits))
    return _figures(run, arena, cost_NE, held)


def _map(fitted: Category, cell_I: Index, cost_IE: Any, budget: float) -> Index:
    """Category (the general one last) to expert."""
    cells = len(fitted.mean_KE_)
    weight_K = np.bincount(cell_I, minlength=cells) / len(cell_I)
    spend_KE = np.stack(
        [cost_IE[cell_I == k].mean(axis=0) if weight_K[k] else cost_IE.mean(axis=0) for k in range(cells)]
    )
    return assign(fitted.mean_KE_, spend_KE, weight_K, budget)


def _figures(run: Run, arena: Arena, cost_NE: Any, held: Mapping[str, list[tuple[Index, Index]]]) -> Figures:
    splits = arena.splits(run.seeds)
    values, spends = {}, {}
    for name, tests in held.items():
        values[name] = arena.replayed(tests)
        spends[name] = float(np.mean(np.concatenate([metrics.chosen(cost_NE[at], of) for at, of in tests])))
    values |= arena.baselines(splits)
    first = next(iter(held))
    rows = arena.rows(values, "accuracy", "best single")
    for row in rows:
        spent = spends.get(str(row["name"]))
        row["US$ per 1,000"] = None if spent is None else 1000 * spent
    return Figures(
        table=run.table,
        protocol=(
            f"five folds by groups of near-duplicates, {len(run.seeds)} seeds; the map is solved on the training "
            "side at a part of what its best single expert costs"
        ),
        metric="accuracy",
        value=arena.mean(values[first]),
        gain=arena.gain(values[first], values["best single"]),
        against="best single",
        rows=rows,
    )


COMPOSITION_OF_EXPERTS = System(
    name="composition_of_experts",
    title="Composition of Experts",
    level="request",
    claim=Claim(
        "Five open models reach 59.4 on Arena-Hard with 31 billion and 9.06 on MT-Bench with 54 billion average active "
        "parameters.",
        "arXiv 2412.01868, abstract",
    ),
    parts=("signal:embedding", "signal:format", "estimator:category", "policy:utility"),
    novelty="estimator",
    build=_build,
    deviations=(
        "Categories are the task names of the table, and the classifier a multinomial logistic regression on the "
        "shipped embedding and the format signal.",
        "The integer programme is solved where the system is measured (`turnout.systems._assignment`), its budget "
        "the mean cost of a request; the paper bounds parameters. As a router the preset takes the best expert per "
        "category.",
        "Unsure queries (entropy above 0.7 of its maximum) belong to a general category that stands for all queries.",
    ),
    limits=(
        "Needs category names for the logged queries; without them there is one category.",
        "A map with few categories spends in large steps, so part of a budget stays unspent.",
    ),
    number=20,
    measure=_measure,
)

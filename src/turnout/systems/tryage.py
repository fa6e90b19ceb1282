"""Tryage: every expert's score is predicted, and flags in the prompt weigh it against price and size.

Source: Hari and Thomson, "Tryage: Real-time, Intelligent Routing of User Prompts to Large Language Models",
arXiv 2308.11601.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from turnout import registry
from turnout.evaluation import datasets, metrics
from turnout.evaluation.goals import Goal, Held
from turnout.features import Floats, take
from turnout.stats import group_folds
from turnout.systems._compare import Arena, Index, costs, text_features
from turnout.systems._flags import flags, penalty
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["TRYAGE"]

ASKED = ("", "[Flag: best value]", "[Flag: cheapest]", "[Flag: smallest model]")
WALK = "walked to best single's quality"


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "ridge", on=("embedding", "format")),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
        "folds": 3,
    }


def _measure(system: System, run: Run) -> Figures:
    """Choices under each flag, and at the point of the walk along λ that keeps the best single expert's quality."""
    log = datasets.load(run.table, run.data)
    estimator = system.build()["estimator"]
    features = text_features(log.texts, estimator.signals)
    arena, cost_NE = Arena.of_log(log, features), costs(log)
    splits = arena.splits(run.seeds)
    held: dict[str, list[tuple[Index, Index]]] = {}
    for done, (train_I, test_I) in enumerate(splits, start=1):
        fitted = estimator.clone().fit(take(features, train_I), arena.score_NE[train_I])
        quality_IE = fitted.predict(take(features, test_I))[0]
        for flag in ASKED:
            _, wanted = flags(f"{flag} the prompt")
            objective_IE = quality_IE - penalty(wanted, log.experts, cost_NE[train_I].mean(axis=0))
            held.setdefault(flag or "no flag", []).append((test_I, objective_IE.argmax(axis=1)))
        policy = Goal(floor="best").policy(_held_out(estimator, arena, cost_NE, train_I))
        held.setdefault(WALK, []).append((test_I, policy.choose(quality_IE, cost_NE[test_I])))
        if run.tick:
            run.tick(done, len(splits))
    return _figures(run, arena, cost_NE, held, log.experts)


def _held_out(estimator: Any, arena: Arena, cost_NE: Floats, train_I: Index) -> Held:
    """Estimates for the training side from a fit on its other half, near-duplicates together."""
    half_I = group_folds(arena.group_N[train_I], 2, seed=0)
    quality_IE = np.empty((len(train_I), arena.score_NE.shape[1]))
    for half in (0, 1):
        fit_I, ask_I = train_I[half_I != half], train_I[half_I == half]
        made = estimator.clone().fit(take(arena.features, fit_I), arena.score_NE[fit_I])
        quality_IE[half_I == half] = made.predict(take(arena.features, ask_I))[0]
    score_IE = arena.score_NE[train_I]
    single = int(score_IE.mean(axis=0).argmax())
    return Held(quality_IE, cost_NE[train_I], score_IE, cost_NE[train_I], arena.group_N[train_I], single)


def _figures(
    run: Run, arena: Arena, cost_NE: Floats, held: Mapping[str, list[tuple[Index, Index]]], experts: Sequence[str]
) -> Figures:
    from turnout.systems._flags import billions

    splits, size_E = arena.splits(run.seeds), np.array([billions(name) for name in experts])
    values, spends, sizes = {}, {}, {}
    for name, tests in held.items():
        values[name] = arena.replayed(tests)
        spends[name] = float(np.mean(np.concatenate([metrics.chosen(cost_NE[at], of) for at, of in tests])))
        sizes[name] = float(np.mean(np.concatenate([size_E[of] for _, of in tests])))
    single = int(arena.score_NE.mean(axis=0).argmax())
    values |= arena.baselines(splits)
    spends["best single"], sizes["best single"] = float(cost_NE[:, single].mean()), float(size_E[single])
    rows = arena.rows(values, "accuracy", "best single")
    for row in rows:
        spent, size = spends.get(str(row["name"])), sizes.get(str(row["name"]))
        row |= {"US$ per 1,000": None if spent is None else 1000 * spent, "billions of parameters": size}
    return Figures(
        table=run.table,
        protocol=f"five folds by groups of near-duplicates, {len(run.seeds)} seeds; the walk's λ from training folds",
        metric=f"accuracy at {spends[WALK] / spends['best single']:.0%} of best single's cost",
        value=arena.mean(values[WALK]),
        gain=arena.gain(values[WALK], values["best single"]),
        against="best single",
        rows=rows,
    )


TRYAGE = System(
    name="tryage",
    title="Tryage",
    level="request",
    claim=Claim(
        "The optimal expert model is found for 50.9 % of prompts, against 23.6 % by GPT-3.5-Turbo and 10.8 % by "
        "Gorilla.",
        "arXiv 2308.11601, abstract",
    ),
    parts=("signal:embedding", "signal:format", "estimator:ridge", "policy:utility"),
    novelty="policy",
    build=_build,
    deviations=(
        "A ridge regression of scores on the shipped embedding and the format signal instead of a fine-tuned BERT that "
        "predicts masked-language-model losses; experts are the nine models of the table.",
        "Flags are read by a small grammar (`[Flag: cheapest]`, `[Flag: smallest model]`, `[Flag: best value]`), "
        "each with fixed weights on normalised price and size; recency, security and verbosity have no figures in "
        "the table.",
    ),
    limits=(
        "A flag's weight is a convention, not learned from anyone; the walk along λ is the part that a log can set.",
    ),
    number=44,
    measure=_measure,
)

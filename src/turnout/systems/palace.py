"""PALACE: how long an answer should be, and bills that claim more.

Source: "Predictive Auditing of Hidden Tokens in LLM APIs via Reasoning Length Estimation", arXiv 2508.00912.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from turnout import registry
from turnout.evaluation import datasets
from turnout.features import Floats, take
from turnout.outcomes import OutcomeLog
from turnout.systems._compare import Arena, text_features
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["PALACE"]

WITHIN = 0.33  # of the billed length: the paper's measure of an accurate prediction
INFLATED, CALLS = 1.3, (1, 10, 30, 100)  # what a false bill claims, and how many of them are looked at together
ALARM, DRAWS = 0.01, 2000  # honest bills that may be flagged, and resampled batches that set and try the bound


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "ridge", on=("embedding", "format", "length")),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
    }


def _measure(system: System, run: Run) -> Figures:
    """Lengths of GSM8K answers by two models, predicted from the question; bills inflated by 30 %."""
    log = OutcomeLog.read(datasets.folder(run.data) / "routellm")
    log = log.select(np.array([task.startswith("gsm8k") for task in log.tasks or ()]))
    estimator = system.build()["estimator"]
    features = text_features(log.texts, estimator.signals)
    tokens_NE = _tokens(log)
    low, high = np.log(tokens_NE).min() - 0.5, np.log(tokens_NE).max() + 0.5
    arena = Arena.of(log.texts, features, (np.log(tokens_NE) - low) / (high - low), ["gsm8k"] * len(log))
    guess_NE, usual_NE = np.zeros((2, *tokens_NE.shape))
    splits = arena.splits(run.seeds[:1])
    for done, (train_I, test_I) in enumerate(splits, start=1):
        train, test = take(features, train_I), take(features, test_I)
        for expert in range(tokens_NE.shape[1]):  # one by one: together, what tells experts apart would be sought
            fitted = estimator.clone().fit(train, arena.score_NE[train_I, expert, None])
            guess_NE[test_I, expert] = low + (high - low) * fitted.predict(test)[0][:, 0]
        usual_NE[test_I] = np.log(tokens_NE[train_I]).mean(axis=0)
        if run.tick:
            run.tick(done, len(splits))
    return _figures(arena, np.log(tokens_NE), {"predicted length": guess_NE, "expert's usual length": usual_NE})


def _tokens(log: OutcomeLog) -> Floats:
    """WordPiece tokens of every response, (N, E); at least one."""
    place = {query: at for at, query in enumerate(log.query_ids)}
    column = {name: at for at, name in enumerate(log.experts)}
    tokens_NE = np.ones((len(log), len(log.experts)))
    counted = datasets.prompt_tokens(log.outcomes["response"].to_list())
    for query, expert, count in zip(log.outcomes["query_id"], log.outcomes["expert"], counted.tolist(), strict=True):
        tokens_NE[place[query], column[expert]] = max(count, 1.0)
    return tokens_NE


def _figures(arena: Arena, billed_NE: Floats, guesses: Mapping[str, Floats]) -> Figures:
    """The part of predictions within a third of the bill, and how many false bills are seen for what they are."""
    names = tuple(guesses)
    near = {name: (np.abs(np.exp(guess - billed_NE) - 1.0) <= WITHIN).mean(axis=1) for name, guess in guesses.items()}
    rows: list[dict[str, str | float | None]] = []
    for name in names:
        row: dict[str, str | float | None] = {"name": name, f"within {WITHIN:.0%}": float(near[name].mean())}
        for calls in CALLS:
            power = _power((billed_NE - guesses[name]).ravel(), calls)
            row[f"30 % inflation seen in {calls} call{'s' if calls > 1 else ''}"] = power
        rows.append(row)
    return Figures(
        table="routellm_gsm8k",
        protocol=(
            f"answers of two models, five folds by groups of near-duplicates; a batch is flagged where its mean log "
            f"excess passes what {ALARM:.0%} of honest batches of another half reach"
        ),
        metric=f"predictions within {WITHIN:.0%} of the answer's length",
        value=arena.mean(near[names[0]]),
        gain=arena.gain(near[names[0]], near[names[1]]),
        against=names[1],
        rows=rows,
    )


def _power(excess_N: Floats, calls: int) -> float:
    """The part of batches with inflated bills that are flagged; the bound comes from the other half of honest bills."""
    rng = np.random.default_rng(0)
    mixed_N = rng.permutation(excess_N)
    honest_N, tried_N = np.array_split(mixed_N, 2)
    bound = np.quantile(rng.choice(honest_N, (DRAWS, calls)).mean(axis=1), 1.0 - ALARM)
    return float((rng.choice(tried_N, (DRAWS, calls)).mean(axis=1) + np.log(INFLATED) > bound).mean())


PALACE = System(
    name="palace",
    title="PALACE",
    level="request",
    claim=Claim(
        "Hidden reasoning lengths are estimated from prompt and answer with low relative error, for single calls and "
        "for audits of cumulative bills.",
        "arXiv 2508.00912, abstract",
    ),
    parts=("signal:embedding", "signal:format", "signal:length", "estimator:ridge", "policy:utility"),
    novelty="feedback",
    build=_build,
    deviations=(
        "What is predicted is the length of a visible answer from its question, by ridge regression of its "
        "logarithm; the paper predicts hidden reasoning from question and answer with a fine-tuned language model "
        "per domain.",
        "Two models on GSM8K, where lengths are known; no provider's hidden tokens are.",
    ),
    limits=(
        "A provider who inflates by less than the spread of lengths over the calls looked at is not seen.",
        "An honest change of a model's style looks like inflation until the estimator is fitted again.",
    ),
    number=76,
    table="routellm_gsm8k",
    measure=_measure,
)

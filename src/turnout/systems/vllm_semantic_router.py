"""vLLM Semantic Router: named signals, Boolean decisions over them, then a selector; here its complexity signal.

Source: the paper's TeX in the authors' repository (signal, decision and selection engines). The shell itself, signals,
rules and linter in the configuration, is `turnout.rules` with `turnout.routers.rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout import registry
from turnout.evaluation import datasets
from turnout.features import Floats
from turnout.stats import Interval, bootstrap_counts, group_folds
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["VLLM_SEMANTIC_ROUTER"]

EXEMPLARS, FOLDS, DRAWS = 100, 5, 500
WEAK, STRONG = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"


def _build() -> Mapping[str, Any]:
    return {"signal": registry.create("signal", "contrast", of="complexity")}


def _measure(system: System, run: Run) -> Figures:
    """How well a signal tells the questions that only the strong model answers, as an area under the ROC curve."""
    log = datasets.load(run.table, run.data)
    score_NE, groups_N = log.matrix(), log.groups()
    worth_N = (score_NE[:, log.experts.index(STRONG)] > 0.5) & (score_NE[:, log.experts.index(WEAK)] <= 0.5)
    shipped: Any = system.build()["signal"]
    values = {
        system.title: np.asarray(shipped.fit([]).transform(log.texts))[:, 0],
        "exemplars drawn from labelled questions": _drawn(log.texts, worth_N, groups_N, run),
        "prompt length": np.array([float(len(text)) for text in log.texts]),
        "jailbreak contrast (a control)": np.asarray(
            registry.create("signal", "contrast", of="jailbreak").fit([]).transform(log.texts)
        )[:, 0],
        "random": np.zeros(len(log)),
    }
    aucs = {name: _aucs(value_N, worth_N, groups_N) for name, value_N in values.items()}
    own, length = aucs[system.title], aucs["prompt length"]
    return Figures(
        table=run.table,
        protocol=(
            f"area under the ROC curve of a signal for `{STRONG} right, {WEAK} wrong` ({worth_N.mean():.1%} of "
            f"{len(log)} questions), bootstrap over near-duplicate groups; {EXEMPLARS} labelled exemplars a side come "
            f"from the other folds of {FOLDS}, {len(run.seeds)} seeds"
        ),
        metric="AUC",
        value=_interval(own),
        gain=_interval(own - length),
        against="prompt length",
        rows=[_row(name, _interval(auc_B)) for name, auc_B in aucs.items()],
    )


def _drawn(texts: list[str], worth_N: NDArray[np.bool_], groups_N: NDArray[np.int64], run: Run) -> Floats:
    """The contrast with exemplars of both kinds from other folds, averaged over seeds."""
    value_N = np.zeros(len(texts))
    for seed in run.seeds:
        fold_N, rng = group_folds(groups_N, FOLDS, seed), np.random.default_rng(seed)
        for fold in range(FOLDS):
            sides = [
                rng.permutation(np.flatnonzero((fold_N != fold) & (worth_N == w)))[:EXEMPLARS] for w in (True, False)
            ]
            positive, negative = (tuple(texts[n] for n in side) for side in sides)
            made = registry.create("signal", "contrast", positive=positive, negative=negative).fit([])
            test_I = np.flatnonzero(fold_N == fold)
            value_N[test_I] += np.asarray(made.transform([texts[n] for n in test_I]))[:, 0]
    return value_N


def _aucs(value_N: Floats, worth_N: NDArray[np.bool_], groups_N: NDArray[np.int64]) -> Floats:
    """The area on the log itself first, then on each of DRAWS resamples, (1 + B,)."""
    order_N = np.argsort(value_N, kind="stable")
    _, tie_N = np.unique(value_N[order_N], return_inverse=True)
    worth_N = worth_N[order_N]
    weights = [np.ones(len(value_N)), *bootstrap_counts(groups_N, seed=0, draws=DRAWS)]
    return np.array([_area(weight_N[order_N], tie_N, worth_N) for weight_N in weights])


def _area(weight_N: Floats, tie_N: NDArray[np.intp], worth_N: NDArray[np.bool_]) -> float:
    """Of a weighted pair, one of each kind, the chance that the worthy one has the larger value; ties count half."""
    worthy_T = np.bincount(tie_N, weights=weight_N * worth_N)
    other_T = np.bincount(tie_N, weights=weight_N * ~worth_N)
    below_T = np.cumsum(other_T) - other_T
    return float((worthy_T * (below_T + 0.5 * other_T)).sum() / max(worthy_T.sum() * other_T.sum(), 1e-12))


def _interval(values_B: Floats) -> Interval:
    low, high = np.quantile(values_B[1:], [0.025, 0.975])
    return Interval(float(values_B[0]), float(low), float(high))


def _row(name: str, found: Interval) -> dict[str, str | float | None]:
    return {"name": name, "AUC": found.mean, "low": found.low, "high": found.high}


VLLM_SEMANTIC_ROUTER = System(
    name="vllm_semantic_router",
    number=93,
    title="vLLM Semantic Router (shell and contrastive complexity)",
    level="request",
    claim=Claim(
        "Heuristic signals take under 1 ms, learned ones 15 to 120 ms, a decision over 100 rules under .5 ms; there is "
        "little evidence on answers' quality.",
        "the paper's TeX, evaluation section",
    ),
    parts=("signal:contrast",),
    novelty="policy",
    build=_build,
    deviations=(
        "Signals here: keyword, regex, length, language, embedding, contrast, tenant, needs, conversation, and "
        "conditions of those; not their domain, fact-need, feedback, modality, PII and preference classifiers.",
        "Keywords match by word, or by trigram similarity; there is no BM25.",
        "The first rule that holds wins (priority, then order); their choice by mean confidence is left out.",
        "Signals are computed one after the other as rules ask, cheap ones first, not in parallel.",
        "A rule hands the rest to the learned router instead of naming one of 13 selectors; there are no plug-ins.",
        "Exemplars are 20 a side, hand-written here; embeddings come from the shipped static table.",
    ),
    limits=(
        "The complexity contrast sees topic and wording: on multiple-choice questions it is worth no more than "
        "prompt length, and a jailbreak contrast does as well.",
        "The jailbreak contrast is a first net, not a guard: at .15 it flags .4 % of nine_llm's prompts and 2 % of "
        "clinc150's utterances, all harmless; each of its exemplars left out in turn, attacks and the look-alikes "
        "written beside them are flagged equally often (40 %).",
        "The linter knows pairs of signals of one type; that two patterns exclude each other it cannot know.",
    ),
    code="github.com/vllm-project/semantic-router",
    table="routellm_mmlu",
    measure=_measure,
)

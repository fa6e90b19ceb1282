"""TaskMatrix.AI's API selector: find the APIs for a request by their documents.

Source: Liang et al., "TaskMatrix.AI: Completing Tasks by Connecting Foundation Models with Millions of APIs", 2023.

Shape letters: N texts, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout import registry
from turnout.cards import CardRouter
from turnout.cards.fitting import MATCHERS
from turnout.features import Floats
from turnout.stats import bootstrap_mean, near_duplicates, paired_bootstrap
from turnout.systems._cards import hit, metatool, places, searched
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["TASKMATRIX"]

BLENDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9)  # shares of the cosine
CHOOSE, TRAIN = 0.3, 0.7  # of the queries: those that choose the share, those that train


def _build() -> Mapping[str, Any]:
    return {
        "signals": (registry.create("signal", "embedding"), registry.create("signal", "tfidf")),
        "matchers": tuple(registry.create("matcher", name) for name in MATCHERS),
    }


def _measure(_system: System, run: Run) -> Figures:
    tools, (queries, wanted) = metatool(run.data)
    group_N, right_N = near_duplicates(queries), places(tools, wanted)
    lexical_NE, dense_NE = searched(tools, queries)
    choose_N = np.random.default_rng(0).random(int(group_N.max()) + 1)[group_N] < CHOOSE
    fused = {blend: (1 - blend) * lexical_NE + blend * dense_NE for blend in BLENDS}
    blend = max(BLENDS, key=lambda share: hit(fused[share][choose_N], right_N[choose_N]).mean())
    by_text = {"BM25": lexical_NE, "embedding": dense_NE, "fused": fused[blend]}
    hits = {name: (hit(scores, right_N), hit(scores, right_N, 5)) for name, scores in by_text.items()}
    dense_N = hits["embedding"][1][~choose_N]
    rows: list[dict[str, str | float | None]] = [
        _row(f"text only, {name}", (first[~choose_N], fifth[~choose_N]), dense_N, group_N[~choose_N])
        for name, (first, fifth) in hits.items()
    ]
    gain_N = hits["fused"][0] - hits["embedding"][0]
    parts = _build()
    for number, seed in enumerate(run.seeds):
        test_N = np.random.default_rng(seed).random(int(group_N.max()) + 1)[group_N] >= TRAIN
        train, test = np.flatnonzero(~test_N).tolist(), np.flatnonzero(test_N).tolist()
        router = CardRouter(tools).fit(
            [queries[n] for n in train],
            [wanted[n] for n in train],
            signals={signal.name: signal.clone() for signal in parts["signals"]},
            matchers=parts["matchers"],
            seed=seed,
        )
        logits_NE = router.judge([queries[n] for n in test])[0]
        scores = hit(logits_NE, right_N[test]), hit(logits_NE, right_N[test], 5)
        dense_N = hits["embedding"][1][test]
        rows.append(_row(f"seed {seed}: with labels", scores, dense_N, group_N[test]))
        text = hits["fused"][0][test], hits["fused"][1][test]
        rows.append(_row(f"seed {seed}: same queries, fused", text, dense_N, group_N[test]))
        if run.tick:
            run.tick(number + 1, len(run.seeds))
    return Figures(
        table="metatool",
        protocol="text only: names and descriptions of 199 tools, nothing fitted but the cosine's share "
        f"({blend}), chosen on 30 % of the queries and measured on the rest; with labels: 70 % of the queries train, "
        "per seed; near-duplicates together",
        metric="hit@1 by text only",
        value=bootstrap_mean(hits["fused"][0][~choose_N], group_N[~choose_N], seed=0),
        gain=paired_bootstrap(gain_N[~choose_N], group_N[~choose_N], seed=0),
        against="the embedding alone",
        rows=rows,
    )


def _row(
    name: str, hits: tuple[Floats, Floats], dense_N: Floats, group_N: NDArray[np.int64]
) -> dict[str, str | float | None]:
    """Hits among one and among five, and what the five gain over the embedding's five with its interval."""
    gain = paired_bootstrap(hits[1] - dense_N, group_N, seed=0)
    return {
        "name": name,
        "hit@1": float(hits[0].mean()),
        "recall@5": float(hits[1].mean()),
        "recall@5 over the embedding": gain.mean,
        "low": gain.low,
        "high": gain.high,
    }


TASKMATRIX = System(
    name="taskmatrix",
    number=51,
    title="TaskMatrix.AI (API selector)",
    level="request",
    claim=Claim(
        "A position paper: an API selector finds the APIs among millions by their documents; no accuracy is reported.",
        "arXiv 2303.16434",
    ),
    parts=("signal:embedding", "signal:tfidf", *(f"matcher:{name}" for name in MATCHERS)),
    novelty="estimator",
    build=_build,
    deviations=(
        "The selector alone, over MetaTool's tools; no conversational model outlines the task first.",
        "A card's `needs` are closed over (`turnout.cards.closure`) instead of the authors' template tools.",
    ),
    limits=(
        "MetaTool's tools have a name and a sentence, no parameters and no usage; many of them do the same.",
        "One tool a query: sets of tools for one request are not measured here.",
    ),
    code="github.com/microsoft/TaskMatrix",
    table="metatool",
    measure=_measure,
)

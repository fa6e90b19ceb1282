"""RouteLLM's figures (arXiv 2406.18665) for rules that rank queries between a weak and a strong expert, with intervals.

Shape letters: N queries, S seeds, B bootstrap draws, T thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.evaluation import metrics
from turnout.evaluation.baselines import lengths
from turnout.evaluation.results import Pair, PairRow
from turnout.evaluation.tables import Table
from turnout.features import Floats
from turnout.stats import Interval, bootstrap_counts

LENGTH = "prompt length"
RANDOM = "random"


def pair_of(table: Table) -> tuple[int, int]:
    """Columns of the weak and the strong expert: the worse and better of two, else the cheapest and the best."""
    mean_E = table.value_NE.mean(axis=0)
    strong, weak = int(mean_E.argmax()), int(mean_E.argmin())
    if len(mean_E) > 2 and table.spend_NE is not None:
        cheapest = int(table.spend_NE.mean(axis=0).argmin())
        weak = weak if cheapest == strong else cheapest
    return weak, strong


def pair_figures(
    table: Table,
    wishes: Mapping[str, Sequence[Floats]],
    rows: Sequence[NDArray[np.integer[Any]]] | None = None,
    *,
    draws: int = 400,
    seed: int = 0,
) -> Pair | None:
    """APGR and CPT per rule, averaged over seeds; prompt length is always among the rules of a log with text.

    `wishes[rule][s]` is the wish for the strong expert per query, shape (N,), in repetition s; `rows[s]` are the
    queries that repetition tested (all of them by default). The bootstrap draws groups of near-duplicates, the same
    draw for every rule and repetition. Gains over prompt length are None without text. None where strong and weak do
    not differ.
    """
    weak, strong = pair_of(table)
    if not table.value_NE[:, strong].mean() > table.value_NE[:, weak].mean():
        return None
    repetitions = len(next(iter(wishes.values())))
    rows = rows or [np.arange(len(table))] * repetitions
    length_N = lengths(table)
    ranked = {**wishes, LENGTH: [_length_wish(table, weak, strong)] * repetitions} if length_N.any() else {**wishes}
    ends = (table.value_NE[:, weak], table.value_NE[:, strong])
    counts_BN = np.stack(list(bootstrap_counts(table.group_N, seed=seed, draws=draws))).astype(np.float32)
    curves = {name: _curves(wish, rows, ends) for name, wish in ranked.items()}
    drawn = {name: _drawn(wish, rows, ends, counts_BN) for name, wish in ranked.items()}
    return Pair(
        weak=table.experts[weak],
        strong=table.experts[strong],
        rows=tuple(_row(name, curves, drawn) for name in ranked),
    )


def _row(name: str, curves: Mapping[str, list[metrics.Curve]], drawn: Mapping[str, Floats]) -> PairRow:
    apgr = float(np.mean([curve.apgr for curve in curves[name]]))
    gain = None
    if name != LENGTH and LENGTH in curves:
        base = float(np.mean([curve.apgr for curve in curves[LENGTH]]))
        gain = Interval(apgr - base, *_ends(drawn[name] - drawn[LENGTH]))
    return PairRow(
        name=name,
        apgr=Interval(apgr, *_ends(drawn[name])),
        cpt50=float(np.mean([curve.cpt(0.5) for curve in curves[name]])),
        cpt80=float(np.mean([curve.cpt(0.8) for curve in curves[name]])),
        gain=gain,
    )


def _curves(
    wish: Sequence[Floats], rows: Sequence[NDArray[np.integer[Any]]], ends: tuple[Floats, Floats]
) -> list[metrics.Curve]:
    return [metrics.routing_curve(w[i], ends[0][i], ends[1][i]) for w, i in zip(wish, rows, strict=True)]


def _drawn(
    wish: Sequence[Floats], rows: Sequence[NDArray[np.integer[Any]]], ends: tuple[Floats, Floats], counts_BN: Floats
) -> Floats:
    """APGR per draw, the mean over repetitions, shape (B,)."""
    total_B = np.zeros(len(counts_BN))
    for w, i in zip(wish, rows, strict=True):
        drawn = metrics.resampled_curves(w[i], ends[0][i], ends[1][i], counts_BN[:, i])
        total_B += np.array([curve.apgr for curve in drawn])
    return total_B / len(wish)


def _ends(draws_B: Floats) -> tuple[float, float]:
    low, high = np.nanquantile(draws_B, [0.025, 0.975])  # a draw without any gap has no APGR
    return float(low), float(high)


def _length_wish(table: Table, weak: int, strong: int) -> Floats:
    """Longer prompts to the strong expert, or shorter ones where that ranks better (which favours the baseline)."""
    length_N = lengths(table)
    gap_N = table.value_NE[:, strong] - table.value_NE[:, weak]
    rank_N = length_N.argsort(kind="stable").argsort(kind="stable")
    return length_N if np.cov(rank_N, gap_N)[0, 1] >= 0 else -length_N

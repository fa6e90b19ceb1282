"""How much of what a perfect router could gain is the luck of single runs.

An expert that answers at random looks, run by run, as if some other expert had been better at times. Let X[n, e, r] be
the score of run r of expert e on query n, μ[n, e] its expectation, R the runs per query. Over the same queries:

    best        the best single expert, mean of X
    single-run  S = mean over n and r of max_e X[n, e, r]           what an oracle shows on a log of single runs
    averaged    M = mean over n of max_e mean_r X[n, e, r]          choose and value on the same runs
    held out    V = mean over n and r of X[n, e*(n, r), r]          choose on the other runs, value on run r

with e*(n, r) the expert of the largest mean over the runs other than r; ties go to the expert that does best on the
*other* queries. The perfect router that knows every μ reaches O = mean over n of max_e μ[n, e]. A maximum of averages
is too high and a choice by fewer runs too low, so E[V] ≤ O ≤ E[M] ≤ E[S]: of the gap S − best, at least S − M and at
most S − V is luck. With R = 2 this is the split-half oracle, each half choosing for the other.

Shape letters: N queries, E experts, R runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from turnout.outcomes.schema import REPEATS
from turnout.stats import bootstrap_mean

if TYPE_CHECKING:
    from turnout.outcomes.log import OutcomeLog

Array = NDArray[np.float64]
_TIE = 1e-9  # below any difference of means that counts


def luck(log: OutcomeLog, seed: int = 0) -> dict[str, Any] | None:
    """The figures above with a 95 % bootstrap interval (over queries) of the gain that held-out runs confirm, V − best.

    Counted are queries on which two experts or more have two runs or more, each cut to the fewest runs among them.
    None where there is no such query.

    >>> import polars as pl
    >>> from turnout.outcomes import OutcomeLog
    >>> coin = [[1.0, 0.0], [0.0, 1.0]]  # two experts that are right by chance
    >>> rows = [(f"q{n}", e, 0.5, coin[(n + k) % 2]) for n in range(4) for k, e in enumerate("ab")]
    >>> found = luck(OutcomeLog(None, pl.DataFrame(rows, ["query_id", "expert", "score", "repeats"], orient="row")))
    >>> found["single_run_oracle"], found["averaged_oracle"], found["luck_share_low"]
    (1.0, 0.5, 1.0)

    Limits: V is pessimistic where runs are few, so `luck_share_high` is an upper end, not an estimate; the best single
    expert is the best of the same runs.
    """
    blocks = list(_blocks(log))
    if not blocks:
        return None
    rows_N = np.concatenate([rows for rows, _ in blocks])
    mean_NE = np.concatenate([runs_NER.mean(axis=2) for _, runs_NER in blocks])
    best = _best(mean_NE)
    others_NE = _means_on_other_queries(mean_NE)
    ends = np.cumsum([len(rows) for rows, _ in blocks])[:-1]
    parts = zip(blocks, np.split(others_NE, ends), strict=True)
    figures_N4 = np.concatenate([_query_figures(runs_NER, others_ME, best) for (_, runs_NER), others_ME in parts])
    use_N = np.isfinite(figures_N4[:, 0])
    figures_N4, rows_N = figures_N4[use_N], rows_N[use_N]
    single, run, averaged, held = figures_N4.mean(axis=0).tolist()
    gain = bootstrap_mean(figures_N4[:, 3] - figures_N4[:, 0], log.groups()[rows_N], seed=seed)
    gap = run - single
    return {
        "queries": len(figures_N4),
        "runs": sum(runs_NER.shape[2] * len(rows) for rows, runs_NER in blocks) / len(use_N),
        "best_single": log.experts[best],
        "best_single_score": single,
        "single_run_oracle": run,
        "averaged_oracle": averaged,
        "held_out_oracle": held,
        "gap": gap,
        "luck_share_low": float(np.clip((run - averaged) / gap, 0, 1)) if gap > 0 else None,
        "luck_share_high": float(np.clip((run - held) / gap, 0, 1)) if gap > 0 else None,
        "confirmed_gain": {"mean": gain.mean, "low": gain.low, "high": gain.high},
    }


def _blocks(log: OutcomeLog) -> Iterator[tuple[NDArray[np.int64], Array]]:
    """Row numbers (N,) and runs (N, E, R), NaN where an expert has fewer than two, one block per number of runs."""
    if REPEATS not in log.outcomes.columns:
        return
    runs: dict[int, dict[int, list[float]]] = {}
    experts = {name: e for e, name in enumerate(log.experts)}
    rows = log.outcomes.filter(log.outcomes[REPEATS].list.len() > 1)
    at = {query: n for n, query in enumerate(log.query_ids)}
    for query, expert, scores in rows.select("query_id", "expert", REPEATS).iter_rows():
        runs.setdefault(at[query], {})[experts[expert]] = scores
    sizes = {n: min(map(len, cells.values())) for n, cells in runs.items() if len(cells) > 1}
    for size in sorted(set(sizes.values())):
        chosen = [n for n, R in sizes.items() if size == R]
        block = np.full((len(chosen), len(experts), size), np.nan)
        for row, n in enumerate(chosen):
            for e, scores in runs[n].items():
                block[row, e] = scores[:size]
        yield np.array(chosen, dtype=np.int64), block


def _best(mean_NE: Array) -> int:
    seen_E = np.isfinite(mean_NE).sum(axis=0)
    return int(np.argmax(np.where(seen_E > 0, np.nansum(mean_NE, axis=0) / np.maximum(seen_E, 1), -np.inf)))


def _means_on_other_queries(mean_NE: Array) -> Array:
    seen_NE = np.isfinite(mean_NE)
    filled_NE = np.where(seen_NE, mean_NE, 0.0)
    others_NE: Array = (filled_NE.sum(axis=0) - filled_NE) / np.maximum(seen_NE.sum(axis=0) - seen_NE, 1)
    return others_NE


def _query_figures(runs_NER: Array, others_NE: Array, best: int) -> Array:
    """Per query: best single, single-run, averaged and held-out oracle, shape (N, 4); NaN without the best single."""
    low_NER = np.where(np.isfinite(runs_NER), runs_NER, -np.inf)
    count = runs_NER.shape[2]
    held_N = np.zeros(len(runs_NER))
    rows_N = np.arange(len(runs_NER))
    for r in range(count):
        rest_NE = np.delete(low_NER, r, axis=2).mean(axis=2)
        chosen_N = (rest_NE + _TIE * others_NE).argmax(axis=1)
        held_N += runs_NER[rows_N, chosen_N, r] / count
    run_N, averaged_N = low_NER.max(axis=1).mean(axis=1), low_NER.mean(axis=2).max(axis=1)
    return np.stack([runs_NER[:, best].mean(axis=1), run_N, averaged_N, held_N], axis=1)

"""How much of what a perfect router could gain is the luck of single runs.

An expert that answers at random looks, run by run, as if some other expert had been better at times. Let X[n, e, r] be
the score of run r of expert e on query n, μ[n, e] its expectation, R the runs per query. Over the same queries:

    best        the best single expert, mean of X
    single-run  S = mean over n and r of max_e X[n, e, r]           what an oracle shows on a log of single runs
    averaged    M = mean over n of max_e mean_r X[n, e, r]          choose and value on the same runs
    held out    V = mean over n and r of X[n, e*(n, r), r]          choose without run r, value on run r

with e*(n, r) = argmax_e w_e · (mean of X[n, e, ·] without r) + (1 − w_e) · m_e(n), m_e(n) the expert's mean on the
*other* queries (of the same task, where the log has tasks) and w_e = τ²_e / (τ²_e + σ²_e / (R − 1)) from the variance
between queries, τ², and between runs, σ²: runs that waver count less than what is known of the expert. The perfect
router that knows every μ reaches O = mean over n of max_e μ[n, e]. A maximum of averages is too high; a choice that has
not seen run r is worth no more than O. So E[V] ≤ O ≤ E[M] ≤ E[S]: of the gap S − best, at least S − M and at most S − V
is luck. With R = 2, each half chooses for the other, as in a split-half reliability.

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


def luck(log: OutcomeLog, seed: int = 0) -> dict[str, Any] | None:
    """The figures above, and the gain that held-out runs confirm, V − best, with a 95 % bootstrap interval.

    `luck_share_low` is the low end of that interval of S − M, over the gap; `luck_share_high` the high end of S − V's.
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
    expert is the best of the same runs. w comes from all runs, a dependence that vanishes with many queries.
    """
    blocks = list(_blocks(log))
    if not blocks:
        return None
    rows_N = np.concatenate([rows for rows, _ in blocks])
    mean_NE = np.concatenate([runs_NER.mean(axis=2) for _, runs_NER in blocks])
    best = _best(mean_NE)
    task_N = (
        np.unique(log.tasks, return_inverse=True)[1][rows_N] if log.tasks else np.zeros(len(rows_N), dtype=np.int64)
    )
    prior_NE = _means_on_other_queries(mean_NE, task_N)
    between_E, within_E = _variances([runs_NER for _, runs_NER in blocks], mean_NE - prior_NE)
    ends = np.cumsum([len(rows) for rows, _ in blocks])[:-1]
    parts = zip(blocks, np.split(prior_NE, ends), strict=True)
    figures_N4 = np.concatenate(
        [_query_figures(runs, prior_ME, best, _weights(between_E, within_E, runs)) for (_, runs), prior_ME in parts]
    )
    use_N = np.isfinite(figures_N4[:, 0])
    figures_N4, rows_N = figures_N4[use_N], rows_N[use_N]
    single, run, averaged, held = figures_N4.mean(axis=0).tolist()
    groups_N = log.groups()[rows_N]
    gain = bootstrap_mean(figures_N4[:, 3] - figures_N4[:, 0], groups_N, seed=seed)
    least = bootstrap_mean(figures_N4[:, 1] - figures_N4[:, 2], groups_N, seed=seed).low
    most = bootstrap_mean(figures_N4[:, 1] - figures_N4[:, 3], groups_N, seed=seed).high
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
        "luck_share_low": float(np.clip(least / gap, 0, 1)) if gap > 0 else None,
        "luck_share_high": float(np.clip(most / gap, 0, 1)) if gap > 0 else None,
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


def _means_on_other_queries(mean_NE: Array, task_N: NDArray[np.int64]) -> Array:
    """Each expert's mean on the other queries of the same task, or on all others where it saw none of that task."""
    seen_NE = np.isfinite(mean_NE)
    filled_NE = np.where(seen_NE, mean_NE, 0.0)
    all_NE = (filled_NE.sum(axis=0) - filled_NE) / np.maximum(seen_NE.sum(axis=0) - seen_NE, 1)
    total_TE, count_TE = (np.zeros((task_N.max(initial=0) + 1, mean_NE.shape[1])) for _ in range(2))
    np.add.at(total_TE, task_N, filled_NE)
    np.add.at(count_TE, task_N, seen_NE)
    others_NE = count_TE[task_N] - seen_NE
    same_NE = (total_TE[task_N] - filled_NE) / np.maximum(others_NE, 1)
    prior_NE: Array = np.where(others_NE > 0, same_NE, all_NE)
    return prior_NE


def _variances(blocks: list[Array], residual_NE: Array) -> tuple[Array, Array]:
    """Variance between queries (of expectations around the prior) and between runs of one query, per expert."""
    within_NE = np.concatenate([runs_NER.var(axis=2, ddof=1) for runs_NER in blocks])
    runs_N = np.concatenate([np.full(len(runs_NER), runs_NER.shape[2]) for runs_NER in blocks])
    seen_E = np.maximum(np.isfinite(residual_NE).sum(axis=0), 1)
    within_E = np.nansum(within_NE, axis=0) / seen_E
    noise_E = np.nansum(within_NE / runs_N[:, None], axis=0) / seen_E
    between_E = np.nansum(residual_NE**2, axis=0) / seen_E - noise_E
    return np.maximum(between_E, 0.0), within_E


def _weights(between_E: Array, within_E: Array, runs_NER: Array) -> Array:
    """How much a query's own runs but one count against what is known of the expert elsewhere."""
    noise_E = within_E / (runs_NER.shape[2] - 1)
    weight_E: Array = np.where(noise_E > 0, between_E / np.maximum(between_E + noise_E, 1e-300), 1.0)
    return weight_E


def _query_figures(runs_NER: Array, prior_NE: Array, best: int, weight_E: Array) -> Array:
    """Per query: best single, single-run, averaged and held-out oracle, shape (N, 4); NaN without the best single."""
    low_NER = np.where(np.isfinite(runs_NER), runs_NER, -np.inf)
    count = runs_NER.shape[2]
    held_N = np.zeros(len(runs_NER))
    rows_N = np.arange(len(runs_NER))
    for r in range(count):
        rest_NE = np.delete(runs_NER, r, axis=2).mean(axis=2)
        guess_NE = weight_E * rest_NE + (1 - weight_E) * prior_NE
        chosen_N = np.where(np.isfinite(guess_NE), guess_NE, -np.inf).argmax(axis=1)
        held_N += runs_NER[rows_N, chosen_N, r] / count
    run_N, averaged_N = low_NER.max(axis=1).mean(axis=1), low_NER.mean(axis=2).max(axis=1)
    return np.stack([runs_NER[:, best].mean(axis=1), run_N, averaged_N, held_N], axis=1)

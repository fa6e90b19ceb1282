"""Losses of ratings against scores, each with its gradient; for estimators that learn by gradient.

Ratings, scores and weights are (N, E); a cell without weight is not read. A loss is a sum over queries, over N.
Shape letters: N queries, E experts, H map dimensions, M drawn queries.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turnout.features import Floats

LOSSES = ("bce", "pair", "soft", "contrast")
TOP, LAST, BAD = 3, 3, 0.5  # of the contrast: how many experts attract and repel, and the score above which none repels


def loss_and_slope(
    kind: str, rating_NE: Floats, scores_NE: Floats, weights_NE: Floats, temperature: float
) -> tuple[float, Floats]:
    """The loss and its gradient in the ratings.

    "bce": cross-entropy of σ(rating) with the score. "pair": cross-entropy of σ(r_i − r_j) with ½ + ½ (s_i − s_j) over
    pairs of observed experts. "soft": of softmax(r) with softmax(s / temperature). "contrast": of each of the best
    experts against the worst ones, ratings over `temperature` (RouterDC's sample–LLM loss); of equal scores on a query
    that of the expert with the better mean is the better.

    >>> loss, slope_NE = loss_and_slope("bce", np.zeros((1, 2)), np.array([[1.0, 0.0]]), np.ones((1, 2)), 1.0)
    >>> round(loss, 3), slope_NE.tolist()
    (1.386, [[-0.5, 0.5]])
    """
    rows = len(rating_NE)
    if kind == "bce":
        loss = float((weights_NE * (np.logaddexp(0.0, rating_NE) - scores_NE * rating_NE)).sum())
        return loss / rows, weights_NE * (sigmoid(rating_NE) - scores_NE) / rows
    if kind == "pair":
        return _pairs(rating_NE, scores_NE, weights_NE)
    if kind == "soft":
        return _soft(rating_NE, scores_NE, weights_NE, temperature)
    return _contrast(rating_NE, scores_NE, weights_NE, temperature)


def _pairs(rating_NE: Floats, scores_NE: Floats, weights_NE: Floats) -> tuple[float, Floats]:
    rows, experts = rating_NE.shape
    loss, slope_NE = 0.0, np.zeros_like(rating_NE)
    root_NE = np.sqrt(weights_NE)
    for i in range(experts - 1):
        ahead_NJ = rating_NE[:, i, None] - rating_NE[:, i + 1 :]
        won_NJ = 0.5 + 0.5 * (scores_NE[:, i, None] - scores_NE[:, i + 1 :])
        weight_NJ = root_NE[:, i, None] * root_NE[:, i + 1 :] / (experts - 1)
        loss += float((weight_NJ * (np.logaddexp(0.0, ahead_NJ) - won_NJ * ahead_NJ)).sum())
        part_NJ = weight_NJ * (sigmoid(ahead_NJ) - won_NJ)
        slope_NE[:, i] += part_NJ.sum(axis=1)
        slope_NE[:, i + 1 :] -= part_NJ
    return loss / rows, slope_NE / rows


def _soft(rating_NE: Floats, scores_NE: Floats, weights_NE: Floats, temperature: float) -> tuple[float, Floats]:
    rows = len(rating_NE)
    seen_NE = weights_NE > 0
    wanted_NE = _softmax(np.where(seen_NE, scores_NE / temperature, -np.inf))
    log_NE = _log_softmax(np.where(seen_NE, rating_NE, -np.inf))
    weight_N1 = _row_weight(weights_NE)
    loss = -float((weight_N1 * wanted_NE * np.where(seen_NE, log_NE, 0.0)).sum())
    return loss / rows, weight_N1 * (np.exp(log_NE) - wanted_NE) / rows


def _contrast(rating_NE: Floats, scores_NE: Floats, weights_NE: Floats, temperature: float) -> tuple[float, Floats]:
    rows, experts = rating_NE.shape
    seen_NE = weights_NE > 0
    usual_E = (weights_NE * scores_NE).sum(axis=0) / np.maximum(weights_NE.sum(axis=0), 1e-12)
    known_NE = np.where(
        seen_NE, scores_NE + 1e-6 * usual_E, np.nan
    )  # of equal scores the better expert's is the better
    order_NE = np.argsort(-known_NE, axis=1, kind="stable")  # NaN sorts last
    worst_NE = np.zeros_like(seen_NE)
    last_NK = np.argsort(known_NE, axis=1, kind="stable")[:, :LAST]
    np.put_along_axis(worst_NE, last_NK, True, axis=1)
    worst_NE &= seen_NE & (scores_NE <= BAD)
    scaled_NE, weight_N = rating_NE / temperature, _row_weight(weights_NE)[:, 0]
    loss, slope_NE, row_N = 0.0, np.zeros_like(rating_NE), np.arange(rows)
    for place in range(min(TOP, experts)):
        best_N = order_NE[:, place]
        counts_N = weight_N * (seen_NE[row_N, best_N] & (scores_NE[row_N, best_N] > 0))
        entrants_NE = worst_NE.copy()
        entrants_NE[row_N, best_N] = True
        log_NE = _log_softmax(np.where(entrants_NE, scaled_NE, -np.inf))
        loss -= float(counts_N @ log_NE[row_N, best_N])
        part_NE = np.exp(log_NE)
        part_NE[row_N, best_N] -= 1.0
        slope_NE += counts_N[:, None] * part_NE
    return loss / rows, slope_NE / (rows * temperature)


def near_and_far(
    unit_NH: Floats, near_N: NDArray[np.intp], far_NM: NDArray[np.intp], temperature: float
) -> tuple[float, Floats]:
    """RouterDC's sample–sample loss: a query's unit vector nearer to one of its own group than to M of others.

    Returns the loss (mean over queries) and its gradient in the unit vectors, (N, H).
    """
    from scipy.sparse import csr_array

    rows = len(unit_NH)
    drawn_NM = np.concatenate([near_N[:, None], far_NM], axis=1)
    log_NM = _log_softmax(np.einsum("nh,nmh->nm", unit_NH, unit_NH[drawn_NM]) / temperature)
    part_NM = np.exp(log_NM)
    part_NM[:, 0] -= 1.0
    ends = np.arange(0, drawn_NM.size + 1, drawn_NM.shape[1])
    part_NN = csr_array((part_NM.ravel() / (rows * temperature), drawn_NM.ravel(), ends), shape=(rows, rows))
    return -float(log_NM[:, 0].mean()), np.asarray(part_NN @ unit_NH + part_NN.T @ unit_NH)


def _row_weight(weights_NE: Floats) -> Floats:
    """One weight per query: the mean over its observed experts, (N, 1)."""
    count_N1 = np.maximum((weights_NE > 0).sum(axis=1, keepdims=True), 1)
    return np.asarray(weights_NE.sum(axis=1, keepdims=True) / count_N1)


def sigmoid(x: Floats) -> Floats:
    """In this form it cannot overflow."""
    found = np.asarray(np.tanh(0.5 * x))
    found *= 0.5
    found += 0.5
    return found


def _softmax(x_NE: Floats) -> Floats:
    return np.exp(_log_softmax(x_NE))


def _log_softmax(x_NE: Floats) -> Floats:
    """Rows without any finite value give −inf."""
    top_N1 = x_NE.max(axis=1, keepdims=True)
    away_NE = x_NE - np.where(np.isfinite(top_N1), top_N1, 0.0)
    total_N1 = np.exp(away_NE).sum(axis=1, keepdims=True)
    return np.asarray(away_NE - np.log(np.maximum(total_N1, 1e-30)))

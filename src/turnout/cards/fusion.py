"""Scores of several matchers to one per expert: a conditional logit with weights of its own for experts that are new.

Source: McFadden, "Conditional logit analysis of qualitative choice behavior", 1974.
Shape letters: N texts, E experts, M matchers, G groups (0 known by utterances, 1 known by the card alone).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.features import Floats

PENALTY = 1e-3


class Fusion:
    """logit(n, e) = weights[g(e)] · standardised scores + bias[g(e)]. A NaN score adds nothing.

    The weights maximise the likelihood of the expert that each text belongs to, among all that stand for choice; as
    both groups stand for choice in the same texts, the newcomers' bias settles how often they win.
    """

    def __init__(self, weights_GM: Floats, bias_G: Floats, centre_M: Floats, scale_M: Floats) -> None:
        self.weights_GM, self.bias_G, self.centre_M, self.scale_M = weights_GM, bias_G, centre_M, scale_M

    @classmethod
    def even(cls, matchers: int) -> Fusion:
        """Every matcher counts alike, as it comes."""
        return cls(np.ones((2, matchers)), np.zeros(2), np.zeros(matchers), np.ones(matchers))

    @classmethod
    def fit(cls, scores_NEM: Floats, new_E: NDArray[np.bool_], expert_N: NDArray[np.integer[Any]]) -> Fusion:
        """Learn from texts whose expert is known and from experts some of which are new; experts count alike."""
        from scipy.optimize import minimize

        flat = scores_NEM.reshape(-1, scores_NEM.shape[2]).astype(np.float64)
        centre_M, scale_M = np.nanmean(flat, axis=0), np.nanstd(flat, axis=0) + 1e-9
        x_NEM = np.nan_to_num((scores_NEM - centre_M) / scale_M).astype(np.float32)
        weight_N = 1.0 / np.bincount(expert_N)[expert_N]
        weight_N /= weight_N.sum()
        group_E, matchers, rows = new_E.astype(np.int64), scores_NEM.shape[2], np.arange(len(expert_N))

        def loss(theta: Floats) -> tuple[float, Floats]:
            weights_GM, bias_G = theta[: 2 * matchers].reshape(2, matchers), theta[2 * matchers :]
            logit_NE = np.einsum("nem,em->ne", x_NEM, weights_GM[group_E].astype(np.float32)) + bias_G[group_E]
            logit_NE -= logit_NE.max(axis=1, keepdims=True)
            odds_NE = np.exp(logit_NE)
            odds_NE /= odds_NE.sum(axis=1, keepdims=True)
            nll = -weight_N @ np.log(odds_NE[rows, expert_N] + 1e-30)
            odds_NE[rows, expert_N] -= 1.0
            odds_NE *= weight_N[:, None]
            slope_EM = np.einsum("ne,nem->em", odds_NE, x_NEM)
            slope_E = odds_NE.sum(axis=0)
            slopes = [slope_EM[group_E == g].sum(axis=0) for g in (0, 1)]
            biases = [slope_E[group_E == g].sum() for g in (0, 1)]
            gradient = np.concatenate([*slopes, biases]) + 2 * PENALTY * theta
            return float(nll + PENALTY * theta @ theta), gradient

        start = np.concatenate([np.ones(2 * matchers), np.zeros(2)])
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x
        return cls(found[: 2 * matchers].reshape(2, matchers), found[2 * matchers :], centre_M, scale_M)

    def cede(
        self, scores_NEM: Floats, new_E: NDArray[np.bool_], expert_N: NDArray[np.integer[Any]], share: float
    ) -> None:
        """Set the newcomers' bias so that they take `share` of the texts that others get right without them."""
        logits_NE = self.logits(scores_NEM, new_E)
        old_N, new_N = (np.where(own, logits_NE, -np.inf).argmax(axis=1) for own in (~new_E, new_E))
        right = np.flatnonzero(old_N == expert_N)
        if len(right) and new_E.any():
            ahead = logits_NE[right, old_N[right]] - logits_NE[right, new_N[right]]
            self.bias_G = self.bias_G + np.array([0.0, np.quantile(ahead, share)])

    def logits(self, scores_NEM: Floats, new_E: NDArray[np.bool_]) -> Floats:
        """Shape (N, E)."""
        x_NEM = np.nan_to_num((scores_NEM - self.centre_M) / self.scale_M)
        group_E = new_E.astype(np.int64)
        return np.asarray(np.einsum("nem,em->ne", x_NEM, self.weights_GM[group_E]) + self.bias_G[group_E])

    def state(self) -> dict[str, Any]:
        """Arrays to save."""
        return {
            "weights_GM": self.weights_GM,
            "bias_G": self.bias_G,
            "centre_M": self.centre_M,
            "scale_M": self.scale_M,
        }

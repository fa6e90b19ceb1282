"""Gaussian classes with one covariance; an expert known by its card alone gets the mean that its card foretells."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number
from turnout.cards.matchers.base import Matcher
from turnout.features import FeatureMap, Floats

__all__ = ["Discriminant"]

RIDGES = tuple(float(value) for value in np.geomspace(0.03, 300.0, 13))
STRENGTH = 3.0  # utterances that the mean foretold by a card counts for, beside those that the card brings


class Discriminant(Matcher):
    """Linear discriminant analysis of embeddings: the log density of each expert's Gaussian, up to a common term.

    The mean utterance is predicted from the card's embedding by ridge regression over the experts that have
    utterances, its strength chosen by leaving one expert out. So an expert is added by its card, without refitting.

    Source: Fisher, 1936; mapping class descriptions to classifiers as in Akata et al., "Label-Embedding for
    Attribute-Based Classification", 2013. Limits: one covariance for all; the map needs a few dozen experts with
    utterances to say more than the card itself.
    """

    by_card = True
    rules: ClassVar = {"shrinkage": Number(0.0, 1.0)}

    def __init__(self, shrinkage: float = 0.2) -> None:
        self.shrinkage = shrinkage

    def _fit(self, cards: FeatureMap, texts: FeatureMap, expert_N: NDArray[np.int64]) -> None:
        x_ND, card_ED = np.asarray(texts["embedding"], np.float64), np.asarray(cards["embedding"], np.float64)
        count_E = np.bincount(expert_N, minlength=len(card_ED))
        seen_E = count_E > 0
        sum_ED = np.zeros((len(card_ED), x_ND.shape[1]))
        np.add.at(sum_ED, expert_N, x_ND)
        mean_ED = sum_ED / np.maximum(count_E, 1)[:, None]
        self._learn_map(card_ED[seen_E], mean_ED[seen_E])
        mean_ED[~seen_E] = self._foretold(card_ED[~seen_E])
        apart_ND = x_ND - mean_ED[expert_N]
        within_DD = apart_ND.T @ apart_ND / len(x_ND)
        even = np.trace(within_DD) / len(within_DD) + 1e-9
        shrunk_DD = (1.0 - self.shrinkage) * within_DD + (self.shrinkage + 1e-6) * even * np.eye(len(within_DD))
        self.precision_ = np.linalg.inv(shrunk_DD).astype(np.float32)
        self.mean_ = mean_ED.astype(np.float32)

    def _learn_map(self, card_KD: Floats, mean_KD: Floats) -> None:
        """Ridge regression in the dual; leave-one-out errors come from the diagonal of the hat matrix."""
        self.card_centre_, self.mean_centre_ = card_KD.mean(axis=0), mean_KD.mean(axis=0)
        x_KD, y_KD = card_KD - self.card_centre_, mean_KD - self.mean_centre_
        gram_KK = x_KD @ x_KD.T
        best = (np.inf, np.zeros((x_KD.shape[1], y_KD.shape[1])))
        for ridge in RIDGES:
            inverse_KK = np.linalg.inv(gram_KK + ridge * np.eye(len(gram_KK)))
            dual_KD = inverse_KK @ y_KD
            error = float(((dual_KD / np.diag(inverse_KK)[:, None]) ** 2).sum())
            if error < best[0]:
                best = (error, x_KD.T @ dual_KD)
        self.map_ = best[1]

    def _foretold(self, card_ED: Floats) -> Floats:
        return np.asarray(self.mean_centre_ + (card_ED - self.card_centre_) @ self.map_)

    def _score(self, texts: FeatureMap) -> Floats:
        weights_DE = self.precision_ @ self.mean_.T
        bias_E = -0.5 * np.einsum("ed,de->e", self.mean_, weights_DE)
        return np.asarray(np.asarray(texts["embedding"]) @ weights_DE + bias_E)

    def distances(self, texts: FeatureMap) -> Floats:
        """Squared Mahalanobis distance of each text to the nearest mean, shape (N,)."""
        x_ND = np.asarray(texts["embedding"])
        return np.asarray(((x_ND @ self.precision_) * x_ND).sum(axis=1) - 2.0 * self._score(texts).max(axis=1))

    def _add(self, card: FeatureMap, examples: FeatureMap | None) -> None:
        mean_D = self._foretold(np.asarray(card["embedding"], np.float64))[0]
        if examples is not None and len(examples["embedding"]):
            rows = np.asarray(examples["embedding"], np.float64)
            mean_D = (STRENGTH * mean_D + rows.sum(axis=0)) / (STRENGTH + len(rows))
        self.mean_ = np.concatenate([self.mean_, mean_D[None].astype(np.float32)])

    def _remove(self, expert: int) -> None:
        self.mean_ = np.delete(self.mean_, expert, axis=0)

"""What ridge and logistic regression share: learned arrays, prediction on raw features, experts in and out.

Shape letters: N queries, E experts, D dense columns (no constant), S sparse columns, K principal directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from turnout.base import Number, Rule
from turnout.estimators._linear import (
    KEPT,
    PENALTIES,
    Design,
    Scaling,
    Spectrum,
    Weights,
    even_weights,
    leave_one_out,
    side_by_side,
)
from turnout.estimators._rules import Names
from turnout.estimators.base import Estimator, weighted_mean
from turnout.features import FeatureMap, Floats, Sparse


class LinearModel(Estimator):
    """A linear predictor per expert. Subclasses learn the weights (`_learn`) and give `_predict` and `_level`."""

    rules: ClassVar[dict[str, Rule]] = {
        "on": Names(),
        "penalty": Number(1e-6, 1e9, optional=True),
        "seed": Number(0, integer=True),
    }

    def __init__(
        self, on: tuple[str, ...] = ("embedding", "format"), penalty: float | None = None, seed: int = 0
    ) -> None:
        self.on, self.penalty, self.seed = on, penalty, seed

    @property
    def signals(self) -> tuple[str, ...]:
        return tuple(self.on)

    def _learn(
        self, design: Design, spectrum: Spectrum, scores_NE: Floats, weights_NE: Floats, center_E: Floats
    ) -> Weights:
        """Weights on the scaled columns; scores without weight are filled with `center_E`."""
        raise NotImplementedError

    def _level(self, center_E: Floats) -> Floats:
        """The predictor that means `center_E`."""
        raise NotImplementedError

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        design = Design(features, self.signals)
        spectrum = Spectrum.of(design)
        self.scale_, self.factor_D_, self.mean_D_ = design.scaling.factor, design.factor_D, design.scaling.mean_D
        self.basis_DK_ = spectrum.basis_DD[:, :KEPT].astype(np.float32)
        self.value_K_ = spectrum.value_D[:KEPT] / len(design)
        self.tail_ = float(spectrum.value_D[KEPT:].mean() / len(design)) if len(spectrum.value_D) > KEPT else 0.0
        self.diagonal_ = _split(design, (spectrum.diagonal_S / len(design)).astype(np.float32))
        choices = PENALTIES if self.penalty is None else (float(self.penalty),)
        self.penalty_, variance_E = leave_one_out(design, scores_NE, weights_NE, choices, self.seed)
        weights, center_E, size_E = self._columns(design, spectrum, scores_NE, weights_NE)
        dense_DE, intercept_E = self._on_raw(design, weights, center_E)
        self.intercept_E_, self.dense_DE_, self.sparse_ = intercept_E, dense_DE, _raw(design, weights)
        self.variance_E_, self.size_E_ = variance_E, size_E

    def _columns(
        self, design: Design, spectrum: Spectrum, scores_NE: Floats, weights_NE: Floats
    ) -> tuple[Weights, Floats, Floats]:
        """Weights on scaled columns, mean score, effective number of queries."""
        even_NE = even_weights(weights_NE)
        center_E, _ = weighted_mean(scores_NE, weights_NE)
        filled_NE = np.where(weights_NE > 0, scores_NE, center_E)
        return self._learn(design, spectrum, filled_NE, even_NE, center_E), center_E, even_NE.sum(axis=0)

    def _on_raw(self, design: Design, weights: Weights, center_E: Floats) -> tuple[Floats, Floats]:
        """Dense weights for unscaled, uncentred columns, and the intercept that goes with them."""
        dense_DE = weights.dense_DE[1:] * design.factor_D[:, None]
        intercept_E = self._level(center_E) + weights.dense_DE[0] - design.scaling.mean_D @ dense_DE
        return dense_DE.astype(np.float32), intercept_E

    def _linear(self, features: FeatureMap) -> tuple[Floats, Floats]:
        """The linear predictor and its leverage, both (N, E)."""
        rows = len(features[self.on[0]])
        x_ND = side_by_side(features, [name for name in self.on if name not in self.sparse_], rows)
        predictor_NE = self.intercept_E_ + x_ND @ self.dense_DE_
        for name, weights_SE in self.sparse_.items():
            predictor_NE += features[name] @ weights_SE
        return predictor_NE, self._leverage(features, x_ND)

    def _leverage(self, features: FeatureMap, x_ND: Floats) -> Floats:
        """`x (X'X + penalty)^-1 x`: exact along the first K directions, at the mean variance of the rest beyond."""
        inverse = self._inverse()
        scaled_ND = (x_ND - self.mean_D_) * self.factor_D_
        along_NK = (scaled_ND @ self.basis_DK_[1:] + self.basis_DK_[0]) ** 2
        beyond_N = np.maximum(1.0 + np.einsum("nd,nd->n", scaled_ND, scaled_ND) - along_NK.sum(axis=1), 0.0)
        out_NE = along_NK @ inverse["K"] + beyond_N[:, None] * inverse["tail"]
        for name in self.sparse_:
            block = features[name]
            assert isinstance(block, Sparse)
            squared = Sparse(block.indptr, block.indices, block.data**2, block.columns)
            out_NE += squared @ inverse[name]
        return np.asarray(out_NE)

    def _inverse(self) -> dict[str, Floats]:
        cached: dict[str, Floats] | None = self.__dict__.get("_inverse_cache")
        if cached is None or cached["size"] is not self.size_E_:
            cached = {name: self._inverted(g_S) * self.scale_[name] ** 2 for name, g_S in self.diagonal_.items()}
            cached |= {"K": self._inverted(self.value_K_), "tail": self._inverted(np.array([self.tail_]))}
            cached["size"] = self.size_E_
            self._inverse_cache = cached
        return cached

    def _inverted(self, variance_K: Floats) -> Floats:
        return (1.0 / (variance_K[:, None] * self.size_E_ + self.penalty_)).astype(np.float32)

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        design = Design(features, self.signals, Scaling(self.scale_, self.mean_D_))
        scores_N1, weights_N1 = scores_N[:, None], np.isfinite(scores_N[:, None]).astype(float)
        _, variance_1 = leave_one_out(design, scores_N1, weights_N1, (self.penalty_,), self.seed)
        weights, center_1, size_1 = self._columns(design, Spectrum.of(design), scores_N1, weights_N1)
        dense_D1, intercept_1 = self._on_raw(design, weights, center_1)
        added = _raw(design, weights)
        self.sparse_ = {name: np.hstack([w_SE, added[name]]) for name, w_SE in self.sparse_.items()}
        self.dense_DE_ = np.hstack([self.dense_DE_, dense_D1])
        self.intercept_E_ = np.append(self.intercept_E_, intercept_1)
        self.variance_E_, self.size_E_ = np.append(self.variance_E_, variance_1), np.append(self.size_E_, size_1)

    def _remove_expert(self, column: int) -> None:
        self.sparse_ = {name: np.delete(w_SE, column, 1) for name, w_SE in self.sparse_.items()}
        self.dense_DE_ = np.delete(self.dense_DE_, column, 1)
        self.intercept_E_ = np.delete(self.intercept_E_, column)
        self.variance_E_, self.size_E_ = np.delete(self.variance_E_, column), np.delete(self.size_E_, column)


def _split(design: Design, values_SE: Floats) -> dict[str, Floats]:
    """Rows of all scaled sparse columns, per signal."""
    ends = np.cumsum([0, *(design.width[name] for name in design.sparse)])
    return {n: values_SE[a:b].astype(np.float32) for n, a, b in zip(design.sparse, ends[:-1], ends[1:], strict=True)}


def _raw(design: Design, weights: Weights) -> dict[str, Floats]:
    """Sparse weights for unscaled columns, per signal."""
    return {
        name: w_SE * np.float32(design.scaling.factor[name]) for name, w_SE in _split(design, weights.sparse_SE).items()
    }

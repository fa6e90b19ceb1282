"""What ridge and logistic regression share: learned arrays, prediction on raw features, experts in and out.

Shape letters: N queries, E experts, D dense columns (no constant), S sparse columns, K principal directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, Rule
from turnout.errors import ParameterError
from turnout.estimators._jointly import Jointly, Part
from turnout.estimators._linear import (
    KEPT,
    PENALTIES,
    Design,
    Scaling,
    Spectrum,
    Weights,
    even_weights,
    leave_one_out,
)
from turnout.estimators._rules import Names, Several
from turnout.estimators.base import Estimator, weighted_mean
from turnout.features import FeatureMap, Floats


class LinearModel(Estimator):
    """A linear predictor per expert. Subclasses learn the weights (`_learn`) and give `_predict` and `_level`.

    `fewer` names subsets of the signals `on`: a model is fitted on each too, with a penalty of its own, and the mean of
    all linear predictors counts. That is one linear predictor again, so it costs time in fitting alone; the standard
    error stays that of the model on all signals.
    """

    fewer_: tuple[LinearModel, ...] = ()
    place_: tuple[NDArray[np.intp], ...] = ()  # where their dense columns stand among this model's
    rules: ClassVar[dict[str, Rule]] = {
        "on": Names(),
        "penalty": Number(1e-6, 1e9, optional=True),
        "seed": Number(0, integer=True),
        "fewer": Several(Names()),
    }

    def __init__(
        self,
        on: tuple[str, ...] = ("embedding", "format"),
        penalty: float | None = None,
        seed: int = 0,
        fewer: tuple[tuple[str, ...], ...] = (),
    ) -> None:
        self.on, self.penalty, self.seed, self.fewer = on, penalty, seed, fewer

    @property
    def signals(self) -> tuple[str, ...]:
        return tuple(self.on)

    @property
    def models(self) -> int:
        return 1 + len(self.fewer)

    def check(self) -> None:
        """Raise ParameterError for the first parameter that breaks its rule, and for `fewer` that is not in `on`."""
        super().check()
        for names in self.fewer:
            if not set(names) <= set(self.on):
                raise ParameterError(f"{type(self).__name__}: `fewer` must be parts of {self.on!r}, got {names!r}")

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
        if not self.fewer:
            return
        self.fewer_ = tuple(self.clone(on=tuple(names), fewer=()) for names in self.fewer)
        self.place_ = tuple(_columns_of(names, design) for names in self.fewer)
        for model in self.fewer_:
            model._fit(features, scores_NE, weights_NE, tasks)

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

    def link(self, predictor: Floats) -> Floats:
        """The mean that a linear predictor stands for."""
        raise NotImplementedError

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        predictor_N1E, se_N1E = asked(self, (self,), features).linear(features)
        return self.link(predictor_N1E[:, 0].astype(np.float64)), se_N1E[:, 0].astype(np.float64)

    def chances(self, features: FeatureMap) -> Floats:
        """What `predict` gives as means, (N, E), without the time that standard errors take."""
        return self.link(asked(self, (self,), features).predictor(features)[:, 0].astype(np.float64))

    def _mixed(self) -> tuple[Floats, Floats, dict[str, Floats]]:
        """Intercept, dense and sparse weights: the mean over this model and those on fewer signals."""
        if not self.fewer_:
            return self.intercept_E_, self.dense_DE_, self.sparse_
        intercept_E, dense_DE, sparse = self.intercept_E_.copy(), self.dense_DE_.copy(), dict(self.sparse_)
        for model, place_D in zip(self.fewer_, self.place_, strict=True):
            intercept_E += model.intercept_E_
            dense_DE[place_D] += model.dense_DE_
            sparse |= {name: sparse[name] + weights_SE for name, weights_SE in model.sparse_.items()}
        count = np.float32(1 + len(self.fewer_))
        return intercept_E / count, dense_DE / count, {name: w_SE / count for name, w_SE in sparse.items()}

    def part(self) -> Part:
        """What this model brings where several are asked together.

        The leverage `x (X'X + penalty)^-1 x` is exact along the first K principal directions, and at the mean variance
        of the others beyond them.
        """
        level_E, dense_DE, weights_SE = self._mixed()
        size_E = self.size_E_[:1] if np.ptp(self.size_E_) == 0 else self.size_E_  # then one leverage serves all

        def inverted(variance_K: Floats) -> Floats:
            return (1.0 / (variance_K[:, None] * size_E + self.penalty_)).astype(np.float32)

        tail_1V = inverted(np.array([self.tail_])) * (len(self.basis_DK_) > KEPT)  # 0 where every direction is kept
        return Part(
            dense=tuple(name for name in self.on if name not in self.sparse_),
            mean_D=self.mean_D_,
            weights_DE=dense_DE,
            level_E=level_E + self.mean_D_ @ dense_DE,
            turned_DK=np.pad(self.basis_DK_[1:] * self.factor_D_[:, None], ((0, 0), (0, 1))),
            shift_K=np.append(self.basis_DK_[0], 1.0),
            inverse_KV=np.concatenate([inverted(self.value_K_) - tail_1V, tail_1V]),
            inverse_DV=(self.factor_D_**2)[:, None] * tail_1V,
            noise_E=self.variance_E_,
            sparse={
                name: (w_SE, inverted(self.diagonal_[name]) * np.float32(self.scale_[name] ** 2))
                for name, w_SE in weights_SE.items()
            },
        )

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        for model in self.fewer_:
            model._add_expert(features, scores_N)
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
        for model in self.fewer_:
            model._remove_expert(column)
        self.sparse_ = {name: np.delete(w_SE, column, 1) for name, w_SE in self.sparse_.items()}
        self.dense_DE_ = np.delete(self.dense_DE_, column, 1)
        self.intercept_E_ = np.delete(self.intercept_E_, column)
        self.variance_E_, self.size_E_ = np.delete(self.variance_E_, column), np.delete(self.size_E_, column)


def asked(holder: Estimator, models: Sequence[LinearModel], features: FeatureMap) -> Jointly:
    """Models fitted on the same queries, arranged for one product per block.

    Derived once per set of experts, kept by the estimator that asks, and never saved.
    """
    source = [model.size_E_ for model in models]
    cached: tuple[list[Floats], Jointly] | None = holder.__dict__.get("_cache")
    if cached is None or not all(map(is_, cached[0], source)):
        cached = holder.__dict__["_cache"] = source, Jointly.of([model.part() for model in models], features)
    return cached[1]


def _split(design: Design, values_SE: Floats) -> dict[str, Floats]:
    """Rows of all scaled sparse columns, per signal."""
    ends = np.cumsum([0, *(design.width[name] for name in design.sparse)])
    return {n: values_SE[a:b].astype(np.float32) for n, a, b in zip(design.sparse, ends[:-1], ends[1:], strict=True)}


def _columns_of(names: Sequence[str], design: Design) -> NDArray[np.intp]:
    """Where the dense columns of the named signals stand among the design's (no constant)."""
    ends = np.cumsum([0, *(design.width[name] for name in design.dense)])
    spans = {n: np.arange(a, b) for n, a, b in zip(design.dense, ends[:-1], ends[1:], strict=True)}
    return np.concatenate([np.zeros(0, np.intp), *(spans[name] for name in names if name in spans)])


def _raw(design: Design, weights: Weights) -> dict[str, Floats]:
    """Sparse weights for unscaled columns, per signal."""
    return {
        name: w_SE * np.float32(design.scaling.factor[name]) for name, w_SE in _split(design, weights.sparse_SE).items()
    }

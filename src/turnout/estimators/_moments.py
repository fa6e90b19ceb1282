"""Ridge regression from sums over rows, so that a log's features need never be held whole.

Sums over chunks, over folds or over machines are added up; the model is the one that `Ridge.fit` finds on all rows,
to rounding. Shape letters: N rows of a chunk, M rows of the penalty's sample, E experts, D dense columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from turnout.errors import ConfigError
from turnout.estimators._linear import KEPT, PENALTIES, Design, Scaling, press, side_by_side
from turnout.estimators.base import Estimator
from turnout.estimators.ridge import Ridge
from turnout.features import FeatureMap, Floats, Sparse


@dataclass(frozen=True)
class Moments:
    """Sums over rows of [1 x]'[1 x], shape (1 + D, 1 + D), and [1 x]'y, shape (1 + D, E), in float64."""

    rows: int
    gram_DD: Floats
    cross_DE: Floats

    @classmethod
    def of(cls, x_ND: Floats, score_NE: Floats) -> Moments:
        """Those of one chunk; every score must be known."""
        one_ND = np.column_stack([np.ones(len(x_ND)), x_ND.astype(np.float64)])
        return cls(len(x_ND), one_ND.T @ one_ND, one_ND.T @ score_NE)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.rows + other.rows, self.gram_DD + other.gram_DD, self.cross_DE + other.cross_DE)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.rows - other.rows, self.gram_DD - other.gram_DD, self.cross_DE - other.cross_DE)


def check(estimator: Estimator, features: FeatureMap) -> Ridge:
    """The estimator, if it can be learned from sums: ridge on dense signals. Raises ConfigError."""
    if not isinstance(estimator, Ridge) or estimator.fewer:
        raise ConfigError(f"by chunks only `ridge` without `fewer` can be fitted, got {estimator!r}")
    sparse = [name for name in estimator.signals if isinstance(features[name], Sparse)]
    if sparse:
        raise ConfigError(f"by chunks only dense signals can be read, and {sparse[0]!r} is sparse")
    return estimator


def learned(
    estimator: Ridge, widths: Mapping[str, int], moments: Moments, sample: FeatureMap, score_ME: Floats
) -> Ridge:
    """A fitted copy. `sample` are the features of the rows that choose the penalty, `score_ME` their scores."""
    made, names = estimator.clone(), estimator.signals
    scaling, factor_D = _scaling(names, widths, moments)
    turn_DD = np.zeros_like(moments.gram_DD)  # from [1 x] to the scaled columns
    turn_DD[0, 0] = 1.0
    turn_DD[0, 1:] = -scaling.mean_D * factor_D
    turn_DD[np.arange(1, len(turn_DD)), np.arange(1, len(turn_DD))] = factor_D
    value_D, basis_DD = np.linalg.eigh(turn_DD.T @ moments.gram_DD @ turn_DD)
    value_D, basis_DD = np.maximum(value_D[::-1], 0.0), basis_DD[:, ::-1]
    made.scale_, made.factor_D_, made.mean_D_ = scaling.factor, factor_D, scaling.mean_D
    made.basis_DK_ = basis_DD[:, :KEPT].astype(np.float32)
    made.value_K_ = value_D[:KEPT] / moments.rows
    made.tail_ = float(value_D[KEPT:].mean() / moments.rows) if len(value_D) > KEPT else 0.0
    made.diagonal_, made.sparse_ = {}, {}
    choices = PENALTIES if made.penalty is None else (float(made.penalty),)
    design = Design(sample, names, scaling)
    made.penalty_, made.variance_E_ = press(
        design, np.arange(len(score_ME)), score_ME, np.ones(score_ME.shape), choices
    )
    center_E = moments.cross_DE[0] / moments.rows
    target_DE = turn_DD.T @ (moments.cross_DE - moments.gram_DD[:, :1] * center_E)
    weight_DE = basis_DD @ ((basis_DD.T @ target_DE) / (value_D[:, None] + made.penalty_))
    dense_DE = weight_DE[1:] * factor_D[:, None]
    made.dense_DE_ = dense_DE.astype(np.float32)
    made.intercept_E_ = center_E + weight_DE[0] - scaling.mean_D @ dense_DE
    made.size_E_ = np.full(len(center_E), float(moments.rows))
    return made


def columns(features: FeatureMap, names: Sequence[str]) -> Floats:
    """The dense signals side by side."""
    return side_by_side(features, names, len(features[names[0]]))


def _scaling(names: Sequence[str], widths: Mapping[str, int], moments: Moments) -> tuple[Scaling, Floats]:
    mean_D = moments.gram_DD[0, 1:] / moments.rows
    variance_D = np.diagonal(moments.gram_DD)[1:] / moments.rows - mean_D**2
    ends = np.cumsum([0, *(widths[name] for name in names)])
    size = {name: float(variance_D[a:b].sum()) for name, a, b in zip(names, ends[:-1], ends[1:], strict=True)}
    factor = {name: s**-0.5 if s > 1e-12 else 0.0 for name, s in size.items()}
    return Scaling(factor, mean_D), np.repeat([factor[n] for n in names], [widths[n] for n in names])

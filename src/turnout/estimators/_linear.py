"""Linear models over several signals at once: the design, the solver, and the leverage behind the standard error.

Every signal's block is scaled to unit mean squared row norm, so that one penalty suits them all; dense columns are
centred first, and a constant column leads. Shape letters: N queries, E experts, D dense columns with the constant,
S sparse columns of all sparse signals, K kept principal directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.estimators._contenders import choose_by_contenders
from turnout.features import FeatureMap, Floats, Sparse

PENALTIES = tuple(float(a) for a in np.geomspace(0.1, 1000.0, 13))
SAMPLE = 1000  # rows on which the penalty is chosen; a kernel of this size is decomposed in about a third of a second
FEWEST = 50  # rows of every pattern of observation that the sample keeps
ITERATIONS, TOLERANCE = 80, 1e-3  # of the residual; what is left is far below the noise of the scores
KEPT = 64  # directions with a leverage of their own; the rest share their mean variance


@dataclass(frozen=True, slots=True)
class Scaling:
    """What was learned about the blocks: a factor per signal, and the mean of the dense columns (no constant)."""

    factor: dict[str, float]
    mean_D: Floats


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights on scaled columns: dense (D, E) with the constant first, and sparse (S, E)."""

    dense_DE: Floats
    sparse_SE: Floats


class Design:
    """The scaled blocks of N queries, for fitting. `scaling` given: the blocks are those of an earlier fit."""

    def __init__(self, features: FeatureMap, names: Sequence[str], scaling: Scaling | None = None) -> None:
        from scipy.sparse import csr_array, hstack

        self.dense = tuple(name for name in names if not isinstance(features[name], Sparse))
        self.sparse = tuple(name for name in names if isinstance(features[name], Sparse))
        self.width = {name: features[name].shape[1] for name in names}
        rows = len(features[names[0]])
        raw_ND = side_by_side(features, self.dense, rows).astype(np.float64)
        self.scaling = _scaling(features, self.dense, self.sparse, raw_ND) if scaling is None else scaling
        self.factor_D = np.repeat([self.scaling.factor[n] for n in self.dense], [self.width[n] for n in self.dense])
        self.x_ND = np.column_stack([np.ones(rows), (raw_ND - self.scaling.mean_D) * self.factor_D])
        self.fast_ND = self.x_ND.astype(np.float32)  # the solver needs no more than its tolerance
        blocks = [_csr(features[name], self.scaling.factor[name]) for name in self.sparse]
        self.s_NS: Any = hstack(blocks, format="csr") if blocks else csr_array((rows, 0), dtype=np.float32)
        self.t_SN: Any = self.s_NS.T.tocsr()

    def __len__(self) -> int:
        return len(self.x_ND)

    def kernel(self, rows_N: NDArray[np.intp]) -> Floats:
        """Inner products between the chosen rows."""
        s_NS = self.s_NS[rows_N]
        return np.asarray(self.x_ND[rows_N] @ self.x_ND[rows_N].T + (s_NS @ s_NS.T).toarray())

    def forward(self, weights: Weights) -> Floats:
        """The linear predictor, shape (N, E)."""
        dense_NE = self.fast_ND @ weights.dense_DE.astype(np.float32)
        return np.asarray(dense_NE + self.s_NS @ weights.sparse_SE.astype(np.float32), dtype=np.float64)

    def adjoint(self, values_NE: Floats) -> Weights:
        """The transposed map."""
        values_NE = values_NE.astype(np.float32)
        return Weights(*(part.astype(np.float64) for part in (self.fast_ND.T @ values_NE, self.t_SN @ values_NE)))


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The Gram matrix of the dense block, decomposed, and the diagonal of the sparse one."""

    basis_DD: Floats
    value_D: Floats
    diagonal_S: Floats

    @classmethod
    def of(cls, design: Design) -> Spectrum:
        value_D, basis_DD = np.linalg.eigh(design.x_ND.T @ design.x_ND)
        diagonal_S = np.asarray(design.s_NS.multiply(design.s_NS).sum(axis=0)).ravel()
        return cls(basis_DD[:, ::-1], np.maximum(value_D[::-1], 0.0), diagonal_S)


def solve(
    design: Design,
    spectrum: Spectrum,
    targets_NE: Floats,
    weights_NE: Floats,
    penalty: float,
    *,
    start: Weights | None = None,
    tolerance: float = TOLERANCE,
) -> Weights:
    """Weighted ridge regression for every expert at once, by preconditioned conjugate gradients.

    The preconditioner inverts the dense block exactly where every query was observed, so such a problem takes one
    step; missing scores and sparse columns take some more. Targets without weight must be finite.
    """
    fraction_E = weights_NE.sum(axis=0) / len(design)
    inverse_DE = 1.0 / (fraction_E * spectrum.value_D[:, None] + penalty)
    inverse_SE = 1.0 / (fraction_E * spectrum.diagonal_S[:, None] + penalty)

    def condition(r: Weights) -> Weights:
        return Weights(spectrum.basis_DD @ (inverse_DE * (spectrum.basis_DD.T @ r.dense_DE)), inverse_SE * r.sparse_SE)

    def apply(w: Weights) -> Weights:
        back = design.adjoint(weights_NE * design.forward(w))
        return Weights(back.dense_DE + penalty * w.dense_DE, back.sparse_SE + penalty * w.sparse_SE)

    target = design.adjoint(weights_NE * targets_NE)
    found = start or Weights(np.zeros_like(target.dense_DE), np.zeros_like(target.sparse_SE))
    left = _add(target, apply(found), -1.0) if start else target
    limit_E = tolerance**2 * np.maximum(_dot(target, condition(target)), 1e-30)
    step = condition(left)
    size_E = _dot(left, step)
    for _ in range(ITERATIONS):
        if (size_E <= limit_E).all():
            break
        image = apply(step)
        rate_E = size_E / np.maximum(_dot(step, image), 1e-300)
        found, left = _add(found, step, rate_E), _add(left, image, -rate_E)
        fresh = condition(left)
        size_E, before_E = _dot(left, fresh), size_E
        step = _add(fresh, step, size_E / np.maximum(before_E, 1e-300))
    return found


def leave_one_out(
    design: Design, scores_NE: Floats, weights_NE: Floats, penalties: Sequence[float], seed: int
) -> tuple[float, Floats]:
    """The penalty that tells contenders apart best, left-out queries judging, and its squared error per expert (E,).

    Closed form on the kernel of a sample of rows (Allen's PRESS); the best penalty is noise over signal variance,
    which does not depend on the number of rows. Experts observed on the same rows share one decomposition.
    """
    rows_N = sample_rows(np.unique(weights_NE > 0, axis=1), seed)
    return press(design, rows_N, scores_NE[rows_N], weights_NE[rows_N], penalties)


def press(
    design: Design, rows_N: NDArray[np.intp], scores_NE: Floats, weights_NE: Floats, penalties: Sequence[float]
) -> tuple[float, Floats]:
    """`leave_one_out` on the design's rows `rows_N`, whose scores and weights are given."""
    patterns_NG, group_E = np.unique(weights_NE > 0, axis=1, return_inverse=True)
    guess_PNE = np.zeros((len(penalties), *scores_NE.shape))
    for group, seen_N in enumerate(patterns_NG.T):
        cell = np.ix_(np.flatnonzero(seen_N), np.flatnonzero(group_E == group))
        kernel_MM = design.kernel(rows_N[seen_N])
        guess_PNE[:, cell[0], cell[1]] = _press(kernel_MM, scores_NE[cell], weights_NE[cell], penalties)
    best = choose_by_contenders(list(guess_PNE), scores_NE, weights_NE)
    left_NE = np.where(weights_NE > 0, scores_NE, 0.0) - guess_PNE[best]
    error_E = (weights_NE * left_NE**2).sum(axis=0) / weights_NE.sum(axis=0)
    return float(penalties[best]), np.maximum(error_E, 1e-6)


def sample_rows(patterns_NG: NDArray[np.bool_], seed: int) -> NDArray[np.intp]:
    """Rows such that no decomposition is too large; every expert keeps some (the first rows of each pattern)."""
    limit = SAMPLE if patterns_NG.shape[1] == 1 else SAMPLE // 2
    rows, largest = len(patterns_NG), int(patterns_NG.sum(axis=0).max())
    if largest <= limit:
        return np.arange(rows)
    taken_N = np.zeros(rows, dtype=bool)
    taken_N[np.random.default_rng(seed).permutation(rows)[: rows * limit // largest]] = True
    for seen_N in patterns_NG.T:
        taken_N[np.flatnonzero(seen_N)[:FEWEST]] = True
    return np.flatnonzero(taken_N)


def _press(kernel_NN: Floats, scores_NE: Floats, weights_NE: Floats, penalties: Sequence[float]) -> Floats:
    """Leave-one-out predictions for every penalty, shape (P, N, E)."""
    center_E = (weights_NE * scores_NE).sum(axis=0) / weights_NE.sum(axis=0)
    value_N, basis_NN = np.linalg.eigh(kernel_NN)
    turned_NE = basis_NN.T @ (scores_NE - center_E)
    guesses = []
    for penalty in penalties:
        inverse_N = 1.0 / (np.maximum(value_N, 0.0) + penalty)
        left_NE = (basis_NN @ (inverse_N[:, None] * turned_NE)) / (basis_NN**2 @ inverse_N)[:, None]
        guesses.append(scores_NE - left_NE)
    return np.stack(guesses)


def even_weights(weights_NE: Floats) -> Floats:
    """Weights per expert that sum to the effective sample size, so that 1 / propensity does not dwarf the penalty."""
    return np.asarray(weights_NE * weights_NE.sum(axis=0) / np.maximum((weights_NE**2).sum(axis=0), 1e-12))


def side_by_side(features: FeatureMap, names: Sequence[str], rows: int) -> Floats:
    """The dense signals' columns in one (N, D) float32 array."""
    if len(names) == 1:
        return np.asarray(features[names[0]], dtype=np.float32)
    blocks = [features[name] for name in names]
    return np.concatenate(blocks, axis=1, dtype=np.float32) if blocks else np.zeros((rows, 0), np.float32)  # type: ignore[arg-type]


def _scaling(features: FeatureMap, dense: Sequence[str], sparse: Sequence[str], raw_ND: Floats) -> Scaling:
    mean_D = raw_ND.mean(axis=0)
    variance_D = ((raw_ND - mean_D) ** 2).mean(axis=0)
    ends = np.cumsum([0, *(features[name].shape[1] for name in dense)])
    size = {name: float(variance_D[a:b].sum()) for name, a, b in zip(dense, ends[:-1], ends[1:], strict=True)}
    for name in sparse:
        block = features[name]
        if isinstance(block, Sparse):
            size[name] = float((block.data.astype(np.float64) ** 2).sum()) / max(len(block), 1)
    return Scaling({name: s**-0.5 if s > 1e-12 else 0.0 for name, s in size.items()}, mean_D)


def _csr(block: Any, factor: float) -> Any:
    from scipy.sparse import csr_array

    return csr_array((block.data * np.float32(factor), block.indices, block.indptr), shape=block.shape)


def _add(a: Weights, b: Weights, rate: Floats | float) -> Weights:
    return Weights(a.dense_DE + rate * b.dense_DE, a.sparse_SE + rate * b.sparse_SE)


def _dot(a: Weights, b: Weights) -> Floats:
    return np.asarray((a.dense_DE * b.dense_DE).sum(axis=0) + (a.sparse_SE * b.sparse_SE).sum(axis=0))

"""Linear bandits' arms, fitted at once from a log or one reward at a time: the same (A, b) whatever the exploration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, OneOf, Rule
from turnout.estimators._cells import dense, nearest
from turnout.estimators._linear import even_weights
from turnout.estimators._rules import Several
from turnout.estimators.base import Estimator, weighted_mean
from turnout.features import FeatureMap, Floats

__all__ = ["LinearArms"]

ROUNDS = 25


class LinearArms(Estimator):
    """Per expert A = ridge·I + Σ w·x xᵀ and b = Σ w·r·x over a context of groups; the estimate is xᵀ A⁻¹ b.

    The context x is GreenServ's: one column per task (the nearest centroid of `signal` among the tasks' names, where
    `tasks` and the log has them), one per cluster of `signal` by cosine, and one per bin of `reading`, cut at `cuts`.
    Rewards are centred by the expert's mean, so that an empty context predicts it.

    `explore` is how `scores` trades learning for earning, with `amount` as its one parameter: `ucb` adds
    amount · √(xᵀA⁻¹x) (LinUCB, Li et al., WWW 2010), `thompson` draws θ from N(A⁻¹b, amount² A⁻¹) (Agrawal and Goyal,
    ICML 2013), `greedy` draws a uniform expert with probability `amount`. `learn` takes one reward in.

    Limits: groups are made at `fit` and stay; with few rewards per arm the tasks' columns do most of the work.

    >>> x_ND, scores_NE = np.array([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]]), np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    >>> features = {"x": x_ND, "r": np.zeros((4, 1))}
    >>> arms = LinearArms("x", reading="r", clusters=2).fit(features, scores_NE)
    >>> arms.predict(features)[0].argmax(axis=1).tolist()
    [0, 0, 1, 1]
    """

    rules: ClassVar[dict[str, Rule]] = {
        "clusters": Number(0, 4096, integer=True),
        "tasks": OneOf((True, False)),
        "cuts": Several(Number()),
        "ridge": Number(1e-9, 1e9),
        "explore": OneOf(("ucb", "thompson", "greedy")),
        "amount": Number(0.0),
        "seed": Number(0, 2**32 - 1, integer=True),
    }

    def __init__(
        self,
        signal: str = "embedding",
        *,
        reading: str = "readability",
        clusters: int = 3,
        tasks: bool = True,
        cuts: tuple[float, ...] = (0.0, 0.33, 0.67),
        ridge: float = 0.05,
        explore: str = "ucb",
        amount: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.signal, self.reading, self.clusters, self.tasks = signal, reading, clusters, tasks
        self.cuts, self.ridge, self.explore, self.amount, self.seed = cuts, ridge, explore, amount, seed

    @property
    def signals(self) -> tuple[str, ...]:
        return (self.signal, self.reading)

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        self._group(features, tasks)
        x_ND = self.context(features)
        parts = [
            _arm(x_ND, scores_NE[:, e], even_weights(weights_NE)[:, e], self.ridge) for e in range(scores_NE.shape[1])
        ]
        self._keep(parts)

    def _group(self, features: FeatureMap, tasks: Sequence[str] | None) -> None:
        """Centroids of the tasks and clusters, and the bins' edges: what turns a query into a context."""
        rows_ND = _unit(dense(features[self.signal], self.signal))
        names = np.asarray(tasks if tasks is not None and self.tasks else [], dtype=str)
        self.tasks_ = tuple(sorted(set(names.tolist())))
        self.task_TD_ = _unit(
            np.array([rows_ND[names == name].mean(axis=0) for name in self.tasks_]).reshape(-1, rows_ND.shape[1])
        )
        self.cluster_KD_ = _clusters(rows_ND, self.clusters, self.seed)

    def cold(self, features: FeatureMap, experts: int, tasks: Sequence[str] | None = None) -> LinearArms:
        """Arms that know the groups and no reward yet, for learning one reward at a time."""
        self._group(features, tasks)
        width = self.context(features).shape[1]
        nothing_ND = np.zeros((1, width))
        self._keep([_arm(nothing_ND, np.array([0.5]), np.array([0.0]), self.ridge) for _ in range(experts)])
        return self

    def context(self, features: FeatureMap) -> Floats:
        """One-hot groups, shape (N, D): tasks, clusters, bins."""
        rows_ND = _unit(dense(features[self.signal], self.signal))
        level_N = np.searchsorted(
            np.asarray(self.cuts), dense(features[self.reading], self.reading)[:, 0], side="right"
        )
        blocks = [_one_hot(nearest(rows_ND, c), len(c)) for c in (self.task_TD_, self.cluster_KD_) if len(c)]
        return np.concatenate([*blocks, _one_hot(level_N, len(self.cuts) + 1)], axis=1)

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        x_ND = self.context(features)
        mean_NE, width_NE = self._read(x_ND)
        return np.clip(mean_NE, 0.0, 1.0), width_NE * np.sqrt(self.variance_E_)

    def _read(self, x_ND: Floats) -> tuple[Floats, Floats]:
        """The estimate and √(xᵀA⁻¹x), each (N, E)."""
        weight_DE = np.einsum("eij,ej->ie", self.inverse_EDD_, self.b_ED_)
        width_NE = np.sqrt(np.maximum(np.einsum("ni,eij,nj->ne", x_ND, self.inverse_EDD_, x_ND), 0.0))
        return x_ND @ weight_DE + self.center_E_, width_NE

    def scores(self, features: FeatureMap, rng: np.random.Generator) -> Floats:
        """What an exploring router maximises, shape (N, E)."""
        self.require_fitted()
        x_ND = self.context(features)
        mean_NE, width_NE = self._read(x_ND)
        if self.explore == "ucb":
            return mean_NE + self.amount * width_NE
        if self.explore == "thompson":  # x is fixed, so drawing xᵀθ itself is drawing θ
            return np.asarray(mean_NE + self.amount * width_NE * rng.standard_normal(mean_NE.shape))
        random_N1 = rng.random((len(x_ND), 1)) < self.amount
        return np.where(random_N1, 2.0 + rng.random(mean_NE.shape), mean_NE)

    def learn(self, features: FeatureMap, column: int, reward: float) -> None:
        """Take in the reward of one expert on one query: A⁻¹ by Sherman and Morrison's formula (1950)."""
        self.require_fitted()
        (x_D,) = self.context(features)
        inverse_DD = self.inverse_EDD_[column]
        turned_D = inverse_DD @ x_D
        inverse_DD -= np.outer(turned_D, turned_D) / (1.0 + x_D @ turned_D)
        self.b_ED_[column] += (reward - self.center_E_[column]) * x_D

    def _keep(self, parts: Sequence[tuple[Floats, Floats, float, float]]) -> None:
        self.inverse_EDD_ = np.stack([part[0] for part in parts])
        self.b_ED_ = np.stack([part[1] for part in parts])
        self.center_E_ = np.array([part[2] for part in parts])
        self.variance_E_ = np.array([part[3] for part in parts])

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        inverse_DD, b_D, center, variance = _arm(
            self.context(features), scores_N, np.isfinite(scores_N).astype(float), self.ridge
        )
        self.inverse_EDD_ = np.concatenate([self.inverse_EDD_, inverse_DD[None]])
        self.b_ED_ = np.vstack([self.b_ED_, b_D])
        self.center_E_, self.variance_E_ = np.append(self.center_E_, center), np.append(self.variance_E_, variance)

    def _remove_expert(self, column: int) -> None:
        for name in ("inverse_EDD_", "b_ED_", "center_E_", "variance_E_"):
            setattr(self, name, np.delete(getattr(self, name), column, axis=0))


def _arm(x_ND: Floats, scores_N: Floats, weights_N: Floats, ridge: float) -> tuple[Floats, Floats, float, float]:
    """A⁻¹, b, the centre and the variance around the fit of one expert."""
    filled_N = np.where(weights_N > 0, scores_N, 0.5)
    center_1, _ = weighted_mean(filled_N[:, None], weights_N[:, None])
    center = float(center_1[0]) if weights_N.sum() > 0 else 0.5
    inverse_DD = np.linalg.inv((x_ND * weights_N[:, None]).T @ x_ND + ridge * np.eye(x_ND.shape[1]))
    b_D = x_ND.T @ (weights_N * (filled_N - center))
    left_N = filled_N - center - x_ND @ (inverse_DD @ b_D)
    variance = float(weights_N @ left_N**2) / max(float(weights_N.sum()), 1e-12)
    return inverse_DD, b_D, center, max(variance, 1e-6) if weights_N.sum() > 0 else 0.25


def _clusters(rows_ND: Floats, k: int, seed: int) -> Floats:
    """k unit centroids by spherical k-means (Dhillon and Modha, 2001), (K, D); k-means++ starts."""
    rng = np.random.default_rng(seed)
    k = min(k, len(rows_ND))
    if k == 0:
        return np.zeros((0, rows_ND.shape[1]), dtype=np.float32)
    chosen = [int(rng.integers(len(rows_ND)))]
    for _ in range(k - 1):
        far_N = np.maximum(1.0 - (rows_ND @ rows_ND[chosen].T).max(axis=1), 0.0)
        total = far_N.sum()
        chosen.append(
            int(rng.choice(len(rows_ND), p=far_N / total)) if total > 1e-9 else int(rng.integers(len(rows_ND)))
        )
    centers_KD = rows_ND[chosen]
    for _ in range(ROUNDS):
        near_N = nearest(rows_ND, centers_KD)
        centers_KD = _unit(
            np.stack([rows_ND[near_N == i].sum(axis=0) if (near_N == i).any() else centers_KD[i] for i in range(k)])
        )
    return centers_KD


def _unit(rows_ND: Floats) -> Floats:
    size_N1 = np.linalg.norm(rows_ND, axis=1, keepdims=True) if len(rows_ND) else np.ones((0, 1))
    return np.asarray(rows_ND / np.maximum(size_N1, 1e-12), dtype=np.float32)


def _one_hot(code_N: NDArray[np.intp], width: int) -> Floats:
    out_ND = np.zeros((len(code_N), width))
    out_ND[np.arange(len(code_N)), code_N] = 1.0
    return out_ND

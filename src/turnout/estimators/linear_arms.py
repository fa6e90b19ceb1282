"""Linear bandits' arms, fitted at once from a log or one reward at a time: the same (A, b) whatever the exploration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, OneOf, Rule
from turnout.estimators._cells import dense, nearest
from turnout.estimators._linear import even_weights
from turnout.estimators._rules import Names, Several
from turnout.estimators.base import Estimator, weighted_mean
from turnout.features import FeatureMap, Floats

__all__ = ["LinearArms"]

SAMPLE, STARTS = 4000, 4  # rows that k-means looks at, and how often it starts


class LinearArms(Estimator):
    """Per expert A = ridge·I + Σ w·x xᵀ and b = Σ w·r·x over a context of groups; the estimate is xᵀ A⁻¹ b.

    The context x is GreenServ's: one column per task (the nearest centroid among the tasks' names, where `tasks` and
    the log has them), one per cluster, and one per bin of `reading`, cut at `cuts`. Centroids and clusters live in the
    space of the signals `on`, each scaled to unit spread. Rewards are centred by the expert's mean, so that an empty
    context predicts it.

    `explore` is how `scores` trades learning for earning, with `amount` as its one parameter: `ucb` adds
    amount · √(xᵀA⁻¹x) (LinUCB, Li et al., WWW 2010), `thompson` draws θ from N(A⁻¹b, amount² A⁻¹) (Agrawal and Goyal,
    ICML 2013), `greedy` draws a uniform expert with probability `amount`. `learn` takes one reward in.

    Limits: groups are made at `fit` and stay; a group with few rewards per arm is mostly the ridge.

    >>> x_ND, scores_NE = np.array([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]]), np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    >>> features = {"x": x_ND, "r": np.zeros((4, 1))}
    >>> arms = LinearArms(("x",), reading="r", clusters=2, ridge=0.1).fit(features, scores_NE)
    >>> arms.predict(features)[0].argmax(axis=1).tolist()
    [0, 0, 1, 1]
    """

    rules: ClassVar[dict[str, Rule]] = {
        "on": Names(),
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
        on: tuple[str, ...] = ("embedding", "format", "length"),
        *,
        reading: str = "readability",
        clusters: int = 8,
        tasks: bool = True,
        cuts: tuple[float, ...] = (0.0, 0.33, 0.67),
        ridge: float = 0.05,
        explore: str = "ucb",
        amount: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.on, self.reading, self.clusters, self.tasks = on, reading, clusters, tasks
        self.cuts, self.ridge, self.explore, self.amount, self.seed = cuts, ridge, explore, amount, seed

    @property
    def signals(self) -> tuple[str, ...]:
        return (*self.on, self.reading)

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        even_NE = even_weights(weights_NE)
        rows_ND = self._place(features, tasks)
        self.cluster_KD_ = _clusters(rows_ND, self.clusters, self.seed)
        x_ND = self.context(features)
        self._keep([_arm(x_ND, scores_NE[:, e], even_NE[:, e], self.ridge) for e in range(scores_NE.shape[1])])

    def _place(self, features: FeatureMap, tasks: Sequence[str] | None) -> Floats:
        """The space of the groups, and the tasks' centroids in it; the queries' rows there, (N, D)."""
        blocks = [dense(features[name], name) for name in self.on]
        self.mean_D_ = np.concatenate([block.mean(axis=0) for block in blocks])
        spread = [float(np.sqrt(block.var(axis=0).sum())) for block in blocks]
        factors = [1.0 / size if size > 1e-9 else 0.0 for size in spread]
        self.factor_D_ = np.repeat(factors, [block.shape[1] for block in blocks]).astype(np.float32)
        rows_ND = self._rows(features)
        names = np.asarray(tasks if tasks is not None and self.tasks else [], dtype=str)
        self.tasks_ = tuple(sorted(set(names.tolist())))
        centers = [rows_ND[names == name].mean(axis=0) for name in self.tasks_]
        self.task_TD_ = np.array(centers, dtype=np.float32).reshape(-1, rows_ND.shape[1])
        return rows_ND

    def _rows(self, features: FeatureMap) -> Floats:
        raw_ND = np.concatenate([dense(features[name], name) for name in self.on], axis=1)
        return np.asarray((raw_ND - self.mean_D_) * self.factor_D_, dtype=np.float32)

    def cold(self, features: FeatureMap, experts: int, tasks: Sequence[str] | None = None) -> LinearArms:
        """Arms that know the groups and no reward yet, for learning one reward at a time."""
        self.check()
        rows_ND = self._place(features, tasks)
        self.cluster_KD_ = _clusters(rows_ND, self.clusters, self.seed)
        nothing_ND = np.zeros((1, self.context(features).shape[1]))
        self._keep([_arm(nothing_ND, np.array([0.5]), np.array([0.0]), self.ridge) for _ in range(experts)])
        return self

    def context(self, features: FeatureMap) -> Floats:
        """One-hot groups, shape (N, D): tasks, clusters, bins."""
        rows_ND, reading_N = self._rows(features), dense(features[self.reading], self.reading)[:, 0]
        level_N = np.searchsorted(np.asarray(self.cuts), reading_N, side="right")
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

    def scores(self, x_ND: Floats, rng: np.random.Generator) -> Floats:
        """What an exploring router maximises for N contexts, shape (N, E)."""
        self.require_fitted()
        mean_NE, width_NE = self._read(x_ND)
        if self.explore == "ucb":
            return mean_NE + self.amount * width_NE
        if self.explore == "thompson":  # x is fixed, so drawing xᵀθ itself is drawing θ
            return np.asarray(mean_NE + self.amount * width_NE * rng.standard_normal(mean_NE.shape))
        random_N1 = rng.random((len(x_ND), 1)) < self.amount
        return np.where(random_N1, 2.0 + rng.random(mean_NE.shape), mean_NE)

    def learn(self, x_D: Floats, column: int, reward: float) -> None:
        """Take in the reward of one expert in one context: A⁻¹ by Sherman and Morrison's formula (1950)."""
        self.require_fitted()
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
    """Centres of k-means, (K, D)."""
    from sklearn.cluster import KMeans

    if len(rows_ND) > SAMPLE:
        rows_ND = rows_ND[np.random.default_rng(seed).permutation(len(rows_ND))[:SAMPLE]]
    k = min(k, len(np.unique(rows_ND, axis=0)))
    if k == 0:
        return np.zeros((0, rows_ND.shape[1]), dtype=np.float32)
    return np.asarray(KMeans(k, n_init=STARTS, random_state=seed).fit(rows_ND).cluster_centers_, dtype=np.float32)


def _one_hot(code_N: NDArray[np.intp], width: int) -> Floats:
    out_ND = np.zeros((len(code_N), width))
    out_ND[np.arange(len(code_N)), code_N] = 1.0
    return out_ND

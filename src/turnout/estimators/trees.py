"""Decision trees over dense signals, many of them: a random forest, or gradient boosting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, OneOf, Rule
from turnout.estimators._blocks import raw_block
from turnout.estimators._linear import even_weights
from turnout.estimators._rules import Names
from turnout.estimators.base import Estimator, weighted_mean
from turnout.features import FeatureMap, Floats

__all__ = ["Trees"]

CHUNK = 256  # queries that walk the trees at once
WIDE = 12  # experts above which splits look at as many principal directions of the scores


class Trees(Estimator):
    """Trees that all experts share: a split is where the experts' scores change, a leaf holds one value per expert.

    `grow` "forest": every tree learns from a bootstrap sample and the mean counts (Breiman, 2001). "boosting": every
    tree learns what the ones before left over, and `rate` of it is added (Friedman, 2001). scikit-learn chooses the
    splits; what stands in a leaf is learned here from the observed scores alone, `prior` queries at the expert's mean
    added, so that scores may be missing and a newcomer fills the leaves that are there without moving a split. A split
    looks at a `share` of the columns; `cuts` "random" tries one random cut in each (Geurts et al., 2006), many times
    faster than the "best" of all.

    Shapes: D columns of the signals `on`, all dense. Limits: axis-parallel splits see little in an embedding; outside
    of the log's values a tree says what it says at the border; a newcomer cannot have splits of its own.

    >>> x_ND = np.linspace(0, 1, 80)[:, None]
    >>> scores_NE = np.hstack([x_ND > 0.5, x_ND <= 0.5]).astype(float)
    >>> fitted = Trees(on=("x",), trees=20).fit({"x": x_ND}, scores_NE)
    >>> fitted.predict({"x": np.array([[0.1], [0.9]])})[0].argmax(axis=1).tolist()
    [1, 0]
    """

    rules: ClassVar[dict[str, Rule]] = {
        "on": Names(),
        "grow": OneOf(("forest", "boosting")),
        "trees": Number(1, 5000, integer=True),
        "depth": Number(1, 30, integer=True),
        "leaf": Number(1, 100_000, integer=True),
        "share": Number(0.001, 1.0),
        "cuts": OneOf(("best", "random")),
        "rate": Number(0.001, 1.0),
        "prior": Number(0.0),
        "seed": Number(0, 2**32 - 1, integer=True),
    }

    def __init__(
        self,
        on: tuple[str, ...] = ("embedding", "format", "length"),
        *,
        grow: str = "forest",
        trees: int = 200,
        depth: int = 12,
        leaf: int = 5,
        share: float = 0.25,
        cuts: str = "random",
        rate: float = 0.1,
        prior: float = 3.0,
        seed: int = 0,
    ) -> None:
        self.on, self.grow, self.trees, self.depth, self.leaf = on, grow, trees, depth, leaf
        self.share, self.cuts, self.rate, self.prior, self.seed = share, cuts, rate, prior, seed

    @property
    def signals(self) -> tuple[str, ...]:
        return tuple(self.on)

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        x_ND = raw_block(features, self.on)
        rng = np.random.default_rng(self.seed)
        even_NE = even_weights(weights_NE)
        self.mean_E_, _ = weighted_mean(scores_NE, weights_NE)
        left_NE = np.where(weights_NE > 0, scores_NE - self.mean_E_, 0.0)
        self.noise_E_ = np.maximum((even_NE * left_NE**2).sum(axis=0) / even_NE.sum(axis=0), 1e-4)
        parts, tables = [], []
        for _ in range(self.trees):
            grown = self._grow(x_ND, left_NE, even_NE, rng)
            leaf_N = grown.apply(x_ND)
            tables.append(self._leaves(leaf_N, left_NE, even_NE, grown.node_count))
            parts.append(_arrays(grown))
            if self.grow == "boosting":
                left_NE = np.where(weights_NE > 0, left_NE - tables[-1][leaf_N, : left_NE.shape[1]], 0.0)
        self.root_T_ = np.cumsum([0, *(len(part[0]) for part in parts[:-1])])
        self.column_J_ = np.concatenate([part[0] for part in parts])
        self.cut_J_ = np.concatenate([part[1] for part in parts])
        self.child_J2_ = np.concatenate([part[2] + root for part, root in zip(parts, self.root_T_, strict=True)])
        self.deepest_ = max(part[3] for part in parts)
        self.value_JF_ = np.concatenate(tables).astype(np.float32)

    def _grow(self, x_ND: Floats, left_NE: Floats, even_NE: Floats, rng: np.random.Generator) -> Any:
        """The structure of one tree. Boosting learns from half of the rows, a forest from as many with repeats."""
        from sklearn.tree import DecisionTreeRegressor

        rows = len(x_ND)
        boosting = self.grow == "boosting"
        taken_N = rng.permutation(rows)[: max(rows // 2, 1)] if boosting else rng.integers(rows, size=rows)
        target_NF = left_NE[taken_N] * np.sqrt(even_NE[taken_N])
        if target_NF.shape[1] > WIDE:
            _, vector_EE = np.linalg.eigh(target_NF.T @ target_NF)
            target_NF = target_NF @ vector_EE[:, -WIDE:]
        grown = DecisionTreeRegressor(
            max_depth=self.depth,
            min_samples_leaf=min(self.leaf, max(rows // 4, 1)),
            max_features=self.share,
            splitter=self.cuts,
            random_state=int(rng.integers(2**31)),
        )
        return grown.fit(x_ND[taken_N], target_NF).tree_

    def _leaves(self, leaf_N: NDArray[np.intp], left_NE: Floats, even_NE: Floats, nodes: int) -> Floats:
        """Shape (nodes, 2E): what is added to the mean, and one over the number of queries behind it."""
        total_JE, size_JE = np.zeros((2, nodes, left_NE.shape[1]))
        np.add.at(total_JE, leaf_N, even_NE * left_NE)
        np.add.at(size_JE, leaf_N, even_NE)
        rate = self.rate if self.grow == "boosting" else 1.0
        value_JE = rate * total_JE / np.maximum(size_JE + self.prior, 1e-9)
        return np.hstack([value_JE, 1.0 / (size_JE + max(self.prior, 1.0))])

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        x_ND = raw_block(features, self.on)
        experts = len(self.mean_E_)
        sums = [self.value_JF_[node_NT].sum(axis=1) for node_NT in self._walked(x_ND)]
        sum_NF = np.concatenate(sums) if len(sums) != 1 else sums[0]
        scale = 1.0 if self.grow == "boosting" else 1.0 / len(self.root_T_)
        mean_NE = self.mean_E_ + scale * sum_NF[:, :experts]
        return np.clip(mean_NE, 0.0, 1.0), np.sqrt(self.noise_E_ * sum_NF[:, experts:] / len(self.root_T_))

    def _walked(self, x_ND: Floats) -> Iterator[NDArray[np.intp]]:
        """The leaf of every query in every tree, (N, T), a chunk at a time; all trees take a step at once."""
        for start in range(0, max(len(x_ND), 1), CHUNK):
            part_ND = x_ND[start : start + CHUNK]
            row_N1 = np.arange(len(part_ND))[:, None]
            node_NT = np.broadcast_to(self.root_T_, (len(part_ND), len(self.root_T_)))
            for _ in range(self.deepest_):
                right_NT = part_ND[row_N1, self.column_J_[node_NT]] > self.cut_J_[node_NT]
                node_NT = self.child_J2_[node_NT, right_NT.view(np.int8)]
            yield node_NT

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        seen_N1 = np.isfinite(scores_N)[:, None]
        mean = float(scores_N[seen_N1[:, 0]].mean())
        left_N1 = np.where(seen_N1, scores_N[:, None] - mean, 0.0)
        noise = max(float((left_N1**2).sum() / seen_N1.sum()), 1e-4)
        leaf_NT = np.concatenate(list(self._walked(raw_block(features, self.on))))
        nodes, added = len(self.column_J_), []
        for tree, root in enumerate(self.root_T_):
            end = self.root_T_[tree + 1] if tree + 1 < len(self.root_T_) else nodes
            leaf_N = leaf_NT[:, tree] - root
            added.append(self._leaves(leaf_N, left_N1, seen_N1.astype(float), int(end - root)))
            if self.grow == "boosting":
                left_N1 = np.where(seen_N1, left_N1 - added[-1][leaf_N, :1], 0.0)
        column_J2, experts = np.concatenate(added), len(self.mean_E_)
        self.value_JF_ = np.insert(self.value_JF_, [experts, 2 * experts], column_J2, axis=1).astype(np.float32)
        self.mean_E_, self.noise_E_ = np.append(self.mean_E_, mean), np.append(self.noise_E_, noise)

    def _remove_expert(self, column: int) -> None:
        self.value_JF_ = np.delete(self.value_JF_, [column, column + len(self.mean_E_)], axis=1)
        self.mean_E_, self.noise_E_ = np.delete(self.mean_E_, column), np.delete(self.noise_E_, column)


def _arrays(grown: Any) -> tuple[NDArray[np.int32], Floats, NDArray[np.intp], int]:
    """Column, cut and two children per node (a leaf is its own child), and the depth."""
    own_J = np.arange(grown.node_count)
    inner_J = grown.children_left >= 0
    child_J2 = np.stack([grown.children_left, grown.children_right], axis=1)
    child_J2 = np.where(inner_J[:, None], child_J2, own_J[:, None]).astype(np.intp)
    return np.where(inner_J, grown.feature, 0).astype(np.int32), grown.threshold.copy(), child_J2, int(grown.max_depth)

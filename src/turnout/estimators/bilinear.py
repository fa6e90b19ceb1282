"""Bilinear scoring: a query's map times an expert's vector, for many ways to have the vector and to learn both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, OneOf, Rule
from turnout.errors import ParameterError
from turnout.estimators._blocks import raw_block, scaling
from turnout.estimators._clusters import k_means
from turnout.estimators._contenders import choose_by_contenders
from turnout.estimators._levels import SCOPES, Levels
from turnout.estimators._linear import even_weights
from turnout.estimators._losses import LOSSES, loss_and_slope, near_and_far
from turnout.estimators._rules import Names, Several
from turnout.estimators.base import Estimator, weighted_mean
from turnout.features import FeatureMap, Floats, take

__all__ = ["Bilinear"]

KINDS = ("free", "mean", "probe", "given")
HALVES = 2  # an expert's features come from one half of the queries while the other half is learned from
PRIOR = 5.0  # queries at the expert's mean, added to every probe cell
GROUPS, FAR = 8, 4  # clusters of queries for the sample–sample loss, and how many others are pushed away
PENALTIES, USUAL = (1.6, 0.8, 0.4, 0.2, 0.1), 0.4
HELD, BRIEF, FEWEST = 5, 20, 100  # every fifth query judges penalties, after so many steps; a smaller log takes USUAL
NEWCOMER = 30  # Newton steps at most for a newcomer's free vector


class Bilinear(Estimator):
    """rating(q, m) = f(q) · g(m) + b(m), f(q) = x U and g(m) = c(m) V: low-rank in query and expert features.

    `experts` says what c(m) is: "free" one-hot, so g(m) is a vector of its own (matrix factorisation); "mean" the mean
    of the logged queries weighted by the expert's scores above its average, as message passing over a query–expert
    graph makes it; "probe" its mean scores on `probes` clusters of queries, a card filled in by results; "given" the
    rows of `cards`, features of the experts from elsewhere. All but "free" are inductive: a newcomer's vector follows
    from its outcomes (or its card) through V, and nothing is fitted again.

    `loss` is "bce", "pair", "soft" or "contrast" (`_losses`); the last is RouterDC's with cosines, its sample–sample
    part weighted by `groups`. `difficulty` adds a term of the query alone, as in item response theory. L-BFGS on all
    queries at once; `penalty` is on |U|² + |V|², and None takes the one that tells contenders apart best on a fifth of
    the queries held out. Ratings become expected scores by a line per expert (`level`
    "score") or one for all ("rating", which keeps the order).

    Sources: RouteLLM (arXiv:2406.18665), EmbedLLM (2410.02223), RouterDC (2409.19886), GraphRouter (2410.03834),
    IRT-Router (2506.01048). Limits: linear in its signals; with few experts a low rank saves nothing over a regression
    per expert; the lines are fitted on the log itself, so that spreads are a little too wide.

    >>> x_ND = np.random.default_rng(0).normal(size=(200, 3))
    >>> scores_NE = np.stack([x_ND[:, 0] > 0, x_ND[:, 0] < 0], axis=1).astype(float)
    >>> fitted = Bilinear(on=("x",), rank=1).fit({"x": x_ND}, scores_NE)
    >>> fitted.predict({"x": np.array([[1.0, 0, 0], [-1.0, 0, 0]])})[0].argmax(axis=1).tolist()
    [0, 1]
    """

    rules: ClassVar[dict[str, Rule]] = {
        "on": Names(),
        "rank": Number(1, 1024, integer=True),
        "loss": OneOf(LOSSES),
        "experts": OneOf(KINDS),
        "probes": Number(2, 4096, integer=True),
        "cards": Several(Several(Number())),
        "difficulty": OneOf((True, False)),
        "penalty": Number(0.0, optional=True),
        "temperature": Number(1e-3, 1e3),
        "groups": Number(0.0),
        "steps": Number(1, 10_000, integer=True),
        "level": OneOf(SCOPES),
        "seed": Number(0, 2**32 - 1, integer=True),
    }

    def __init__(
        self,
        on: tuple[str, ...] = ("embedding", "format"),
        *,
        rank: int = 8,
        loss: str = "bce",
        experts: str = "free",
        probes: int = 20,
        cards: tuple[tuple[float, ...], ...] = (),
        difficulty: bool = False,
        penalty: float | None = None,
        temperature: float = 0.3,
        groups: float = 1.0,
        steps: int = 50,
        level: str = "score",
        seed: int = 0,
    ) -> None:
        self.on, self.rank, self.loss, self.experts, self.probes, self.cards = on, rank, loss, experts, probes, cards
        self.difficulty, self.penalty, self.temperature, self.groups = difficulty, penalty, temperature, groups
        self.steps, self.level, self.seed = steps, level, seed

    @property
    def signals(self) -> tuple[str, ...]:
        return tuple(self.on)

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        if self.experts == "given" and len(self.cards) != scores_NE.shape[1]:
            raise ParameterError(
                f"Bilinear: `cards` must hold one row per expert ({scores_NE.shape[1]}), got {len(self.cards)}"
            )
        self.penalty_ = self._chosen(features, scores_NE, weights_NE) if self.penalty is None else float(self.penalty)
        self.mean_D_, self.factor_D_ = scaling(features, self.on)
        x_ND = self._scaled(features)
        even_NE = even_weights(weights_NE)
        center_E = np.clip(weighted_mean(scores_NE, weights_NE)[0], 0.01, 0.99)
        filled_NE = np.where(weights_NE > 0, scores_NE, center_E)
        if self.experts == "probe":
            self.probe_PD_ = k_means(x_ND, self.probes, self.seed)
        card_EF = self._cards(x_ND, filled_NE, even_NE)
        self.scale_ = float(np.sqrt(np.maximum((card_EF**2).mean(), 1e-12)))
        self._learn(x_ND, filled_NE, even_NE, np.log(center_E / (1.0 - center_E)))
        self.vector_EH_ = self._vectors(card_EF)
        self.levels_ = Levels.fit(self._ratings(x_ND), scores_NE, weights_NE, self.level).parts()

    def _chosen(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats) -> float:
        """The penalty that is best on held-out queries; USUAL where there are too few."""
        held_N = np.random.default_rng(self.seed).permutation(len(scores_NE)) % HELD == 0
        fit_I, ask_I = np.flatnonzero(~held_N), np.flatnonzero(held_N)
        if len(scores_NE) < FEWEST or not (weights_NE[fit_I] > 0).any(axis=0).all():
            return USUAL
        fit, ask = take(features, fit_I), take(features, ask_I)
        held = [
            self.clone(penalty=penalty, steps=min(BRIEF, self.steps))
            .fit(fit, scores_NE[fit_I], weights_NE=weights_NE[fit_I])
            .predict(ask)[0]
            for penalty in PENALTIES
        ]
        return PENALTIES[choose_by_contenders(held, scores_NE[ask_I], weights_NE[ask_I])]

    def _scaled(self, features: FeatureMap) -> Floats:
        return np.asarray((raw_block(features, self.on) - self.mean_D_) * self.factor_D_, dtype=np.float32)

    def _cards(self, x_ND: Floats, scores_NE: Floats, even_NE: Floats) -> Floats:
        """Features of the experts, (E, F), from their outcomes on these queries."""
        total_E = np.maximum(even_NE.sum(axis=0), 1e-12)
        away_NE = even_NE * (scores_NE - (even_NE * scores_NE).sum(axis=0) / total_E)
        if self.experts == "free":
            return np.eye(scores_NE.shape[1])
        if self.experts == "given":
            return np.asarray(self.cards, dtype=np.float64)
        if self.experts == "mean":
            return np.asarray((away_NE / total_E).T @ x_ND, dtype=np.float64)
        closeness_NP = x_ND @ self.probe_PD_.T - 0.5 * (self.probe_PD_**2).sum(axis=1)
        cell_NP = np.eye(len(self.probe_PD_))[closeness_NP.argmax(axis=1)]
        return np.asarray((away_NE.T @ cell_NP) / (even_NE.T @ cell_NP + PRIOR))

    def _vectors(self, card_EF: Floats) -> Floats:
        """The experts' vectors, the constant one of the difficulty last."""
        vector_EH = (card_EF / self.scale_) @ self.expert_FH_
        return np.column_stack([vector_EH, np.ones(len(vector_EH))]) if self.difficulty else vector_EH

    def _learn(self, x_ND: Floats, scores_NE: Floats, even_NE: Floats, level_E: Floats) -> None:
        """Sets `query_DH_`, `expert_FH_` and `bias_E_`."""
        from scipy.optimize import minimize

        rng = np.random.default_rng(self.seed)
        rows, columns = x_ND.shape
        half_N = rng.permutation(rows) % HALVES if self.experts in {"mean", "probe"} else np.zeros(rows, int)
        parts = [np.flatnonzero(half_N == half) for half in range(int(half_N.max()) + 1)]
        cards = [self._visible(x_ND, scores_NE, even_NE, half_N != half) for half in range(len(parts))]
        wide = self.rank + self.difficulty
        shapes = ((columns, wide), (cards[0].shape[1], self.rank), (scores_NE.shape[1],))
        x, scores, even = ([values[rows_K] for rows_K in parts] for values in (x_ND, scores_NE, even_NE))
        task = _Task(self, x, scores, even, cards, shapes, _pulls(self, x_ND, rng))
        start = [rng.normal(size=shape) / np.sqrt(shape[0]) for shape in shapes[:2]]
        found = minimize(
            task, np.concatenate([*(part.ravel() for part in start), level_E]), jac=True, method="L-BFGS-B",
            options={"maxiter": self.steps, "maxcor": 10},
        )  # fmt: skip
        query_DH, self.expert_FH_, self.bias_E_ = task.split(found.x)
        self.query_DH_ = query_DH.astype(np.float32)

    def _visible(self, x_ND: Floats, scores_NE: Floats, even_NE: Floats, shown_N: NDArray[np.bool_]) -> Floats:
        """The experts' features as the shown queries make them; all queries are shown where there are no halves."""
        if not shown_N.any():
            return self._cards(x_ND, scores_NE, even_NE) / self.scale_
        return self._cards(x_ND[shown_N], scores_NE[shown_N], even_NE[shown_N]) / self.scale_

    def _ratings(self, x_ND: Floats) -> Floats:
        map_NH = (x_ND @ self.query_DH_).astype(np.float64)
        if self.loss != "contrast":
            rating_NE = map_NH @ self.vector_EH_.T + self.bias_E_
            return 0.5 + 0.5 * np.tanh(0.5 * rating_NE) if self.loss == "bce" else rating_NE
        length_N1 = np.maximum(np.linalg.norm(map_NH, axis=1, keepdims=True), 1e-9)
        length_E = np.maximum(np.linalg.norm(self.vector_EH_, axis=1), 1e-9)
        return np.asarray(map_NH @ self.vector_EH_.T / (length_N1 * length_E))

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        return Levels(*self.levels_).apply(self._ratings(self._scaled(features)))

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        seen_M = np.flatnonzero(np.isfinite(scores_N))
        x_MD, score_M1 = self._scaled(features)[seen_M], scores_N[seen_M, None]
        ones_M1 = np.ones_like(score_M1)
        center = float(np.clip(score_M1.mean(), 0.01, 0.99))
        self.bias_E_ = np.append(self.bias_E_, np.log(center / (1 - center)))
        if self.experts in {"free", "given"}:  # "given" knows no card of the newcomer
            vector_1H = self._fitted_vector(x_MD, score_M1[:, 0], float(self.bias_E_[-1]))
        else:
            vector_1H = self._vectors(self._cards(x_MD, score_M1, ones_M1))
        self.vector_EH_ = np.concatenate([self.vector_EH_, vector_1H])
        self.levels_ = Levels(*self.levels_).newcomer(self._ratings(x_MD)[:, -1:], score_M1, self.level).parts()

    def _fitted_vector(self, x_MD: Floats, score_M: Floats, bias: float) -> Floats:
        """A vector of its own by logistic regression on the others' map, pulled to zero; (1, H)."""
        map_MH = (x_MD @ self.query_DH_).astype(np.float64)
        if self.loss == "contrast":
            map_MH /= np.maximum(np.linalg.norm(map_MH, axis=1, keepdims=True), 1e-9)
        learned_MH = map_MH[:, : self.rank]
        fixed_M = bias + map_MH[:, self.rank :].sum(axis=1)
        vector_H = np.zeros(self.rank)
        pull_HH = np.eye(self.rank) * max(self.penalty_ * len(x_MD), PRIOR * float((learned_MH**2).mean()))
        for _ in range(NEWCOMER):
            mean_M = 0.5 + 0.5 * np.tanh(0.5 * (fixed_M + learned_MH @ vector_H))
            curve_HH = (learned_MH * np.maximum(mean_M * (1 - mean_M), 0.01)[:, None]).T @ learned_MH + pull_HH
            step_H = np.linalg.solve(curve_HH, learned_MH.T @ (score_M - mean_M) - pull_HH @ vector_H)
            vector_H = vector_H + step_H
            if np.abs(step_H).max() < 1e-6:
                break
        return np.append(vector_H, np.ones(int(self.difficulty)))[None]

    def _remove_expert(self, column: int) -> None:
        kept_E = np.delete(np.arange(len(self.bias_E_)), column)
        self.vector_EH_, self.bias_E_ = self.vector_EH_[kept_E], self.bias_E_[kept_E]
        self.levels_ = Levels(*self.levels_).take(kept_E).parts()


@dataclass
class _Task:
    """The objective: parameters to loss and gradient. The k-th part's queries meet the experts of `cards[k]`."""

    model: Bilinear
    x: list[Floats]
    scores: list[Floats]
    even: list[Floats]
    cards: list[Floats]
    shapes: tuple[tuple[int, ...], ...]
    pulls: tuple[NDArray[np.intp], NDArray[np.intp]] | None

    def split(self, flat: Floats) -> tuple[Floats, Floats, Floats]:
        """The flat vector as (D, H), (F, H) and (E,)."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])[:-1]
        query, expert, bias = (
            part.reshape(shape) for part, shape in zip(np.split(flat, ends), self.shapes, strict=True)
        )
        return query, expert, bias

    def __call__(self, flat: Floats) -> tuple[float, Floats]:
        query_DH, expert_FH, bias_E = self.split(flat)
        penalty, rank = self.model.penalty_, expert_FH.shape[1]
        loss = 0.5 * penalty * float((query_DH**2).sum() + (expert_FH**2).sum())
        slope_DH, slope_FH, slope_E = penalty * query_DH, penalty * expert_FH, np.zeros_like(bias_E)
        rows = sum(map(len, self.x))
        for x_ND, scores_NE, even_NE, card_EF in zip(self.x, self.scores, self.even, self.cards, strict=True):
            map_NH = (x_ND @ query_DH.astype(np.float32)).astype(np.float64)
            vector_EH = card_EF @ expert_FH
            if self.model.difficulty:
                vector_EH = np.column_stack([vector_EH, np.ones(len(vector_EH))])
            part = len(x_ND) / rows
            value, back_NH, back_EH, back_E = self._part(map_NH, vector_EH, bias_E, scores_NE, even_NE)
            loss += part * value
            slope_DH = slope_DH + part * (x_ND.T @ back_NH.astype(np.float32))
            slope_FH = slope_FH + part * (card_EF.T @ back_EH[:, :rank])
            slope_E = slope_E + part * back_E
        return loss, np.concatenate([part.ravel() for part in (slope_DH, slope_FH, slope_E)]).astype(np.float64)

    def _part(
        self, map_NH: Floats, vector_EH: Floats, bias_E: Floats, scores_NE: Floats, even_NE: Floats
    ) -> tuple[float, Floats, Floats, Floats]:
        """The loss, and its gradients in the queries' maps, the experts' vectors and their biases."""
        model = self.model
        if model.loss != "contrast":
            rating_NE = map_NH @ vector_EH.T + bias_E
            value, slope_NE = loss_and_slope(model.loss, rating_NE, scores_NE, even_NE, model.temperature)
            return value, slope_NE @ vector_EH, slope_NE.T @ map_NH, slope_NE.sum(axis=0)
        unit_NH, length_N1 = _unit(map_NH)
        unit_EH, length_E1 = _unit(vector_EH)
        rating_NE = unit_NH @ unit_EH.T
        value, slope_NE = loss_and_slope("contrast", rating_NE, scores_NE, even_NE, model.temperature)
        back_NH, back_EH = slope_NE @ unit_EH, slope_NE.T @ unit_NH
        if self.pulls is not None:
            extra, pull_NH = near_and_far(unit_NH, *self.pulls, model.temperature)
            value, back_NH = value + model.groups * extra, back_NH + model.groups * pull_NH
        back_NH = (back_NH - unit_NH * (back_NH * unit_NH).sum(axis=1, keepdims=True)) / length_N1
        back_EH = (back_EH - unit_EH * (back_EH * unit_EH).sum(axis=1, keepdims=True)) / length_E1
        return value, back_NH, back_EH, np.zeros_like(bias_E)


def _unit(rows_NH: Floats) -> tuple[Floats, Floats]:
    length_N1 = np.maximum(np.linalg.norm(rows_NH, axis=1, keepdims=True), 1e-9)
    return rows_NH / length_N1, length_N1


def _pulls(model: Bilinear, x_ND: Floats, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """For every query one of its own cluster and FAR of other clusters, drawn once; None where the loss has no use."""
    if model.loss != "contrast" or not model.groups or model.experts in {"mean", "probe"} or len(x_ND) < 4 * GROUPS:
        return None
    from turnout.estimators._cells import nearest

    group_N = nearest(x_ND, k_means(x_ND, GROUPS, model.seed))
    near_N, far_NM = np.arange(len(x_ND)), np.empty((len(x_ND), FAR), np.intp)
    for group in np.unique(group_N):
        own, others = np.flatnonzero(group_N == group), np.flatnonzero(group_N != group)
        if not len(others):
            return None
        near_N[own] = rng.choice(own, len(own))
        far_NM[own] = rng.choice(others, (len(own), FAR))
    return near_N, far_NM

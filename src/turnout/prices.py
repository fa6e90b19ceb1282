"""What one request will cost at each expert: list price × predicted tokens, learned from a log's own counts.

    cost = input · prompt tokens + output · answer tokens        US dollars, prices in dollars per token
    prompt tokens = a + b · size                                 non-negative least squares on the log
    log(1 + answer tokens) = α + β · log(1 + size)               least squares, shrunk to the pool's line

`size` is the estimate in tokens that is known before the call (`Request.prompt_tokens`: bytes / 4). A retransformed
log-regression is biased low, so a smearing ratio (Duan 1983, in its mean-preserving form) makes the predicted
total equal the logged total. Where signals of the prompt are at hand, `Departures` tell how its answers' lengths (or
its cost, where only costs are logged) differ from that.

Shape letters: N queries, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.departures import Departures
from turnout.errors import UnknownNameError
from turnout.features import FeatureMap, Floats
from turnout.types import BYTES_PER_TOKEN, Price

Array = NDArray[np.float64]

TYPICAL_ANSWER = 200.0  # tokens, where a log tells nothing about the length of answers
_PRIOR_ROWS = 10.0  # an expert's own line counts as much as the pool's at this many logged answers
_STEEPEST = 700.0  # where a line leads past this, its exponential would overflow; the longest answer bounds it anyway


@dataclass(frozen=True)
class CostModel:
    """Expected US dollars per request and expert. Immutable: every change returns a new model.

    `prices[e]` is None where the log had costs but neither tokens nor a price; such an expert's cost is a
    non-negative line in the prompt's size, held in `line`.

    >>> model = CostModel.fit(["a", "b"], np.array([100.0, 200.0]), prices={"a": Price(1.0, 2.0), "b": Price(10.0)},
    ...                       completion_NE=np.array([[50.0, 50.0], [50.0, 50.0]]))
    >>> model.predict(np.array([1000.0])).round(6).tolist()
    [[0.0011, 0.01]]
    >>> model.reprice("b", Price(0.5)).predict(np.array([1000.0])).round(6).tolist()
    [[0.0011, 0.0005]]

    Limits: answer length is predicted from prompt length and dense signals, never beyond the longest answer seen; an
    expert without any token count is given the pool's line, a pool without any 200 tokens an answer.
    """

    experts: tuple[str, ...]
    prices: tuple[Price | None, ...]
    prompt: Array  # (E, 2): a, b
    answer: Array  # (E, 4): α, β, smearing ratio, longest answer
    line: Array  # (E, 2): dollars, dollars per token
    departures: Departures

    @classmethod
    def fit(
        cls,
        experts: Sequence[str],
        size_N: Array,
        *,
        prices: Mapping[str, Price] | None = None,
        cost_NE: Array | None = None,
        prompt_NE: Array | None = None,
        completion_NE: Array | None = None,
        weights_NE: Array | None = None,
    ) -> CostModel:
        """Learn from whatever the log has; every matrix has shape (N, E) with NaN where nothing was seen.

        Known prices win over logged costs. Where only costs are logged, a price is inferred from the tokens; a
        missing answer length is inferred from cost and price; without either, cost is a line in the prompt's size.
        """
        blank_NE = np.full((len(size_N), len(experts)), np.nan)
        cost_NE, prompt_NE, completion_NE = (
            blank_NE if given is None else np.asarray(given, dtype=np.float64)
            for given in (cost_NE, prompt_NE, completion_NE)
        )
        weights_NE = np.ones_like(blank_NE) if weights_NE is None else np.asarray(weights_NE, dtype=np.float64)
        size_N = np.asarray(size_N, dtype=np.float64)
        prompt_E2 = np.stack([_prompt_line(size_N, y, w) for y, w in zip(prompt_NE.T, weights_NE.T, strict=True)])
        used_NE = np.where(np.isfinite(prompt_NE), prompt_NE, prompt_E2[:, 0] + prompt_E2[:, 1] * size_N[:, None])
        known = dict(prices or {})
        found = [
            known.get(name) or _infer_price(cost_NE[:, e], used_NE[:, e], completion_NE[:, e])
            for e, name in enumerate(experts)
        ]
        completion_NE = _infer_answers(found, cost_NE, used_NE, completion_NE)
        return cls(
            experts=tuple(experts),
            prices=tuple(found),
            prompt=prompt_E2,
            answer=_answer_lines(size_N, completion_NE, weights_NE),
            line=np.stack(
                [
                    np.zeros(2) if price else _line(size_N, cost_NE[:, e], weights_NE[:, e])
                    for e, price in enumerate(found)
                ]
            ),
            departures=Departures.none(len(found)),
        )

    def informed(
        self,
        features: FeatureMap,
        size_N: Array,
        *,
        cost_NE: Array | None = None,
        prompt_NE: Array | None = None,
        completion_NE: Array | None = None,
        penalty_F: Floats | None = None,
    ) -> CostModel:
        """The same model with what dense signals of the prompts tell beside their sizes; arguments as in `fit`.

        `penalty_F` are those of earlier departures, to be kept.
        """
        blank_NE = np.full((len(size_N), len(self.experts)), np.nan)
        cost_NE, prompt_NE, completion_NE = (
            blank_NE if given is None else np.asarray(given, dtype=np.float64)
            for given in (cost_NE, prompt_NE, completion_NE)
        )
        size_N1 = np.asarray(size_N, dtype=np.float64)[:, None]
        told_NE = self.prompt[:, 0] + self.prompt[:, 1] * size_N1
        used_NE = np.where(np.isfinite(prompt_NE), prompt_NE, told_NE)
        answers_NE = _infer_answers(self.prices, cost_NE, used_NE, completion_NE)
        priced_E = np.array([price is not None for price in self.prices])
        logged_NE = np.where(priced_E, answers_NE, cost_NE)
        suggested_NE = np.where(priced_E, self._answers(size_N1, None), self.line[:, 0] + self.line[:, 1] * size_N1)
        return replace(self, departures=Departures.learn(features, logged_NE, suggested_NE, penalty_F))

    def tokens(self, size_N: Array, max_tokens_N: Array | None = None) -> tuple[Array, Array]:
        """Predicted prompt and answer tokens, each (N, E); `max_tokens_N` (inf where unset) caps the answer."""
        size_N1 = np.asarray(size_N, dtype=np.float64)[:, None]
        prompt_NE = self.prompt[:, 0] + self.prompt[:, 1] * size_N1
        return prompt_NE, self._answers(size_N1, max_tokens_N)

    def predict(self, size_N: Array, max_tokens_N: Array | None = None, features: FeatureMap | None = None) -> Array:
        """Expected US dollars per request, shape (N, E); without `features`, by the prompt's size alone."""
        fixed_E, per_token_E, per_answer_E = self._rates
        size_N1 = np.asarray(size_N, dtype=np.float64)[:, None]
        factor_NE = self.departures.factors(features) if features is not None and self.departures.on else None
        cost_NE = per_token_E * size_N1
        cost_NE += fixed_E
        lined_E, lines = self._lined
        if factor_NE is not None and lines:
            cost_NE *= np.where(lined_E, factor_NE, 1.0)
        if lines < len(lined_E):  # else no answer has a price
            cost_NE += self._answers(size_N1, max_tokens_N, factor_NE) * per_answer_E
        return cost_NE

    def reprice(self, expert: str, price: Price) -> CostModel:
        """The same token predictions at another price; the other experts' costs do not change."""
        e = self._column(expert)
        line_E2 = self.line.copy()
        line_E2[e] = 0.0
        return replace(self, prices=(*self.prices[:e], price, *self.prices[e + 1 :]), line=line_E2)

    def typical(self, experts: Sequence[str], prices: Sequence[Price]) -> CostModel:
        """Newcomers of whom only the price is known: the prompt as it is, answers as long as this pool's on average."""
        answer_4 = self.answer.mean(axis=0) if len(self.answer) else _unknown_answer()
        return CostModel(
            experts=tuple(experts),
            prices=tuple(prices),
            prompt=np.tile([0.0, 1.0], (len(experts), 1)),
            answer=np.tile(answer_4, (len(experts), 1)),
            line=np.zeros((len(experts), 2)),
            departures=self.departures.typical(len(experts)),
        )

    def append(self, other: CostModel) -> CostModel:
        """This pool and then the other's experts."""
        return CostModel(
            experts=self.experts + other.experts,
            prices=self.prices + other.prices,
            prompt=np.concatenate([self.prompt, other.prompt]),
            answer=np.concatenate([self.answer, other.answer]),
            line=np.concatenate([self.line, other.line]),
            departures=self.departures.append(other.departures),
        )

    def select(self, columns: Sequence[int]) -> CostModel:
        """The chosen experts, in the given order."""
        take = list(columns)
        return CostModel(
            experts=tuple(self.experts[e] for e in take),
            prices=tuple(self.prices[e] for e in take),
            prompt=self.prompt[take],
            answer=self.answer[take],
            line=self.line[take],
            departures=self.departures.select(take),
        )

    def state(self) -> dict[str, Any]:
        """Plain values and arrays, for saving."""
        return {
            "experts": list(self.experts),
            "prices": [None if p is None else [p.input, p.output, p.nominal] for p in self.prices],
            "prompt": self.prompt,
            "answer": self.answer,
            "line": self.line,
            "departures": self.departures.state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> CostModel:
        """The inverse of `state`; a model saved before there were departures has none."""
        departures = state.get("departures")
        return cls(
            experts=tuple(state["experts"]),
            prices=tuple(None if p is None else Price(*p) for p in state["prices"]),
            prompt=state["prompt"],
            answer=state["answer"],
            line=state["line"],
            departures=Departures.none(len(state["experts"]))
            if departures is None
            else Departures.from_state(departures),
        )

    def _answers(self, size_N1: Array, max_tokens_N: Array | None, factor_NE: Floats | None = None) -> Array:
        level_E, slope_E, longest_E = self._lengths
        answer_NE: Array = slope_E * np.log1p(size_N1)
        answer_NE += level_E
        np.minimum(answer_NE, _STEEPEST, out=answer_NE)
        np.expm1(answer_NE, out=answer_NE)
        np.maximum(answer_NE, 0.0, out=answer_NE)
        if factor_NE is not None:
            answer_NE *= factor_NE
        np.minimum(answer_NE, longest_E, out=answer_NE)
        return answer_NE if max_tokens_N is None else np.minimum(answer_NE, max_tokens_N[:, None])

    @cached_property
    def _lengths(self) -> tuple[Array, Array, Array]:
        """The columns of `answer`, with the smearing ratio moved into the exponent."""
        intercept_E, slope_E, smear_E, longest_E = (np.ascontiguousarray(column_E) for column_E in self.answer.T)
        return intercept_E + np.log(np.maximum(smear_E, 1e-12)), slope_E, longest_E

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Experts that count as free, having neither a price nor a logged cost above 0, while others cost something."""
        known = [price is not None or bool(self.line[e].any()) for e, price in enumerate(self.prices)]
        priced = any(price and (price.input or price.output) for price in self.prices) or bool(self.line.any())
        return tuple(name for name, told in zip(self.experts, known, strict=True) if priced and not told)

    @property
    def prompt_rates(self) -> Array:
        """US dollars that one more token of prompt costs at each expert, shape (E,)."""
        return self._rates[1]

    @cached_property
    def _rates(self) -> tuple[Array, Array, Array]:
        """US dollars per request, per token of size, and per answer token."""
        rate_E2 = np.array([(p.input, p.output) if p else (0.0, 0.0) for p in self.prices]).reshape(-1, 2) / 1e6
        fixed_E = rate_E2[:, 0] * self.prompt[:, 0] + self.line[:, 0]
        return fixed_E, rate_E2[:, 0] * self.prompt[:, 1] + self.line[:, 1], np.ascontiguousarray(rate_E2[:, 1])

    @cached_property
    def _lined(self) -> tuple[NDArray[np.bool_], int]:
        """Whose cost is a line in the prompt's size, and how many they are."""
        lined_E = np.array([price is None for price in self.prices], dtype=bool)
        return lined_E, int(lined_E.sum())

    def _column(self, expert: str) -> int:
        if expert not in self.experts:
            raise UnknownNameError("expert", expert, self.experts)
        return self.experts.index(expert)


def sizes(texts: Sequence[str]) -> Array:
    """The size in tokens of each prompt, as `Request.prompt_tokens` estimates it: shape (N,).

    >>> sizes(["four", "eight by", ""]).tolist()
    [1.0, 2.0, 0.0]
    """
    return np.array([int(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN) for text in texts], dtype=np.float64)


def _pair(u_N: Array, v_N: Array, y_N: Array, weights_N: Array) -> Array:
    """Non-negative (a, b) that minimise Σ w (y − a·u − b·v)², by trying the four active sets."""
    root_N = np.sqrt(weights_N)
    design_N2, target_N = np.stack([u_N, v_N], axis=1) * root_N[:, None], y_N * root_N
    gram, moment = design_N2.T @ design_N2, design_N2.T @ target_N
    alone = [np.maximum(np.eye(2)[k] * moment[k] / gram[k, k], 0.0) for k in range(2) if gram[k, k] > 0]
    candidates: list[Array] = [np.zeros(2), *alone]
    determinant = gram[0, 0] * gram[1, 1] - gram[0, 1] ** 2
    if determinant > 1e-12 * gram[0, 0] * gram[1, 1]:
        candidates.append(np.asarray(np.linalg.solve(gram, moment), dtype=np.float64))
    allowed = [c for c in candidates if (c >= 0).all()]
    return min(allowed, key=lambda c: float(c @ gram @ c - 2 * c @ moment))


def _line(size_N: Array, y_N: Array, weights_N: Array) -> Array:
    seen_N = np.isfinite(y_N) & (weights_N > 0)
    return _pair(np.ones(seen_N.sum()), size_N[seen_N], y_N[seen_N], weights_N[seen_N])


def _prompt_line(size_N: Array, prompt_N: Array, weights_N: Array) -> Array:
    return _line(size_N, prompt_N, weights_N) if np.isfinite(prompt_N).any() else np.array([0.0, 1.0])


def _infer_price(cost_N: Array, prompt_N: Array, completion_N: Array) -> Price | None:
    """Dollars per million tokens that explain the logged costs, or None without both costs and answer lengths."""
    seen_N = np.isfinite(cost_N) & np.isfinite(prompt_N) & np.isfinite(completion_N)
    if not seen_N.any():
        return None
    scale = 1e6 * _pair(prompt_N[seen_N], completion_N[seen_N], cost_N[seen_N], np.ones(seen_N.sum()))
    return Price(input=float(scale[0]), output=float(scale[1]))


def _infer_answers(prices: Sequence[Price | None], cost_NE: Array, prompt_NE: Array, completion_NE: Array) -> Array:
    """Answer lengths where only cost and price are known."""
    filled_NE = completion_NE.copy()
    for e, price in enumerate(prices):
        if price and price.output > 0:
            implied_N = np.maximum(cost_NE[:, e] * 1e6 - price.input * prompt_NE[:, e], 0.0) / price.output
            filled_NE[:, e] = np.where(np.isfinite(completion_NE[:, e]), completion_NE[:, e], implied_N)
    return filled_NE


def _unknown_answer() -> Array:
    return np.array([np.log1p(TYPICAL_ANSWER), 0.0, 1.0, TYPICAL_ANSWER])


def _answer_lines(size_N: Array, completion_NE: Array, weights_NE: Array) -> Array:
    """α, β, smearing ratio and longest answer per expert, shape (E, 4); each line is shrunk to the pool's."""
    seen_NE = np.isfinite(completion_NE) & (weights_NE > 0)
    if not seen_NE.any():
        return np.tile(_unknown_answer(), (completion_NE.shape[1], 1))
    weights_NE = np.where(seen_NE, weights_NE, 0.0)
    total_E = weights_NE.sum(axis=0)
    rows_E = seen_NE.sum(axis=0)
    log_NE = np.log1p(np.where(seen_NE, completion_NE, 0.0))
    z_N1 = np.log1p(size_N)[:, None]
    pool_y = (weights_NE * log_NE).sum() / total_E.sum()
    center = float((weights_NE * z_N1).sum() / total_E.sum())
    mean_y_E = np.where(rows_E > 0, (weights_NE * log_NE).sum(axis=0) / np.maximum(total_E, 1e-12), pool_y)
    mean_z_E = np.where(rows_E > 0, (weights_NE * z_N1).sum(axis=0) / np.maximum(total_E, 1e-12), center)
    cross_E = (weights_NE * (z_N1 - mean_z_E) * (log_NE - mean_y_E)).sum(axis=0)
    spread_E = (weights_NE * (z_N1 - mean_z_E) ** 2).sum(axis=0)
    pool_slope = cross_E.sum() / spread_E.sum() if spread_E.sum() > 1e-9 else 0.0
    prior = max(_PRIOR_ROWS * spread_E.sum() / total_E.sum(), 1e-9)
    slope_E = (cross_E + prior * pool_slope) / (spread_E + prior)
    share_E = rows_E / (rows_E + _PRIOR_ROWS)
    level_E = share_E * (mean_y_E + slope_E * (center - mean_z_E)) + (1 - share_E) * pool_y
    line_E3 = np.stack([level_E - slope_E * center, slope_E], axis=1)
    raw_NE = np.exp(line_E3[:, 0] + line_E3[:, 1] * z_N1)
    return np.column_stack([line_E3, *_smearing(raw_NE, completion_NE, weights_NE)])


def _smearing(raw_NE: Array, completion_NE: Array, weights_NE: Array) -> tuple[Array, Array]:
    """The ratio that makes predicted and logged totals agree, shrunk to the pool's, and the longest answer seen."""
    logged_NE = np.where(weights_NE > 0, completion_NE + 1.0, 0.0)
    pool = (weights_NE * logged_NE).sum() / (weights_NE * raw_NE).sum()
    rows_E = (weights_NE > 0).sum(axis=0)
    own_E = (weights_NE * logged_NE).sum(axis=0) / np.maximum((weights_NE * raw_NE).sum(axis=0), 1e-12)
    share_E = rows_E / (rows_E + 1.0)  # a ratio of means settles quickly
    longest_E = np.where(rows_E > 0, logged_NE.max(axis=0) - 1.0, logged_NE.max() - 1.0)
    return np.where(rows_E > 0, share_E * own_E + (1 - share_E) * pool, pool), longest_E

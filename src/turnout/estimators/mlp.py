"""A small neural network: one hidden layer that all experts share, and a logistic regression per expert on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from turnout.base import Number, Rule
from turnout.estimators._blocks import raw_block, scaling
from turnout.estimators._linear import even_weights
from turnout.estimators._rules import Names
from turnout.estimators.base import Estimator, weighted_mean
from turnout.estimators.logistic import Logistic
from turnout.features import FeatureMap, Floats

__all__ = ["MLP"]

BATCH, HELD = 64, 0.15  # queries per step, and the part of the log that says when to stop
FEWEST = 80  # queries below which nothing is held out
PATIENCE = 4  # epochs without a better held-out loss
DECAY = (0.9, 0.999)  # of Adam's running moments


class MLP(Estimator):
    """x → relu(x W + b) → experts' scores, by Adam on the cross-entropy, stopped by queries held out.

    The output layer is then fitted again, exactly, as logistic regression on the `hidden` units (its penalty chosen on
    queries left out): it gives the standard errors, and a newcomer gets one of its own on the same units. Written in
    numpy, so it needs no torch. Limits: one layer; a few thousand queries are little for it, and a linear model on the
    same signals is seldom worse.

    >>> x_ND = np.random.default_rng(0).normal(size=(400, 2))
    >>> differs_N1 = (x_ND[:, :1] * x_ND[:, 1:] > 0).astype(float)
    >>> fitted = MLP(on=("x",), hidden=32, epochs=60).fit({"x": x_ND}, np.hstack([differs_N1, 1 - differs_N1]))
    >>> fitted.predict({"x": np.array([[1.5, 1.5], [1.5, -1.5]])})[0].argmax(axis=1).tolist()
    [0, 1]
    """

    rules: ClassVar[dict[str, Rule]] = {
        "on": Names(),
        "hidden": Number(1, 4096, integer=True),
        "epochs": Number(1, 10_000, integer=True),
        "step": Number(1e-6, 1.0),
        "decay": Number(0.0, 1.0),
        "seed": Number(0, 2**32 - 1, integer=True),
    }

    def __init__(
        self,
        on: tuple[str, ...] = ("embedding", "format"),
        *,
        hidden: int = 64,
        epochs: int = 30,
        step: float = 2e-3,
        decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        self.on, self.hidden, self.epochs, self.step, self.decay, self.seed = on, hidden, epochs, step, decay, seed

    @property
    def signals(self) -> tuple[str, ...]:
        return tuple(self.on)

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        self.mean_D_, self.factor_D_ = scaling(features, self.on)
        x_ND = (raw_block(features, self.on) - self.mean_D_) * self.factor_D_
        even_NE = even_weights(weights_NE).astype(np.float32)
        filled_NE = np.where(weights_NE > 0, scores_NE, 0.0).astype(np.float32)
        center_E = np.clip(weighted_mean(scores_NE, weights_NE)[0], 0.01, 0.99)
        self.weight_DH_, self.bias_H_ = self._train(x_ND, filled_NE, even_NE, np.log(center_E / (1 - center_E)))
        self.head_ = Logistic(on=("units",), seed=self.seed)
        self.head_.fit({"units": self._units(features)}, scores_NE, weights_NE=weights_NE)

    def _train(self, x_ND: Floats, scores_NE: Floats, even_NE: Floats, level_E: Floats) -> tuple[Floats, Floats]:
        """The hidden layer's weights (D, H) and biases (H,) of the epoch with the least held-out loss."""
        rng = np.random.default_rng(self.seed)
        order_N = rng.permutation(len(x_ND))
        held_N = order_N[: int(HELD * len(x_ND))] if len(x_ND) >= FEWEST else order_N
        fit_N = order_N[len(held_N) :] if len(x_ND) >= FEWEST else order_N
        shape = (x_ND.shape[1], self.hidden)
        layers = [
            rng.normal(size=shape).astype(np.float32) * np.float32(np.sqrt(1.0 / shape[0])),
            np.zeros(self.hidden, np.float32),
            np.zeros((self.hidden, scores_NE.shape[1]), np.float32),
            level_E.astype(np.float32),
        ]
        adam = _Adam(layers, self.step, self.decay)
        best, kept, waited = np.inf, [layer.copy() for layer in layers], 0
        for _ in range(self.epochs):
            fit_N = rng.permutation(fit_N)
            for start in range(0, len(fit_N), BATCH):
                rows = fit_N[start : start + BATCH]
                adam.move(_gradients(layers, x_ND[rows], scores_NE[rows], even_NE[rows]))
            loss = _loss(layers, x_ND[held_N], scores_NE[held_N], even_NE[held_N])
            waited += 1
            if loss < best:
                best, kept, waited = loss, [layer.copy() for layer in layers], 0
            elif waited >= PATIENCE:
                break
        return kept[0], kept[1]

    def _units(self, features: FeatureMap) -> Floats:
        x_ND = (raw_block(features, self.on) - self.mean_D_) * self.factor_D_
        return np.maximum(x_ND @ self.weight_DH_ + self.bias_H_, np.float32(0.0))

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        return self.head_.predict({"units": self._units(features)})

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        self.head_.add_expert({"units": self._units(features)}, scores_N)

    def _remove_expert(self, column: int) -> None:
        self.head_.remove_expert(column)


def _forward(layers: Sequence[Floats], x_ND: Floats) -> tuple[Floats, Floats]:
    hidden_NH = np.maximum(x_ND @ layers[0] + layers[1], np.float32(0.0))
    return hidden_NH, 0.5 + 0.5 * np.tanh(0.5 * (hidden_NH @ layers[2] + layers[3]))


def _loss(layers: Sequence[Floats], x_ND: Floats, scores_NE: Floats, even_NE: Floats) -> float:
    _, mean_NE = _forward(layers, x_ND)
    safe_NE = np.clip(mean_NE, 1e-6, 1 - 1e-6)
    return float(-(even_NE * (scores_NE * np.log(safe_NE) + (1 - scores_NE) * np.log(1 - safe_NE))).sum())


def _gradients(layers: Sequence[Floats], x_ND: Floats, scores_NE: Floats, even_NE: Floats) -> list[Floats]:
    hidden_NH, mean_NE = _forward(layers, x_ND)
    slope_NE = even_NE * (mean_NE - scores_NE) / np.float32(len(x_ND))
    back_NH = np.where(hidden_NH > 0, slope_NE @ layers[2].T, np.float32(0.0))
    return [x_ND.T @ back_NH, back_NH.sum(axis=0), hidden_NH.T @ slope_NE, slope_NE.sum(axis=0)]


class _Adam:
    """Adam with decoupled weight decay on matrices (Loshchilov and Hutter, 2019); moves the layers in place."""

    def __init__(self, layers: list[Floats], step: float, decay: float) -> None:
        self._layers, self._step, self._decay, self._count = layers, step, decay, 0
        self._first = [np.zeros_like(layer) for layer in layers]
        self._second = [np.zeros_like(layer) for layer in layers]

    def move(self, gradients: Sequence[Floats]) -> None:
        self._count += 1
        kept = [1.0 - rate**self._count for rate in DECAY]
        for place, gradient in enumerate(gradients):
            layer, first, second = self._layers[place], self._first[place], self._second[place]
            first += np.float32(1 - DECAY[0]) * (gradient - first)
            second += np.float32(1 - DECAY[1]) * (gradient * gradient - second)
            if layer.ndim == 2:
                layer *= np.float32(1.0 - self._step * self._decay)
            layer -= np.float32(self._step) * (first / kept[0]) / (np.sqrt(second / kept[1]) + 1e-8)

"""A small text encoder trained end to end by torch and evaluated by numpy."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from turnout.base import Number, Of, Rule
from turnout.errors import ConfigError
from turnout.estimators._losses import sigmoid
from turnout.estimators.base import Estimator
from turnout.features import FeatureMap, Floats, Sparse, unit

__all__ = ["FineTuned"]

FITTING = "turnout.nn.fitting.text_encoder"  # the only place with torch; imported by name, as it stands above this room
PENALTY = 1.0  # on the squared weights of a head, beside the log-likelihood of all queries
ROUNDS = 25  # of Newton's method


class FineTuned(Estimator):
    """Token embeddings pooled by attention, one hidden layer, a logit per expert; all of it learned from the scores.

    Training starts from the shipped static table (`encoder`), so words that the log lacks keep what they meant; it
    stops by queries held out, and `fit` alone needs torch (`pip install 'turnout[nn]'`). Errors are those of the last
    layer by Laplace's approximation; a newcomer gets a last layer of its own. Sources: RouteLLM's BERT classifier (Ong
    et al., arXiv 2406.18665) and Hybrid LLM's (Ding et al., arXiv 2404.14618), which fine-tune contextual encoders.

    Limits: no word order, so it is far less than BERT; a saved one takes 16 MB; a few thousand queries teach it little
    more than a linear model on the frozen embedding knows.
    """

    rules: ClassVar[dict[str, Rule]] = {
        "signal": Of((str,)),
        "encoder": Of((str,)),
        "hidden": Number(1, 4096, integer=True),
        "epochs": Number(1, 1000, integer=True),
        "step": Number(1e-6, 1.0),
        "table_step": Number(0.0, 1.0),
        "dropout": Number(0.0, 0.95),
        "seed": Number(0, 2**32 - 1, integer=True),
    }

    def __init__(
        self,
        signal: str = "tokens",
        *,
        encoder: str = "minilm",
        hidden: int = 64,
        epochs: int = 12,
        step: float = 2e-3,
        table_step: float = 1e-3,
        dropout: float = 0.2,
        seed: int = 0,
    ) -> None:
        self.signal, self.encoder, self.hidden, self.epochs = signal, encoder, hidden, epochs
        self.step, self.table_step, self.dropout, self.seed = step, table_step, dropout, seed

    @property
    def signals(self) -> tuple[str, ...]:
        return (self.signal,)

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        if importlib.util.find_spec("torch") is None:
            raise ConfigError("fitting the estimator `fine_tuned` needs torch: pip install 'turnout[nn]'")
        fitting = importlib.import_module(FITTING)
        names = ("hidden", "epochs", "step", "table_step", "dropout", "seed")
        training = fitting.Training(**{name: getattr(self, name) for name in names})
        arrays = fitting.fine_tune(self._counts(features), scores_NE, weights_NE, training, self.encoder)
        self.table_VD_, self.hidden_DH_, self.hidden_H_ = (arrays[n] for n in ("table_VD", "hidden_DH", "hidden_H"))
        self.head_UE_ = np.vstack([arrays["head_HE"], arrays["head_E"]]).astype(np.float32)
        units_NU = self._units(features)
        chance_NE = sigmoid(units_NU @ self.head_UE_)
        even_NE = weights_NE / np.maximum(_usual(weights_NE), 1e-12)
        spread = [_spread(units_NU, chance_NE[:, e], even_NE[:, e]) for e in range(scores_NE.shape[1])]
        self.spread_EUU_ = np.stack(spread).astype(np.float32)

    def _counts(self, features: FeatureMap) -> Sparse:
        counts = features[self.signal]
        if not isinstance(counts, Sparse):
            raise TypeError(f"signal {self.signal!r} must be sparse counts of tokens, got a dense block")
        return counts

    def _units(self, features: FeatureMap) -> Floats:
        """The hidden layer and a constant: (N, U)."""
        counts = self._counts(features)
        pooled_ND, total_N1 = _pooled(counts, self.table_VD_)
        length_N1 = np.log1p(total_N1) - np.float32(4.0)
        scale = np.float32(np.sqrt(pooled_ND.shape[1]))
        units_NH = np.tanh(np.hstack([unit(pooled_ND) * scale, length_N1]) @ self.hidden_DH_ + self.hidden_H_)
        return np.hstack([units_NH, np.ones((len(units_NH), 1), np.float32)])

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        units_NU = self._units(features)
        mean_NE = sigmoid(units_NU @ self.head_UE_)
        variance_NE = np.einsum("nu,euv,nv->ne", units_NU, self.spread_EUU_, units_NU, optimize=True)
        return mean_NE, mean_NE * (1 - mean_NE) * np.sqrt(np.maximum(variance_NE, 0.0))

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        seen_N = np.isfinite(scores_N)
        units_NU, known_N = self._units(features)[seen_N], scores_N[seen_N]
        weights_U = _logistic(units_NU, known_N)
        spread_UU = _spread(units_NU, sigmoid(units_NU @ weights_U), np.ones(len(known_N)))
        self.head_UE_ = np.hstack([self.head_UE_, weights_U[:, None].astype(np.float32)])
        self.spread_EUU_ = np.concatenate([self.spread_EUU_, spread_UU[None].astype(np.float32)])

    def _remove_expert(self, column: int) -> None:
        self.head_UE_ = np.delete(self.head_UE_, column, axis=1)
        self.spread_EUU_ = np.delete(self.spread_EUU_, column, axis=0)


def _usual(weights_NE: Floats) -> Floats:
    """The mean weight of each expert's observed queries, (E,)."""
    return np.asarray(weights_NE.sum(axis=0) / np.maximum((weights_NE > 0).sum(axis=0), 1))


def _pooled(counts: Sparse, table_VD: Floats) -> tuple[Floats, Floats]:
    """Rows of the table summed by count, (N, D), and the number of tokens, (N, 1)."""
    pooled_ND = np.zeros((len(counts), table_VD.shape[1]), np.float32)
    total_N1 = np.zeros((len(counts), 1), np.float32)
    for n, (start, end) in enumerate(zip(counts.indptr[:-1].tolist(), counts.indptr[1:].tolist(), strict=True)):
        counts_L = counts.data[start:end]
        pooled_ND[n] = counts_L @ table_VD.take(counts.indices[start:end], axis=0).astype(np.float32)
        total_N1[n] = counts_L.sum()
    return pooled_ND, total_N1


def _spread(units_NU: Floats, chance_N: Floats, weights_N: Floats) -> Floats:
    """The covariance of a head's weights, (U, U); the constant is not penalised."""
    curved_N = weights_N * chance_N * (1 - chance_N)
    penalty_U = np.append(np.full(units_NU.shape[1] - 1, PENALTY), 1e-3)
    return np.linalg.inv((units_NU * curved_N[:, None]).T @ units_NU + np.diag(penalty_U))


def _logistic(units_NU: Floats, scores_N: Floats) -> Floats:
    """Penalised logistic regression by Newton's method, (U,)."""
    units_NU = units_NU.astype(np.float64)
    penalty_U = np.append(np.full(units_NU.shape[1] - 1, PENALTY), 1e-3)
    weights_U = np.zeros(units_NU.shape[1])
    for _ in range(ROUNDS):
        chance_N = sigmoid(units_NU @ weights_U)
        slope_U = units_NU.T @ (scores_N - chance_N) - penalty_U * weights_U
        move_U = _spread(units_NU, chance_N, np.ones(len(scores_N))) @ slope_U
        weights_U += np.clip(move_U, -2.0, 2.0)
        if np.abs(move_U).max() < 1e-9:
            break
    return weights_U

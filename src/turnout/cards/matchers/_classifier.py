"""What classifiers of texts share: TF-IDF beside the embedding, columns per class, experts without utterances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.cards.matchers.base import Matcher
from turnout.features import FeatureMap, Features, Floats, Sparse


class Classifier(Matcher):
    """A matcher with a column per expert that has utterances: `column_E` holds it, −1 for a newcomer (scored NaN)."""

    def _fit(self, cards: FeatureMap, texts: FeatureMap, expert_N: NDArray[np.int64]) -> None:
        seen = np.unique(expert_N)
        self.column_ = np.full(_rows(cards), -1, dtype=np.int64)
        self.column_[seen] = np.arange(len(seen))
        self._train(texts, self.column_[expert_N], len(seen))

    def _score(self, texts: FeatureMap) -> Floats:
        known_E = self.column_ >= 0
        scores_NE = np.full((_rows(texts), len(self.column_)), np.nan, dtype=np.float32)
        scores_NE[:, known_E] = self._logits(texts)[:, self.column_[known_E]]
        return scores_NE

    def _add(self, card: FeatureMap, examples: FeatureMap | None) -> None:
        self.column_ = np.append(self.column_, -1)

    def _remove(self, expert: int) -> None:
        self.column_ = np.delete(self.column_, expert)

    def _train(self, texts: FeatureMap, class_N: NDArray[np.int64], classes: int) -> None:
        raise NotImplementedError

    def _logits(self, texts: FeatureMap) -> Floats:
        raise NotImplementedError


def stacked(texts: FeatureMap, signals: tuple[str, ...]) -> Any:
    """The signals side by side as one scipy matrix, for fitting."""
    from scipy import sparse

    return sparse.hstack([_scipy(texts[name]) for name in signals], format="csr", dtype=np.float32)


def _scipy(rows: Features) -> Any:
    from scipy import sparse

    if isinstance(rows, Sparse):
        return sparse.csr_matrix((rows.data, rows.indices, rows.indptr), shape=rows.shape)
    return sparse.csr_matrix(rows)


def times(texts: FeatureMap, signals: tuple[str, ...], weights_DF: Floats) -> Floats:
    """The stacked signals times dense weights, by numpy alone."""
    total: Floats | None = None
    start = 0
    for name in signals:
        rows = texts[name]
        end = start + rows.shape[1]
        if isinstance(rows, Sparse):
            # in blocks: the product gathers a row of weights per stored value
            blocks = [rows.rows(np.arange(a, min(a + 64, len(rows)))) for a in range(0, len(rows), 64)]
            part = np.concatenate([block @ weights_DF[start:end] for block in blocks])
        else:
            part = rows @ weights_DF[start:end]
        total = part if total is None else total + part
        start = end
    assert total is not None
    return total


def _rows(features: FeatureMap) -> int:
    return len(next(iter(features.values())))

"""One-against-rest support vector machines over words, characters and the embedding."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number
from turnout.cards.matchers._classifier import Classifier, stacked, times
from turnout.features import FeatureMap, Floats

__all__ = ["Linear"]


class Linear(Classifier):
    """A margin per expert, trained against all others. A text that no expert claims has only negative margins, which
    makes the largest of them a good score of belonging to anybody.

    Source: Joachims, "Text categorization with support vector machines", 1998; scikit-learn's `LinearSVC` fits.
    Limits: an expert known by its card alone has no margin. Fitting time grows with utterances × experts.
    """

    signals = ("tfidf", "embedding")
    rules: ClassVar = {"c": Number(1e-6, 1e6), "tolerance": Number(1e-6, 1.0)}

    def __init__(self, c: float = 1.0, tolerance: float = 0.1) -> None:
        self.c, self.tolerance = c, tolerance

    def _train(self, texts: FeatureMap, class_N: NDArray[np.int64], classes: int) -> None:
        from sklearn.svm import LinearSVC

        x_ND = stacked(texts, self.signals)
        if classes == 1:
            self.weights_, self.bias_ = np.zeros((x_ND.shape[1], 1), np.float32), np.zeros(1, np.float32)
            return
        fitted = LinearSVC(C=self.c, tol=self.tolerance, random_state=0).fit(x_ND, class_N)
        weights_DE = np.ascontiguousarray(fitted.coef_.T, dtype=np.float32)
        bias_E = fitted.intercept_.astype(np.float32)
        if classes == 2:  # one margin stands for both
            weights_DE, bias_E = np.hstack([-weights_DE, weights_DE]), np.append(-bias_E, bias_E)
        self.weights_, self.bias_ = weights_DE, bias_E

    def _logits(self, texts: FeatureMap) -> Floats:
        return np.asarray(times(texts, self.signals, self.weights_) + self.bias_)

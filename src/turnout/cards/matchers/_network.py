"""One hidden layer over a bag of words, trained by scikit-learn, evaluated by numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turnout.cards.matchers._classifier import Classifier, stacked, times
from turnout.features import FeatureMap, Floats

BATCH = 100
STEPS = 100  # at least, so that a few texts are learned too


class Network(Classifier):
    """A softmax classifier with one hidden layer; `activation` is scikit-learn's name, `hidden` its width."""

    signals = ("tfidf",)
    activation = "relu"
    hidden: int
    epochs: int
    seed: int

    def _train(self, texts: FeatureMap, class_N: NDArray[np.int64], classes: int) -> None:
        from sklearn.neural_network import MLPClassifier

        x_ND = stacked(texts, self.signals)
        network = MLPClassifier((self.hidden,), activation=self.activation, batch_size=min(BATCH, len(class_N)))
        network.set_params(learning_rate_init=5e-3, alpha=1e-5, random_state=self.seed)
        # epochs are counted here: `fit` would warn that it stopped before it converged, which is the intention
        order = np.random.default_rng(self.seed)
        for _ in range(max(self.epochs, STEPS // -(-len(class_N) // BATCH))):
            mixed = order.permutation(len(class_N))
            network.partial_fit(x_ND[mixed], class_N[mixed], classes=np.arange(classes))
        weights, biases = network.coefs_, network.intercepts_
        if classes <= 2:  # a single output stands for both classes
            weights[1] = np.hstack([-weights[1], weights[1]])[:, -classes:] / 2
            biases[1] = np.append(-biases[1], biases[1])[-classes:] / 2
        self.in_, self.in_bias_ = (np.asarray(a, dtype=np.float32) for a in (weights[0], biases[0]))
        self.out_, self.out_bias_ = (np.asarray(a, dtype=np.float32) for a in (weights[1], biases[1]))

    def _logits(self, texts: FeatureMap) -> Floats:
        hidden_NH = times(texts, self.signals, self.in_) + self.in_bias_
        if self.activation == "relu":
            hidden_NH = np.maximum(hidden_NH, 0.0)
        return np.asarray(hidden_NH @ self.out_ + self.out_bias_)

"""The small network: what one hidden layer can learn, and how training ends."""

from __future__ import annotations

import numpy as np

from turnout.estimators.mlp import MLP, _gradients, _loss


def test_gradients_are_those_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    x_ND, scores_NE = rng.normal(size=(12, 3)), rng.uniform(size=(12, 2))
    even_NE = rng.uniform(0.5, 2.0, size=(12, 2))
    even_NE[3] = 0.0
    layers = [rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=(4, 2)), rng.normal(size=2)]
    for place, found in enumerate(_gradients(layers, x_ND, scores_NE, even_NE)):
        for spot in np.ndindex(found.shape):
            layers[place][spot] += 1e-5
            above = _loss(layers, x_ND, scores_NE, even_NE)
            layers[place][spot] -= 2e-5
            below = _loss(layers, x_ND, scores_NE, even_NE)
            layers[place][spot] += 1e-5
            assert np.isclose(found[spot], (above - below) / 2e-5 / len(x_ND), atol=1e-4)


def test_noise_is_not_learned() -> None:
    rng = np.random.default_rng(0)
    x_ND, scores_N1 = rng.normal(size=(500, 20)).astype(np.float32), (rng.uniform(size=(500, 1)) < 0.7).astype(float)
    mean_N1, _ = MLP(on=("x",)).fit({"x": x_ND}, scores_N1).predict({"x": rng.normal(size=(500, 20))})
    assert abs(mean_N1.mean() - 0.7) < 0.05
    assert mean_N1.std() < 0.15


def test_a_newcomer_has_a_head_of_its_own_on_the_same_units() -> None:
    rng = np.random.default_rng(0)
    x_ND = rng.normal(size=(600, 2)).astype(np.float32)
    ring_N = (np.hypot(*x_ND.T) > 1.1).astype(float)
    made = MLP(on=("x",), hidden=32, epochs=80).fit({"x": x_ND}, np.stack([ring_N, 1 - ring_N], axis=1))
    weight_DH = made.weight_DH_.copy()
    made.add_expert({"x": x_ND}, ring_N)
    mean_NE, _ = made.predict({"x": np.array([[0.0, 0.0], [2.0, 1.0]])})
    assert np.array_equal(weight_DH, made.weight_DH_)
    assert (mean_NE[:, 2] > 0.5).tolist() == [False, True]

"""Far from the log, experts are taken at their means; near it, the estimator speaks."""

from __future__ import annotations

import numpy as np
import pytest

from turnout import registry
from turnout.errors import ParameterError
from turnout.estimators.familiar import Familiar
from turnout.estimators.ridge import Ridge
from turnout.estimators.stack import Stack
from turnout.features import unit
from turnout.routers.crossfit import cross_fit, stack_of
from turnout.routers.evidence import Evidence


def rows(count: int, seed: int = 0) -> np.ndarray:
    """Unit rows around one direction, differing in the second column."""
    return unit(np.random.default_rng(seed).normal([3.0, 0.0, 0.0, 0.0], [0.3, 1.0, 0.3, 0.0], (count, 4)))


def scores(x_ND: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + 0.5 * np.stack([x_ND[:, 1], 0.1 - x_ND[:, 1]], axis=1), 0, 1)


@pytest.fixture
def fitted() -> Familiar:
    x_ND = rows(300)
    return Familiar(Ridge(on=("x",)), on=("x",)).fit({"x": x_ND}, scores(x_ND))


def test_strangers_get_the_means_and_acquaintances_the_estimate(fitted: Familiar) -> None:
    near, far = {"x": unit(np.array([[3.0, 1.0, 0, 0]]))}, {"x": unit(np.array([[0.0, 1.0, 0, 3.0]]))}
    assert fitted.trust(near)[0] == 1.0
    assert fitted.trust(far)[0] == 0.0
    assert np.array_equal(fitted.predict(near)[0], fitted.of_.predict(near)[0])
    assert fitted.predict(far)[0][0] == pytest.approx(fitted.mean_E_)
    assert (fitted.predict(far)[1] >= abs(fitted.of_.predict(far)[0] - fitted.mean_E_) - 1e-9).all()


def test_trust_falls_with_distance_and_most_of_the_logs_own_kind_is_trusted(fitted: Familiar) -> None:
    angles = np.linspace(0, np.pi / 2, 40)
    away = {"x": np.stack([np.cos(angles), 0 * angles, 0 * angles, np.sin(angles)], axis=1)}
    assert (np.diff(fitted.trust(away)) <= 1e-12).all()
    trust_N = fitted.trust({"x": rows(2000, seed=1)})
    assert (trust_N == 1.0).mean() == pytest.approx(0.8, abs=0.06)


def test_repeated_queries_do_not_make_everything_else_strange() -> None:
    x_ND = rows(300)
    doubled = np.repeat(x_ND, 2, axis=0)
    one, two = (Familiar(Ridge(on=("x",)), on=("x",), nearest=1).fit({"x": x}, scores(x)) for x in (x_ND, doubled))
    assert two.known_[0][-1] == pytest.approx(one.known_[0][-1], abs=0.04)


def test_a_strange_form_is_noticed_in_familiar_words() -> None:
    x_ND = rows(300)
    form_ND = np.random.default_rng(1).random((300, 3)) * [1.0, 0.2, 0.0]
    features = {"x": x_ND, "form": form_ND}
    made = Familiar(Ridge(on=("x",)), on=("x", "form")).fit(features, scores(x_ND))
    words = unit(np.array([[3.0, 1.0, 0, 0]] * 2))
    forms = np.array([[0.5, 0.1, 0.0], [0.5, 0.1, 1.0]])  # the third column never varied in the log
    assert made.trust({"x": words, "form": forms}).tolist() == [1.0, 0.0]


def test_a_log_of_one_form_alone_is_familiar_with_it() -> None:
    x_ND = rows(50)
    features = {"x": x_ND, "form": np.ones((50, 2))}
    made = Familiar(Ridge(on=("x",)), on=("form",)).fit(features, scores(x_ND))
    assert made.trust({"form": np.array([[1.0, 1.0], [1.0, 0.0]])}).tolist() == [1.0, 0.0]


def test_a_router_learns_the_stacks_weights_and_holds_out_the_nearness_too() -> None:
    x_ND = np.vstack([rows(200), unit(np.array([[0.0, 1.0, 0.0, 3.0]]))])
    made = Familiar(Stack((Ridge(on=("x",)), Ridge(on=("x",), penalty=1e6))), on=("x",))
    found = cross_fit(made, evidence(x_ND), folds=4, seed=0)
    assert found is not None
    assert found.weights is not None
    stranger = found.raw_NE[-1]
    train_N = found.fold_N != found.fold_N[-1]
    assert stranger == pytest.approx(scores(x_ND)[train_N].mean(axis=0))
    assert stack_of(made) is made.of
    assert stack_of(Familiar(Ridge())) is None


def test_it_is_registered_and_checks_its_parts() -> None:
    assert registry.create("estimator", "familiar").name == "familiar"
    with pytest.raises(ParameterError, match="share"):
        Familiar(share=0.0).check()


def evidence(x_ND: np.ndarray) -> Evidence:
    count = len(x_ND)
    scores_NE = scores(x_ND)
    return Evidence(
        experts=("a", "b"),
        query_ids=[str(n) for n in range(count)],
        texts=[""] * count,
        tasks=None,
        features={"x": x_ND},
        scores_NE=scores_NE,
        weights_NE=np.ones_like(scores_NE),
        propensity_NE=None,
        cost_NE=np.zeros_like(scores_NE),
        size_N=np.zeros(count),
        groups_N=np.arange(count),
    )

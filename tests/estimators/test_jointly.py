"""Linear models asked together say what each says alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from turnout.estimators._ensemble import Ensemble
from turnout.estimators._model import LinearModel, asked
from turnout.estimators.average import Average
from turnout.estimators.constant import Constant
from turnout.estimators.logistic import Logistic
from turnout.estimators.ridge import Ridge
from turnout.estimators.stack import Stack
from turnout.features import FeatureMap, Sparse

ROWS, EXPERTS = 90, 3


def features(rows: int = ROWS, seed: int = 0) -> dict[str, np.ndarray | Sparse]:
    """Two dense signals, the wide one beyond what has a leverage of its own, and two sparse ones."""
    rng = np.random.default_rng(seed)
    made: dict[str, np.ndarray | Sparse] = {name: rng.normal(size=(rows, d)).astype(np.float32) for name, d in DENSE}
    for name, columns in (("words", 40), ("marks", 7)):
        full_NS = rng.random((rows, columns)).astype(np.float32) * (rng.random((rows, columns)) < 0.2)
        indptr = np.concatenate([[0], (full_NS > 0).sum(axis=1).cumsum()])
        made[name] = Sparse(indptr, np.nonzero(full_NS)[1].astype(np.int32), full_NS[full_NS > 0], columns)
    return made


DENSE = (("wide", 80), ("narrow", 4))
READS = (("wide", "words"), ("narrow",), ("marks", "words", "narrow"), ("words",))


def scores(rows: int = ROWS, *, holes: bool = False) -> np.ndarray:
    rng = np.random.default_rng(1)
    scores_NE = rng.random((rows, EXPERTS))
    return np.where(rng.random(scores_NE.shape) < 0.3, np.nan, scores_NE) if holes else scores_NE


def alone(ensemble: Ensemble, asked_of: FeatureMap) -> tuple[np.ndarray, np.ndarray]:
    said = [np.stack(member.predict(asked_of)) for member in ensemble.members_]
    return ensemble._together(np.stack(said))


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("kind", [Ridge, Logistic])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_members_say_together_what_they_say_alone(kind: type[LinearModel], holes: bool, rows: int) -> None:
    members = (*(kind(on=on, penalty=3.0) for on in READS[:2]), Constant(), *(kind(on=on) for on in READS[2:]))
    fitted = Average(members).fit(features(), scores(holes=holes))
    ask = features(rows, seed=5)
    for together, by_itself in zip(fitted.predict(ask), alone(fitted, ask), strict=True):
        assert together.dtype == np.float64
        assert together == pytest.approx(by_itself, abs=1e-6)


def test_models_of_two_kinds_keep_their_own_links() -> None:
    fitted = Average((Ridge(on=("wide",)), Logistic(on=("narrow",)), Ridge(on=("narrow",)))).fit(features(), scores())
    for together, by_itself in zip(fitted.predict(features(9)), alone(fitted, features(9)), strict=True):
        assert together == pytest.approx(by_itself, abs=1e-6)


def test_experts_come_and_go_and_copies_stand_alone() -> None:
    fitted = Stack(tuple(Logistic(on=on) for on in READS), weights=(0.1, 0.2, 0.3, 0.4)).fit(features(), scores())
    ask = features(9, seed=4)
    before = fitted.predict(ask)[0]
    other = copy.deepcopy(fitted)
    fitted.add_expert(features(), np.linspace(0, 1, ROWS))
    assert fitted.predict(ask)[0] == pytest.approx(alone(fitted, ask)[0], abs=1e-6)
    assert fitted.predict(ask)[0][:, :EXPERTS] == pytest.approx(before, abs=1e-6)
    fitted.remove_expert(0)
    assert fitted.predict(ask)[0][:, : EXPERTS - 1] == pytest.approx(before[:, 1:], abs=1e-6)
    assert (other.predict(ask)[0] == before).all()


def test_the_predictor_alone_is_that_of_the_pair() -> None:
    models = [Ridge(on=on).fit(features(), scores()) for on in READS]
    together = asked(models[0], models, features())
    assert together.predictor(features(9)) == pytest.approx(together.linear(features(9))[0], abs=1e-6)

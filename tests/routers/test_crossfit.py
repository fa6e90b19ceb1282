"""Held-out predictions; a stack takes its weights from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from turnout import registry
from turnout.errors import LogError
from turnout.estimators.constant import Constant
from turnout.estimators.ridge import Ridge
from turnout.estimators.stack import MEMBERS, SENTENCES, UNTASKED, Stack
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.routers.crossfit import cross_fit
from turnout.routers.evidence import gather
from turnout.routers.fitting import default_estimator, sentence_signal
from turnout.testing.encoders import tensors, write


class Counted(Ridge):
    """Counts its fits."""

    fits = 0

    def _fit(self, *arguments: Any) -> None:
        Counted.fits += 1
        super()._fit(*arguments)


def test_a_stack_is_cross_fitted_once_per_fold_and_gets_weights(make_log):
    evidence, _ = gather(make_log(200), ("format",), {})
    Counted.fits = 0
    stack = Stack((Constant(), Counted(on=("format",))), even=0.0)
    found = cross_fit(stack, evidence, folds=4, seed=0)
    assert Counted.fits == 4
    assert found.lesson.weight_M == pytest.approx((0.0, 1.0), abs=0.1)
    alone = cross_fit(Ridge(on=("format",)), evidence, folds=4, seed=0)
    assert np.corrcoef(found.raw_NE.ravel(), alone.raw_NE.ravel())[0, 1] > 0.99
    assert alone.lesson is None


def test_a_fold_is_not_taught_by_itself(make_log):
    """Were they learned on all rows, the held-out figures would flatter the stack."""
    evidence, _ = gather(make_log(120, gain=0.0), ("format",), {})
    stack = Stack((Constant(), Ridge(on=("format",), penalty=0.01)), even=0.0)
    found = cross_fit(stack, evidence, folds=4, seed=0)
    alone = [cross_fit(member, evidence, folds=4, seed=0) for member in stack.members]
    said_M2NE = np.stack([(found.raw_NE, found.se_NE) for found in alone])
    for fold in range(4):
        out_N = found.fold_N != fold
        lesson = stack.learn(said_M2NE[:, 0, out_N], evidence.scores_NE[out_N], evidence.weights_NE[out_N])
        assert found.raw_NE[~out_N] == pytest.approx(lesson.combined(said_M2NE[:, :, ~out_N])[0])


def test_a_fitted_router_keeps_the_weights_and_skips_what_has_none(make_log, tmp_path):
    stack = Stack((Constant(), Ridge(on=("format",)), Ridge(on=("length",), penalty=1e9)), even=0.0)
    router = Router.fit(make_log(300), estimator=stack)
    assert not stack.learned()  # the caller's own stays as it was
    assert router.estimator.weight_M_[1] > 0.8
    assert "length" not in router.signal_names or router.estimator.weight_M_[2] > 0
    router.save(tmp_path / "router")
    texts = ["1 + 2 =", "Tell me about bake?"]
    again = Router.load(tmp_path / "router")
    assert np.array_equal(again.predict(texts)[0], router.predict(texts)[0])
    assert again.signal_names == router.signal_names
    recipe = again.estimator.clone()  # what `turnout eval` fits anew must learn without the queries that are tested
    assert recipe.weights is None
    assert recipe.signals == stack.signals


def test_the_default_reads_tasks_where_there_are_several(make_log):
    log = make_log(60)
    assert default_estimator(log).params()["members"][-1].name == "task_mixture"
    assert len(default_estimator(log).members) == len(MEMBERS)
    one = OutcomeLog.from_arrays(log.texts, log.experts, log.matrix(), tasks=["same"] * len(log))
    assert len(default_estimator(one).members) == len(UNTASKED)
    assert default_estimator(one).name in registry.names("estimator")


def test_with_sentences_the_default_reads_the_encoder_that_it_was_given(make_log, tmp_path):
    weights = str(write(tmp_path / "tiny.safetensors", tensors()))
    log = make_log(80)
    one = OutcomeLog.from_arrays(log.texts, log.experts, log.matrix(), tasks=["same"] * len(log))
    assert len(default_estimator(log, sentences=True).members) == len(SENTENCES)
    estimator = default_estimator(one, sentences=True)
    assert len(estimator.members) == len(SENTENCES) - 1
    assert "sentence" in estimator.signals
    router = Router.fit(one, estimator=estimator, signals=sentence_signal(one, weights))
    assert router.signals["sentence"].encoder == weights
    router.save(tmp_path / "router")
    assert np.array_equal(Router.load(tmp_path / "router").predict(["1 + 2 ="])[0], router.predict(["1 + 2 ="])[0])


def test_a_sentence_encoder_needs_prompts(make_log):
    log = make_log(20)
    silent = OutcomeLog.from_arrays([""] * len(log), log.experts, log.matrix())
    with pytest.raises(LogError, match="reads prompts"):
        default_estimator(silent, sentences=True)

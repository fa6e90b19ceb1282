"""The battery itself: what is broken on purpose is found, by the check that is about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from turnout import registry
from turnout.base import Number, Rule
from turnout.cards.floors.base import Evidence
from turnout.cards.floors.max_score import MaxScore
from turnout.cards.floors.prototype import Prototype
from turnout.cards.matchers.exemplars import Exemplars
from turnout.errors import UnknownNameError
from turnout.estimators.base import Estimator
from turnout.estimators.constant import Constant
from turnout.estimators.knn import KNN
from turnout.features import FeatureMap, Floats, n_rows
from turnout.modes.threshold_modes import ThresholdModes
from turnout.policies.base import Policy
from turnout.policies.share import Share
from turnout.policies.utility import Utility
from turnout.signals.base import Signal
from turnout.testing import contracts


class Working(Constant):
    """A correct estimator from outside the registry."""

    name = "working"


class Leaky(Working):
    """Its predictions depend on the batch."""

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        mean_NE, se_NE = super()._predict(features)
        return mean_NE / n_rows(features) if n_rows(features) else mean_NE, se_NE


class Nosy(Working):
    """Reads scores that were not observed as zero."""

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        super()._fit(features, np.nan_to_num(scores_NE), np.ones_like(weights_NE), tasks)


class Unweighted(Working):
    """Ignores importance weights."""

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        super()._fit(features, scores_NE, (weights_NE > 0).astype(float), tasks)


class Unbounded(Working):
    """Predicts more than 1."""

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        mean_NE, se_NE = super()._predict(features)
        return mean_NE + 1.0, se_NE


class Rivalrous(Working):
    """A newcomer moves the others."""

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        super()._add_expert(features, scores_N)
        self.mean_E_ = self.mean_E_ * 0.9


class Busy(Working):
    """Its constructor computes."""

    rules: ClassVar[dict[str, Rule]] = {"half": Number(0, 1)}

    def __init__(self, half: float = 0.5) -> None:
        self.half = half
        self.double = 1.0


class Chooser(Working):
    """Has no rule for what it accepts, and one for what is no parameter."""

    rules: ClassVar[dict[str, Rule]] = {"absent": Number(0, 1)}


class Random(Working):
    """Two fits differ."""

    random = np.random.default_rng(0)

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        super()._fit(features, scores_NE, weights_NE, tasks)
        self.mean_E_ = np.clip(self.mean_E_ + self.random.normal(size=self.mean_E_.shape) * 0.01, 0, 1)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Leaky, "one_row_equals_the_batch"),
        (Nosy, "columns_may_differ_in_what_was_observed"),
        (Unweighted, "importance_weights_are_honoured"),
        (Unbounded, "predictions_are_means_in_range_with_errors"),
        (Rivalrous, "added_expert_leaves_the_others_alone"),
        (Busy, "constructor_only_assigns"),
        (Chooser, "every_rule_is_about_a_parameter"),
        (Random, "fit_is_deterministic"),
    ],
)
def test_a_broken_estimator_fails_the_check_about_it(broken: type[Estimator], check: str) -> None:
    find = dict(contracts.checks("estimator"))[check]
    find(Working)
    with pytest.raises((AssertionError, AttributeError)):
        find(broken)
    with pytest.raises((AssertionError, AttributeError)):
        contracts.run(broken)


class Spendthrift(Utility):
    """Prefers the dearer."""

    name = "spendthrift"

    def _objective(self, quality_NE: Floats, cost_NE: Floats) -> Floats:
        return quality_NE + self.lam * cost_NE + 0.1 * cost_NE


class Relative(Policy):
    """Its choice depends on the other rows."""

    def _objective(self, quality_NE: Floats, cost_NE: Floats) -> Floats:
        return quality_NE - quality_NE.mean(axis=0)


@pytest.mark.parametrize(
    ("broken", "check"),
    [(Spendthrift, "dearer_is_never_better"), (Relative, "one_row_equals_the_batch")],
)
def test_a_broken_policy_fails_the_check_about_it(broken: type[Policy], check: str) -> None:
    with pytest.raises(AssertionError):
        dict(contracts.checks("policy"))[check](broken)


class Bytes(Signal):
    """Cannot take every text, and reads all of it."""

    def transform(self, texts: Sequence[str]) -> Floats:
        return np.array([[len(text.encode("utf-8")), text.count("?")] for text in texts], dtype=np.float32)


@pytest.mark.parametrize(
    "check", ["any_text_has_features", "no_text_has_no_rows", "only_the_ends_of_a_long_text_are_read"]
)
def test_a_broken_signal_fails_the_check_about_it(check: str) -> None:
    with pytest.raises((AssertionError, UnicodeEncodeError)):
        dict(contracts.checks("signal"))[check](Bytes)


def test_a_third_party_runs_the_battery_on_its_own_class() -> None:
    ran = contracts.run(Working)
    assert ran == [name for name, _ in contracts.checks("estimator")]


def test_parameters_reach_the_component() -> None:
    seen: list[Any] = []

    class Watched(KNN):
        def _fit(self, *arguments: Any) -> None:
            seen.append(self.k)
            super()._fit(*arguments)

    contracts.run(Watched, k=7)
    assert set(seen) == {7}


def test_a_known_failure_that_passes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {("estimator", "constant", "fit_returns_self"): "it does not, they said"}
    monkeypatch.setattr(contracts, "KNOWN_FAILURES", table)
    with pytest.raises(AssertionError, match="listed as a known failure"):
        contracts.run(Constant)


def test_known_failures_are_tolerated() -> None:
    assert "dearer_is_never_better" in contracts.run(Share)


def test_every_kind_has_checks_and_an_unknown_one_has_none() -> None:
    for kind in contracts.KINDS:
        names = [name for name, _ in contracts.checks(kind)]
        assert len(names) == len(set(names)) > 10
        assert registry.names(kind)
    with pytest.raises(UnknownNameError):
        list(contracts.checks("grader"))


class Batched(Exemplars):
    """Its scores depend on the batch, and a newcomer moves the others."""

    def _score(self, texts: FeatureMap) -> Floats:
        scores_NE = super()._score(texts)
        return np.asarray(scores_NE - np.nanmean(scores_NE) * (1 + 0.1 * (scores_NE.shape[1] > 4)))


class Knowing(Exemplars):
    """Scores experts of which it knows nothing."""

    def _score(self, texts: FeatureMap) -> Floats:
        return np.nan_to_num(super()._score(texts))


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Batched, "one_text_scores_as_among_others"),
        (Batched, "a_newcomer_leaves_the_others_alone"),
        (Knowing, "unknown_experts_are_scored_by_card_or_not_at_all"),
    ],
)
def test_a_broken_matcher_fails_the_check_about_it(broken: type[Exemplars], check: str) -> None:
    dict(contracts.checks("matcher"))[check](Exemplars)
    with pytest.raises(AssertionError):
        dict(contracts.checks("matcher"))[check](broken)


class Least(MaxScore):
    """Upside down."""

    def _score(self, evidence: Evidence) -> Floats:
        return -super()._score(evidence)


class Eager(Prototype):
    """Scores without having learned, and minds gaps in the numbers of experts."""

    def _score(self, evidence: Evidence) -> Floats:
        known = getattr(self, "prototype_", np.zeros((1, 1)))
        return evidence.logits_NE.max(axis=1) + len(known) * 0 + getattr(self, "most_", 0)

    def _fit(self, texts: FeatureMap, expert_N: Any) -> None:
        super()._fit(texts, expert_N)
        self.most_ = int(expert_N.max())


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Least, "strangers_lie_below"),
        (Eager, "score_before_fit_is_refused_where_something_is_learned"),
        (Eager, "experts_may_lack_utterances"),
    ],
)
def test_a_broken_floor_fails_the_check_about_it(broken: type[MaxScore], check: str) -> None:
    with pytest.raises(AssertionError):
        dict(contracts.checks("floor"))[check](broken)


class Reckless(ThresholdModes):
    """Takes a missing statistic for a sure one, and everything else for doubt."""

    def choose(self, statistic_NS: Floats) -> Any:
        return np.where(np.isnan(statistic_NS).any(axis=1), 0, len(self.modes) - 1)


@pytest.mark.parametrize(
    "check",
    [
        "a_statistic_that_is_missing_is_doubt",
        "choose_before_fit_is_refused",
        "sure_and_unsure_queries_are_told_apart",
    ],
)
def test_a_broken_mode_fails_the_check_about_it(check: str) -> None:
    dict(contracts.checks("mode"))[check](ThresholdModes)
    with pytest.raises(AssertionError):
        dict(contracts.checks("mode"))[check](Reckless)


@pytest.mark.parametrize(("combine", "levels"), [("worst", None), ("sum", (2,)), ("learned", (3,))])
def test_choosers_of_several_modes_keep_the_contract(combine: str, levels: tuple[int, ...] | None) -> None:
    modes = {"statistics": ("sure",), "modes": ("one", "two", "three")}
    assert contracts.run(ThresholdModes, combine=combine, levels=levels, **modes)

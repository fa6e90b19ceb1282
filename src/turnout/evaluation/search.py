"""Successive halving over estimators: which one serves a goal best, judged on queries it was not fitted on.

Source: successive halving as in Jamieson and Talwalkar (AISTATS 2016), with rows as the resource.
Shape letters: N queries, E experts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnout import registry
from turnout.errors import LogError, TurnoutError
from turnout.estimators.base import Estimator
from turnout.evaluation import metrics
from turnout.evaluation.candidates import Candidate
from turnout.evaluation.goals import Goal, Held, gain
from turnout.policies.base import Policy
from turnout.routers.calibration import Calibration
from turnout.routers.crossfit import CrossFit, calibrated, held_out
from turnout.routers.evidence import Evidence
from turnout.stats import Interval, group_folds

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Clock = Callable[[], float]

FIRST = 600  # training queries of the first rung
FINALISTS = 3  # methods that are fitted on every fold, besides the first


@dataclass(frozen=True)
class Standing:
    """How a method did on the folds that chose among them, which flatters the first of a table.

    `fitted_on` and `judged_on` count queries, `seconds` is the time of one fit on that many; `cost` is in US dollars
    per 1,000 requests, `gain` the paired gain in score over the best single expert.
    """

    name: str
    also: tuple[str, ...]
    merit: float
    quality: float
    gain: Interval
    cost: float
    fitted_on: int
    judged_on: int
    seconds: float


@dataclass(frozen=True)
class Choice:
    """What a search settled on, with held-out predictions for all its queries; `standings` are best first."""

    estimator: Estimator
    policy: Policy
    found: CrossFit
    standings: tuple[Standing, ...]
    refused: Mapping[str, str]

    @property
    def winner(self) -> str:
        """The chosen method's name."""
        return self.standings[0].name


@dataclass
class _Trial:
    """A method under test: held-out predictions so far (NaN where there are none) and the time of its last fit."""

    candidate: Candidate
    raw_NE: Array
    se_NE: Array
    seconds: float = 0.0
    fitted_on: int = 0


class Search:
    """A search on one log, or one side of it.

    `cost_of` gives the predicted US dollars per request, (N, E), as a router that reads the named signals tells them.

    With `seconds`, methods whose next fit would end too late drop out; some method is fitted in any case.
    """

    def __init__(
        self,
        evidence: Evidence,
        cost_of: Callable[[Sequence[str]], Array],
        goal: Goal,
        *,
        folds: int = 3,
        seed: int = 0,
        seconds: float | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        groups = len(np.unique(evidence.groups_N))
        if groups < 4:
            raise LogError(f"a search needs at least four queries that differ, got {groups}")
        self._evidence, self._cost_of, self._goal, self._seed = evidence, cost_of, goal, seed
        self._fold_N = group_folds(evidence.groups_N, min(folds, groups), seed)
        self._clock, self._end = clock, np.inf if seconds is None else clock() + seconds
        self._refused: dict[str, str] = {}
        self._standings: dict[str, Standing] = {}
        everybody_N = np.ones(len(self._fold_N), dtype=bool)
        self._single = int(np.argmax(evidence.averages(everybody_N, evidence.cost_NE)[0]))

    def run(self, candidates: Sequence[Candidate]) -> Choice:
        """Rank all on a sample, the better half on one fold, and the best few on all folds.

        The first candidate and the mean of the best few stay in the race to its end. Raises LogError where no method
        can be fitted.
        """
        shape = self._evidence.scores_NE.shape
        trials = [_Trial(each, np.full(shape, np.nan), np.full(shape, np.nan)) for each in candidates]
        first, train = trials[0], np.flatnonzero(self._fold_N != 0)
        if len(train) > 1.5 * FIRST and len(trials) > FINALISTS + 1:
            sample = np.sort(np.random.default_rng(self._seed).permutation(train)[:FIRST])
            trials = _kept(first, self._rung(trials, {0: sample}), max(FINALISTS, len(trials) // 2))
        trials = _kept(first, self._rung(trials, {0: train}), FINALISTS)
        later = range(1, int(self._fold_N.max()) + 1)
        trials = self._rung(trials, {fold: np.flatnonzero(self._fold_N != fold) for fold in later})
        if not trials:
            reasons = "; ".join(f"{name}: {why}" for name, why in self._refused.items())
            raise LogError(f"no method could be fitted: {reasons}")
        return self._settle(trials)

    def _rung(self, trials: Sequence[_Trial], train: Mapping[int, Rows]) -> list[_Trial]:
        """Fit each method on the rows given per fold, predict those folds; what could be fitted, best first."""
        fitted: list[_Trial] = []
        for trial in trials:
            rows = sum(map(len, train.values()))
            expected = trial.seconds * rows / max(trial.fitted_on, 1)
            if fitted and self._clock() + expected > self._end:
                self._refused[trial.candidate.name] = "out of time"
                continue
            try:
                for fold, train_I in train.items():
                    self._fit(trial, train_I, np.flatnonzero(self._fold_N == fold))
            except (TurnoutError, ValueError, ImportError) as error:
                self._refused[trial.candidate.name] = str(error)
                continue
            self._judge(trial)
            fitted.append(trial)
        return sorted(fitted, key=self._rank)

    def _rank(self, trial: _Trial) -> float:
        return -self._standings[trial.candidate.name].merit

    def _fit(self, trial: _Trial, train: Rows, test: Rows) -> None:
        start = self._clock()
        trial.raw_NE[test], trial.se_NE[test] = held_out(trial.candidate.estimator, self._evidence, train, test)
        trial.seconds, trial.fitted_on = self._clock() - start, len(train)

    def _judge(self, trial: _Trial) -> None:
        """Put the method's standing down, from every query it has been asked about."""
        rows = np.flatnonzero(~np.isnan(trial.raw_NE).any(axis=1))
        held = self._held(trial, rows)
        policy = self._goal.policy(held)
        choice_N = policy.choose(held.quality_NE, held.cost_NE)
        name = trial.candidate.name
        self._standings[name] = Standing(
            name=name,
            also=trial.candidate.names[1:],
            merit=self._goal.merit(held, policy),
            quality=float(metrics.chosen(held.value_NE, choice_N).mean()),
            gain=gain(held, policy),
            cost=1000 * float(metrics.chosen(held.spend_NE, choice_N).mean()),
            fitted_on=trial.fitted_on,
            judged_on=len(rows),
            seconds=trial.seconds,
        )

    def _held(self, trial: _Trial, rows: Rows) -> Held:
        """Calibrated predictions and true values of some queries."""
        part, raw_NE, se_NE = self._evidence.rows(rows), trial.raw_NE[rows], trial.se_NE[rows]
        if len(rows) == len(self._fold_N):
            quality_NE = calibrated(self._fold_N, raw_NE, se_NE, part).quality_NE
        else:
            quality_NE = Calibration.fit(raw_NE, part.scores_NE, part.weights_NE).apply(raw_NE, se_NE)[0]
        cost_NE = self._cost_of(trial.candidate.estimator.signals)[rows]
        value_NE, spend_NE = part.values(quality_NE, cost_NE)
        return Held(quality_NE, cost_NE, value_NE, spend_NE, part.groups_N, self._single)

    def _settle(self, trials: list[_Trial]) -> Choice:
        if len(trials) > 1:
            trials = [*trials, self._blend(trials[:FINALISTS])]
        best = min(trials, key=self._rank)
        finished = [trial.candidate.name for trial in sorted(trials, key=self._rank)]
        dropped = sorted((s for s in self._standings.values() if s.name not in finished), key=_earlier)
        return Choice(
            estimator=best.candidate.estimator,
            policy=self._goal.policy(self._held(best, np.arange(len(self._fold_N)))),
            found=calibrated(self._fold_N, best.raw_NE, best.se_NE, self._evidence),
            standings=(*(self._standings[name] for name in finished), *dropped),
            refused=dict(self._refused),
        )

    def _blend(self, members: Sequence[_Trial]) -> _Trial:
        """The mean of the best methods; their predictions are there, so that it costs no fit."""
        parts = tuple(trial.candidate.estimator for trial in members)
        share_M = np.array([part.models for part in parts], dtype=np.float64)
        share_M /= share_M.sum()
        made = _Trial(
            Candidate(
                (" + ".join(trial.candidate.name for trial in members),),
                registry.create("estimator", "average", members=parts),
            ),
            np.tensordot(share_M, np.stack([trial.raw_NE for trial in members]), 1),
            np.tensordot(share_M, np.stack([trial.se_NE for trial in members]), 1),
            sum(trial.seconds for trial in members),
            members[0].fitted_on,
        )
        self._judge(made)
        return made


def _kept(first: _Trial, ranked: Sequence[_Trial], count: int) -> list[_Trial]:
    """The best `count`, and the first candidate where it could be fitted."""
    return [*ranked[:count], *([first] if first in ranked[count:] else [])]


def _earlier(standing: Standing) -> tuple[int, float]:
    """Those that came further stand first."""
    return -standing.fitted_on, -standing.merit

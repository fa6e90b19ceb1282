"""How often a router changes its mind when a request is only written differently, and what that costs.

Shape letters: N texts, E experts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from turnout.errors import LogError
from turnout.evaluation import metrics
from turnout.evaluation.perturbations import PERTURBATIONS, perturb
from turnout.features import Floats
from turnout.stats import Interval, near_duplicates, paired_bootstrap

if TYPE_CHECKING:
    from turnout.routers import Router

ALL = "all"
Choice = NDArray[np.intp]


@dataclass(frozen=True)
class Flips:
    """One change of the texts. Intervals are 95 %, over groups of near-duplicates.

    `rate` is the part of the `texts` it applies to whose expert changes; `quality` the mean change in score where the
    scores are known; `doubt` the mean part of flips that the router itself held for less than .01 of quality.
    """

    perturbation: str
    texts: int
    rate: Interval
    quality: Interval | None
    doubt: float | None


@dataclass(frozen=True)
class Robustness:
    """One router under all changes; the row `all` is each text's mean over the changes that apply to it.

    `accuracy` is the mean score on the texts as they are, `milliseconds` the time of one decision in a batch.
    `abstains` says that the guard serves one expert whatever the text: rates are those of the policy behind it.
    """

    router: str
    experts: int
    abstains: bool
    flips: tuple[Flips, ...]
    accuracy: Interval | None
    milliseconds: float
    flipped: Mapping[str, Floats]

    def rate(self, perturbation: str = ALL) -> Interval:
        """The flip rate under one change. Raises KeyError."""
        return next(row.rate for row in self.flips if row.perturbation == perturbation)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "router": self.router,
            "experts": self.experts,
            "abstains": self.abstains,
            "accuracy": None if self.accuracy is None else self.accuracy._asdict(),
            "milliseconds": self.milliseconds,
            "flips": [
                {
                    "perturbation": row.perturbation,
                    "texts": row.texts,
                    "rate": row.rate._asdict(),
                    "quality": None if row.quality is None else row.quality._asdict(),
                    "doubt": row.doubt,
                }
                for row in self.flips
            ],
        }


@dataclass(frozen=True)
class Questions:
    """Texts, their groups of near-duplicates, every change of them (None where one does not apply), and scores.

    `score_NE` has the columns of `experts`, NaN where nothing was observed; None where no outcome is known.
    """

    texts: list[str]
    group_N: NDArray[np.int64]
    changed: Mapping[str, Sequence[str | None]]
    experts: tuple[str, ...] = ()
    score_NE: Floats | None = None

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        *,
        seed: int = 0,
        further: Mapping[str, Sequence[str | None]] | None = None,
        experts: Sequence[str] = (),
        score_NE: Floats | None = None,
    ) -> Questions:
        """Texts under every change of the package, and `further` ones by name (a model's paraphrases, say)."""
        texts = list(texts)
        if not any(text.strip() for text in texts):
            raise LogError("flip rates need texts, and there are none")
        changed: dict[str, Sequence[str | None]] = {name: perturb(name, texts, seed) for name in PERTURBATIONS}
        return cls(texts, near_duplicates(texts), {**changed, **(further or {})}, tuple(experts), score_NE)


def measure(
    router: Router, questions: Questions, name: str = "router", clock: Callable[[], float] = time.perf_counter
) -> Robustness:
    """Ask the router about every text and every change of it."""
    start = clock()
    quality_NE, choice_N = _ask(router, questions.texts)
    spent = clock() - start
    score_NE = _scores(router, questions)
    rows, flipped = [], {}
    for perturbation, texts in questions.changed.items():
        at = np.array([n for n, text in enumerate(texts) if text is not None], dtype=np.intp)
        if not len(at):
            continue
        _, other_n = _ask(router, [text for text in texts if text is not None])
        moved_n = choice_N[at] != other_n
        flipped_N = np.full(len(texts), np.nan)
        flipped_N[at] = moved_n
        flipped[perturbation] = flipped_N
        lost_n = metrics.chosen(quality_NE[at], choice_N[at]) - metrics.chosen(quality_NE[at], other_n)
        change = None
        if score_NE is not None:
            change_n = metrics.chosen(score_NE[at], other_n) - metrics.chosen(score_NE[at], choice_N[at])
            change = _interval(change_n, questions.group_N[at]) if np.isfinite(change_n).any() else None
        rows.append(
            Flips(
                perturbation=perturbation,
                texts=len(at),
                rate=_interval(moved_n.astype(np.float64), questions.group_N[at]),
                quality=change,
                doubt=float((lost_n[moved_n] < 0.01).mean()) if moved_n.any() else None,
            )
        )
    flipped[ALL] = np.nanmean(np.stack(list(flipped.values())), axis=0)
    score_N = np.full(len(choice_N), np.nan) if score_NE is None else metrics.chosen(score_NE, choice_N)
    accuracy = _interval(score_N, questions.group_N) if np.isfinite(score_N).any() else None
    rows.append(Flips(ALL, len(questions.texts), _interval(flipped[ALL], questions.group_N), None, None))
    return Robustness(
        name, len(router.experts), router.guard.abstains, tuple(rows), accuracy, 1e3 * spent / len(choice_N), flipped
    )


def difference(first: Robustness, second: Robustness, questions: Questions, perturbation: str = ALL) -> Interval:
    """Paired difference in flip rate, first less second, on the same texts."""
    return _interval(first.flipped[perturbation] - second.flipped[perturbation], questions.group_N)


def _ask(router: Router, texts: Sequence[str]) -> tuple[Floats, Choice]:
    """Quality (N, E), and what the policy chooses without the guard, which would hide every flip."""
    quality_NE, _, cost_NE = router.predict(list(texts))
    return quality_NE, router.policy.choose(quality_NE, cost_NE)


def _scores(router: Router, questions: Questions) -> Floats | None:
    """Scores in the router's order of experts, NaN for one that the questions do not know."""
    if questions.score_NE is None:
        return None
    columns = [
        questions.score_NE[:, questions.experts.index(name)]
        if name in questions.experts
        else np.full(len(questions.texts), np.nan)
        for name in router.experts
    ]
    return np.stack(columns, axis=1)


def _interval(values_N: Floats, group_N: NDArray[np.int64]) -> Interval:
    return paired_bootstrap(values_N, group_N, seed=0)

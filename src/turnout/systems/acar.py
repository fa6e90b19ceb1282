"""ACAR: the spread of three cheap answers decides whether one, two or all models are asked.

Source: the authors' TeX (public repository); the engine itself is not there, its contracts are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from turnout import registry
from turnout.evaluation import datasets
from turnout.modes import sigma
from turnout.outcomes import OutcomeLog
from turnout.stats import Interval, bootstrap_mean
from turnout.systems._modes import (
    LARGE,
    MIDDLE,
    SMALL,
    Answers,
    Rows,
    Scene,
    Show,
    Variant,
    accuracy_row,
    cells,
    measured,
    read,
    voted,
)
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["ACAR"]

PROBE = (f"{MIDDLE}:direct", f"{SMALL}:cot", f"{SMALL}:direct")
LITE = (f"{LARGE}:direct", *PROBE)
FULL = (f"{LARGE}:direct", f"{MIDDLE}:cot", *PROBE)
MODES = ("single", "lite arena", "full arena")


def _mode(cuts: tuple[tuple[float, ...], ...] | None) -> Any:
    return registry.create("mode", "threshold_modes", statistics=("1 - sigma",), modes=MODES, cuts=cuts)


def _build() -> Mapping[str, Any]:
    return {"mode": _mode(((0.25, 0.75),))}


def _play(answers: Answers, train_I: Rows, seed: int) -> Scene:  # noqa: ARG001 - nothing is learned
    agree_N = np.array([1.0 - sigma(answers.texts(n, PROBE)) for n in range(len(answers))])
    return Scene(agree_N[:, None], [voted(answers, PROBE), voted(answers, LITE), voted(answers, FULL)])


def _measure(system: System, run: Run) -> Figures:
    fitted = Variant(_mode(None), (0,), (0, 1, 2))
    variants = {"cuts fitted to half of the extra cost": fitted, **cells(_mode(None), (2,))}
    return measured(system, run, Show(FULL, _play, variants=variants, more=_pair))


def _pair(run: Run) -> Sequence[Mapping[str, str | float | None]]:
    """Mixtral and GPT-4 on GSM8K: what agreement of two answers is worth."""
    log = OutcomeLog.read(datasets.folder(run.data) / "routellm")
    log = log.select(np.array([task.startswith("gsm8k") for task in log.tasks or ()]))
    answers = read(log, sorted(datasets.ROUTELLM_PRICES))
    strong = answers.at("gpt-4-1106-preview")
    agree_N = np.array([sigma(answers.texts(n, answers.experts)) == 0.0 for n in range(len(answers))])
    score_N, both_N = answers.score_NE[:, strong], answers.score_NE.min(axis=1)

    def among(values_N: Any, rows_N: Any) -> Interval:
        return bootstrap_mean(values_N[rows_N], answers.group_N[rows_N], seed=0)

    share = float(agree_N.mean())
    return [
        accuracy_row(
            f"GSM8K, Mixtral and GPT-4: GPT-4 where they agree ({share:.0%} of questions)", among(score_N, agree_N), 2.0
        ),
        accuracy_row("GSM8K, Mixtral and GPT-4: GPT-4 where they differ", among(score_N, ~agree_N), 2.0),
        accuracy_row(
            "GSM8K: agree but wrong, of all questions",
            bootstrap_mean(agree_N * (1.0 - both_N), answers.group_N, seed=0),
            2.0,
        ),
    ]


ACAR = System(
    name="acar",
    number=26,
    title="ACAR",
    level="request",
    claim=Claim(
        "On 1,510 tasks three answers of a cheap probe choose between one, two and three models: 55.6 % against 54.4 % "
        "for always two and 63.6 % for always three, with 54.2 % of the tasks sparing the full arena.",
        "the authors' TeX",
    ),
    parts=("mode:threshold_modes",),
    novelty="signal",
    build=_build,
    deviations=(
        "The probe's three answers come from two models and two prompts, all greedy; the paper samples one model.",
        "Arenas vote, ties to the largest model; the paper's full arena has a judge.",
        "Probe answers are kept and vote in the arenas.",
    ),
    limits=(
        "Agreement on a wrong answer is never escalated; the table counts such cases on GSM8K.",
        "With models this weak three answers seldom agree, so most queries go to the full arena, and blind escalation "
        "does as well.",
        "218 queries: the interval is about .06 wide on either side.",
    ),
    code="github.com/mechramc/ACAR-TeamLLM",
    table="local_pool",
    measure=_measure,
)

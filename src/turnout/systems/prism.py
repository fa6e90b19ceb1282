"""PRISM: a predicted suitability per strategy; sure ones run alone, near ties in pairs, doubtful queries in all.

Source: the authors' repository, `main_experiment.py` (policy) and `regre_infer.py` (adapter).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from turnout import registry
from turnout.systems._modes import (
    LARGE,
    MIDDLE,
    SMALL,
    Answers,
    Rows,
    Scene,
    Show,
    Variant,
    cells,
    measured,
    picked,
    predicted,
    voted,
)
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["PRISM"]

STRATEGIES = (f"{LARGE}:direct", f"{MIDDLE}:direct", f"{MIDDLE}:cot", f"{SMALL}:cot", f"{SMALL}:direct")
MODES = ("top-1", "top-2", "all")
PUBLISHED = ((0.35,), (0.10,))


def _mode(cuts: tuple[tuple[float, ...], ...] | None) -> Any:
    statistics = ("p1", "p1 - p2")
    return registry.create(
        "mode", "threshold_modes", statistics=statistics, modes=MODES, combine="first", cuts=cuts, levels=(1, 1)
    )


def _build() -> Mapping[str, Any]:
    return {"mode": _mode(None), "adapter": registry.create("estimator", "ridge", on=("embedding", "format"))}


def _play(answers: Answers, train_I: Rows, seed: int) -> Scene:  # noqa: ARG001 - the adapter has no chance in it
    suited_NE = np.clip(predicted(answers, answers.score_NE, train_I), 1e-3, None)
    share_NE = suited_NE / suited_NE.sum(axis=1, keepdims=True)
    order_NE = np.argsort(-share_NE, axis=1, kind="stable")
    sorted_NE = np.take_along_axis(share_NE, order_NE, axis=1)
    ranked = [[answers.experts[e] for e in row] for row in order_NE]
    statistic_NS = np.stack([sorted_NE[:, 0], sorted_NE[:, 0] - sorted_NE[:, 1]], axis=1)
    first = picked(answers, [names[0] for names in ranked])
    return Scene(statistic_NS, [first, voted(answers, [names[:2] for names in ranked]), voted(answers, ranked)])


def _measure(system: System, run: Run) -> Figures:
    variants = cells(_mode(None), (1, 1)) | {"published cuts (.35, .10)": Variant(_mode(PUBLISHED), (0, 1), (0, 1, 2))}
    return measured(system, run, Show(STRATEGIES, _play, variants=variants))


PRISM = System(
    name="prism",
    number=3,
    title="PRISM",
    level="request",
    claim=Claim(
        "Choosing among four solving strategies of one model gains .9 to 7.6 % over single strategies and ensembles on "
        "five mathematics sets.",
        "the abstract",
    ),
    parts=("mode:threshold_modes", "estimator:ridge", "signal:embedding", "signal:format"),
    novelty="policy",
    build=_build,
    deviations=(
        "Strategies are five model-and-prompt arms of three small models; none of them runs a program.",
        "The adapter is a ridge regression on embedding and format, its scores made to sum to one; the authors "
        "fine-tune a 1.5B model.",
        "Of five answers two may be given twice: the one of the better ranked arm is taken. The authors have four "
        "strategies, and of a tie the first one's answer.",
        "Cuts are fitted within half of the extra cost; the published ones are a row of their own.",
    ),
    limits=(
        "As published, the pair's answer is the first one's whether or not the two agree, so `top-2` pays for a second "
        "call that only helps where the first gave no answer.",
        "On 218 queries the adapter hardly knows more than which arm is best on average; cuts gain nothing over it.",
    ),
    code="github.com/reml-group/PRISM",
    table="local_pool",
    measure=_measure,
)

"""PCC: certainty of the tokens and consistency of the answers, each high or low, choose one of four ways to go on.

Source: the paper's text as found publicly (no code); withdrawn from its first venue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from turnout import registry
from turnout.modes import consistency, harmonic
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
    one,
    voted,
)
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["PCC"]

BASE, PARTNER, STRONG = f"{MIDDLE}:direct", f"{SMALL}:direct", f"{LARGE}:direct"
MODES = ("keep", "verify", "ask", "ask anew")


def _build() -> Mapping[str, Any]:
    statistics = ("certainty", "consistency")
    return {"mode": registry.create("mode", "threshold_modes", statistics=statistics, modes=MODES, combine="grid")}


def _play(answers: Answers, train_I: Rows, seed: int) -> Scene:  # noqa: ARG001 - nothing is learned
    tau_N = answers.certainty_NE[:, answers.at(BASE)]
    texts = [answers.texts(n, (BASE, PARTNER)) for n in range(len(answers))]
    differ_N = np.array([float(first != second or not first) for first, second in texts])
    gamma_N = np.array([consistency(np.array([[0.0, d], [d, 0.0]])) for d in differ_N])
    strong = one(answers, STRONG, beside=(BASE, PARTNER))
    kept = one(answers, BASE, beside=(PARTNER,))
    statistic_NS = np.stack([tau_N, gamma_N, harmonic(tau_N, gamma_N)], axis=1)
    return Scene(statistic_NS, [kept, voted(answers, (STRONG, BASE, PARTNER)), strong, strong])


def _measure(system: System, run: Run) -> Figures:
    two = registry.create("mode", "threshold_modes", statistics=("confidence",), modes=("keep", "ask"))
    variants = cells(system.build()["mode"], (2, 1)) | {
        f"{name} alone": Variant(two, (s,), (0, 2))
        for s, name in enumerate(("certainty", "consistency", "their harmonic mean"))
    }
    return measured(system, run, Show((BASE, PARTNER, STRONG), _play, variants=variants))


PCC = System(
    name="pcc",
    number=5,
    title="PCC",
    level="request",
    claim=Claim(
        "Certainty and consistency together halve the calibration error of verbal confidence in fact checking (SciFact "
        "23.5 to 12.9 with Gemini-2.5-Pro), and choosing the search by their quadrants beats FIRE on F1.",
        "the paper's text, by way of a public copy",
    ),
    parts=("mode:threshold_modes",),
    novelty="signal",
    build=_build,
    deviations=(
        "Certainty is the geometric mean probability of the answer's tokens; the log has no masses of true and false "
        "tokens (`turnout.modes.verdict` computes the paper's own from them).",
        "Consistency is whether two models give the same answer; no entailment model compares rationales.",
        "The four actions are: keep, verify by a vote, ask a larger model (twice); there is no retrieval here.",
        "The two cuts are fitted for accuracy within half of the extra cost, not read off the score distributions.",
    ),
    limits=(
        "Its cost counts the partner's call on every query, which certainty alone would spare.",
        "Doubt here mostly means that the question is out of reach of the larger model too: where the small one is "
        "least sure both are right on 4 to 5 % of the questions. Escalating on doubt loses .02 to blind escalation; "
        "learning the mode of every cell is what helps.",
    ),
    table="local_pool",
    measure=_measure,
)

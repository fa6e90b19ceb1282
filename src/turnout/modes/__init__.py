"""How sure an output is, and what to do then: signals on outputs, and thresholds on them that choose a mode.

A mode is a way to go on (answer, verify with a second expert, ask all and vote, reason on); calls that a mode needs are
made by whoever runs it. Everything here is pure and synchronous.
"""

from turnout.modes._outputs import (
    agreement,
    certainty,
    consistency,
    final_answer,
    harmonic,
    hindsight,
    sigma,
    stable,
    verdict,
    vote,
)

__all__ = [
    "agreement",
    "certainty",
    "consistency",
    "final_answer",
    "harmonic",
    "hindsight",
    "sigma",
    "stable",
    "verdict",
    "vote",
]

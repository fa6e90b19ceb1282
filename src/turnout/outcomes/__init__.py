"""The outcome log: query × expert → score, cost, tokens, latency, energy, response, propensity."""

from turnout.outcomes.log import OutcomeLog
from turnout.outcomes.luck import luck
from turnout.outcomes.reports import Leaks, describe, leaks

__all__ = ["Leaks", "OutcomeLog", "describe", "leaks", "luck"]

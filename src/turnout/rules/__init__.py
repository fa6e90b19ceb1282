"""Rules over named signals, as an operator writes them: what they say, what they mean, and what is wrong with them.

Standard library only; what a signal's value is for a request is found in `turnout.routers.conditions`.
"""

from turnout.rules.expression import Expression, parse
from turnout.rules.lint import Finding, check, lint
from turnout.rules.spec import Rule, SignalSpec, Then

__all__ = ["Expression", "Finding", "Rule", "SignalSpec", "Then", "check", "lint", "parse"]

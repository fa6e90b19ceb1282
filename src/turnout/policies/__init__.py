"""Policies: one algorithm, one file; the file's name is the registered name. Add one by adding a file."""

from turnout.policies.base import Policy

__all__ = ["Policy"]

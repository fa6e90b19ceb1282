"""Estimators: one algorithm, one file; the file's name is the registered name. Add one by adding a file."""

from turnout.estimators.base import Estimator

__all__ = ["Estimator"]

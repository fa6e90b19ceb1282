"""What an estimator that wraps another shares: the inner one's signals, models and checks."""

from __future__ import annotations

from turnout.estimators.base import Estimator

__all__ = ["Around"]


class Around(Estimator):
    """An estimator that changes what the estimator in its parameter `of` says."""

    of: Estimator

    @property
    def signals(self) -> tuple[str, ...]:
        return self.of.signals

    @property
    def models(self) -> int:
        return self.of.models

    def check(self) -> None:
        """Raise ParameterError for a parameter, of this estimator or the inner one, that breaks its rule."""
        super().check()
        self.of.check()

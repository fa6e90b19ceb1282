"""Routers that read several views of a text, so that fewer decisions hang on how a request is worded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from turnout import registry
from turnout.errors import LogError
from turnout.estimators.base import Estimator
from turnout.signals.base import Signal
from turnout.signals.smoothed import Smoothed

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog
    from turnout.routers.router import Router

VIEWS = ("canonical",)


def smoothed(router: Router, views: tuple[str, ...] = VIEWS) -> Router:
    """A copy that averages its signals over views of each text; nothing is learned again.

    Its calibration and its guard's interval stay those of the router, which saw plain texts: fit with
    `smoothed_signals` for figures of its own.
    """
    made = router.copy()
    made.signals = {name: Smoothed.around(signal, views) for name, signal in made.signals.items()}
    return made


def smoothed_signals(
    log: OutcomeLog, estimator: Estimator, views: tuple[str, ...] = VIEWS, fitted: Mapping[str, Signal] | None = None
) -> dict[str, Signal]:
    """Signals for `Router.fit(signals=…)` that average over views, learned from the log's texts. Raises LogError.

    `fitted` signals are wrapped as they are.
    """
    if not log.has_text:
        raise LogError("smoothing reads texts, and the log has none")
    known = fitted or {}
    return {
        name: Smoothed.around(known[name], views)
        if name in known
        else Smoothed(registry.create("signal", name), views).fit(log.texts)
        for name in dict.fromkeys(estimator.signals)
    }

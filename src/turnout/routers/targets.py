"""What a user asks for in words (a budget, a saving, a share, a floor), as a policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from turnout import registry
from turnout.errors import ConfigError
from turnout.policies.base import Policy
from turnout.prices import CostModel
from turnout.routers.bound import stated_prices
from turnout.routers.evidence import prompt_sizes
from turnout.types import Arm

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog


def saving(log: OutcomeLog, percent: float, arms: Sequence[Arm] = ()) -> Policy:
    """A budget policy: the best quality at `percent` % less than the log's best expert costs for every query.

    Raises ConfigError where the percentage is not in [0, 100), or the log and the arms tell no costs.
    """
    if not 0 <= percent < 100:
        raise ConfigError(f"a saving must be in [0, 100) percent, got {percent:g}")
    scores_NE = log.matrix("score")
    seen_E = np.isfinite(scores_NE).sum(axis=0)
    mean_E = np.where(seen_E > 0, np.nansum(scores_NE, axis=0) / np.maximum(seen_E, 1), -np.inf)
    best = int(mean_E.argmax())
    spend = 1000 * float(cost_model(log, arms).predict(prompt_sizes(log))[:, best].mean())
    if spend <= 0:
        raise ConfigError(
            f"nothing can be saved: the log tells no cost of its best expert, {log.experts[best]!r}; "
            "give prices in a configuration (--arms), or a log with `cost` or token counts"
        )
    made: Policy = registry.create("policy", "budget", dollars_per_1k=float(f"{spend * (1 - percent / 100):.6g}"))
    return made


def cost_model(log: OutcomeLog, arms: Sequence[Arm] = ()) -> CostModel:
    """The cost of every expert of a log, from the arms' stated prices and the log's costs and token counts."""
    return CostModel.fit(
        log.experts,
        prompt_sizes(log),
        prices=stated_prices(arms),
        cost_NE=log.matrix("cost") if log.has("cost") else None,
        prompt_NE=log.matrix("prompt_tokens") if log.has("prompt_tokens") else None,
        completion_NE=log.matrix("completion_tokens") if log.has("completion_tokens") else None,
    )

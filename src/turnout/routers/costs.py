"""What requests will cost: learned from a log, and told for its own queries by what the others taught.

Shape letters: N queries, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from turnout.departures import sample
from turnout.features import Floats, take
from turnout.prices import CostModel
from turnout.routers.evidence import Evidence, prompt_sizes
from turnout.types import Price

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog

Array = NDArray[np.float64]


def fit_costs(
    log: OutcomeLog, evidence: Evidence, prices: Mapping[str, Price], drawn: Evidence | None = None
) -> CostModel:
    """The cost model of the evidence's experts, from every outcome of the log (scored or not).

    What signals tell beside a prompt's size is learned from `drawn`, else from a sample of the evidence.
    """
    some = log.only(evidence.experts)
    names = {"cost_NE": "cost", "prompt_NE": "prompt_tokens", "completion_NE": "completion_tokens"}
    amounts = {key: some.matrix(name) for key, name in names.items() if some.has(name)}
    model = CostModel.fit(evidence.experts, prompt_sizes(some), prices=prices, **amounts)
    return _informed(model, evidence.rows(sample(len(evidence.query_ids))) if drawn is None else drawn)


def fold_costs(costs: CostModel, drawn: Evidence, fold_N: NDArray[np.int64], folds: int) -> list[CostModel]:
    """For each fold the model whose departures, at the same penalties, were learned from the other folds alone."""
    if not costs.departures.on:
        return [costs] * folds
    penalty_F = costs.departures.penalty_F
    return [_informed(costs, drawn.rows(np.flatnonzero(fold_N != fold)), penalty_F) for fold in range(folds)]


def held_out_costs(costs: CostModel, evidence: Evidence, fold_N: NDArray[np.int64]) -> Array:
    """US dollars per request, (N, E), each fold's as the others tell them."""
    sampled_N = sample(len(fold_N))
    cost_NE = np.empty(evidence.scores_NE.shape)
    models = fold_costs(costs, evidence.rows(sampled_N), fold_N[sampled_N], int(fold_N.max()) + 1)
    for fold, model in enumerate(models):
        at_N = np.flatnonzero(fold_N == fold)
        cost_NE[at_N] = model.predict(evidence.size_N[at_N], features=take(evidence.features, at_N))
    return cost_NE


def _informed(model: CostModel, seen: Evidence, penalty_F: Floats | None = None) -> CostModel:
    amounts = {"cost_NE": seen.cost_NE, "prompt_NE": seen.prompt_NE, "completion_NE": seen.completion_NE}
    return model.informed(seen.features, seen.size_N, penalty_F=penalty_F, **amounts)

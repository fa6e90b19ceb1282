"""The auxiliary load-balancing loss of Switch Transformers, per batch, per sequence or global."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number, OneOf
from turnout.nn._steady import over_replicas, tallied
from turnout.nn.balancers._parts import mean, probabilities, real, sequences
from turnout.nn.base import Balancer, Routing

__all__ = ["SwitchLoss"]


class SwitchLoss(Balancer):
    """α · E · Σ_e f_e · P_e: f the share of rows an expert gets (no gradient), P its mean score.

    1·α when balanced, E·α when one expert gets all; padding counts in neither. `over` says where f and P are taken: a
    `batch` (of one process and one micro-batch); each `sequence`, then averaged over sequences (needs sequence_T); or
    `global`, where f is that of every row since the last `update_biases(model)`, over gradient accumulation and all
    replicas, and P stays the batch's own; in evaluation both are.

    Source: Fedus et al., "Switch Transformers", 2021; per sequence: DeepSeek-V2/V3; global: Qiu et al., "Demons in the
    Detail", 2025. Limits: balances shares, not FLOPs; `global` never forgets if `update_biases` is never called.

    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), balancers=[SwitchLoss(0.01)])
    >>> layer(torch.randn(64, 8)).losses["switch_loss"].item() > 0.0099
    True
    """

    rules: ClassVar = {"coefficient": Number(0), "over": OneOf(("batch", "sequence", "global"))}

    def __init__(self, coefficient: float = 0.01, *, over: str = "batch") -> None:
        super().__init__()
        self.require(coefficient=coefficient, over=over)
        self.coefficient, self.over = coefficient, over
        self.counts_E = torch.zeros(0, dtype=torch.int64)

    def after_step(self) -> bool:
        """Forget the counts gathered for the global share; False where there are none."""
        gathered = bool(self.counts_E.numel())
        self.counts_E = self.counts_E.new_zeros(0)
        return gathered

    def _loss(self, routing: Routing) -> Tensor:
        plan = routing.plan
        scores_TE = probabilities(routing)
        if self.over == "sequence":
            return self._by_sequence(routing, scores_TE)
        counts_E = plan.counts_E if self.over == "batch" else self._gathered(plan.counts_E)
        share_E = counts_E / counts_E.sum().clamp_min(1)
        return plan.experts * (share_E * scores_TE.sum(0)).sum() / max(scores_TE.shape[0], 1)

    def _gathered(self, counts_E: Tensor) -> Tensor:
        if self.training:
            before_E = self.counts_E if self.counts_E.numel() else torch.zeros_like(counts_E)
            self.counts_E = tallied(before_E, counts_E)
        # one process may evaluate alone, and would wait for the others for good
        return over_replicas(self.counts_E) if self.training else counts_E

    def _by_sequence(self, routing: Routing, scores_TE: Tensor) -> Tensor:
        number_T, count = sequences(routing, "SwitchLoss over sequences")
        experts = routing.plan.experts
        chosen_TE = real(routing.plan.chosen_TE, routing).to(scores_TE.dtype)
        rows_SE = scores_TE.new_zeros(count, experts).index_add(0, number_T, chosen_TE)
        sums_SE = scores_TE.new_zeros(count, experts).index_add(0, number_T, scores_TE)
        sizes_S = number_T.bincount(minlength=count).clamp_min(1)
        share_SE = rows_SE / rows_SE.sum(-1, keepdim=True).clamp_min(1)
        return experts * mean((share_SE * sums_SE / sizes_S[:, None]).sum(-1))

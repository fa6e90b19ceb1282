"""An L1 loss whose coefficient steers the number of experts a token fires."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number
from turnout.nn._steady import Steady, drained, tallied
from turnout.nn.balancers._parts import real
from turnout.nn.base import Balancer, Routing

__all__ = ["L1Controller"]


class L1Controller(Steady, Balancer):
    """λ · (n/k)^`damping` · mean over tokens of Σ_e s_e, for n experts a token that fire now and their scores s.

    `update_biases(model)` moves λ: times `factor` where tokens fired more than k experts since the last step, divided
    by it where fewer, over gradient accumulation and replicas; not in evaluation, and not for a recomputed pass. λ by
    itself is too late: it goes on rising until the number has fallen below k, and there nothing but the task can raise
    it again; (n/k)^`damping` answers within the step. `balanced` takes one of its factors apart by expert, as its share
    of load times E, so that busy experts are pushed most; with `damping=1` that is ReMoE's loss. Scores are the plan's:
    with RMSNorm behind the ReLU the normed ones (BlockFFN), as smaller logits would change nothing there. λ is saved
    with the state.

    Source: Wang et al., "ReMoE: Fully Differentiable Mixture-of-Experts with ReLU Routing", 2024, and its code (factor
    1.2, start 1e-8, balanced, one λ for all layers); Song et al., "BlockFFN", 2025. Deviations: `damping` 2, a λ for
    each layer (share one controller between layers for the authors'). Limits: it steers the mean, not each token; it
    cannot raise the number where the task does not; behind a gate without bias it works through the mean of the inputs,
    and of centred ones half of the experts fire whatever λ is.

    >>> from turnout.nn import FFN, LinearGate, ReLU, RoutedLayer, update_biases
    >>> control = L1Controller(k=1, start=0.1)
    >>> layer = RoutedLayer(LinearGate(8, 4), ReLU(4), FFN(4, 8, 16), balancers=[control])
    >>> _ = layer(torch.randn(64, 8)); update_biases(layer)  # about 2 of 4 fire, so λ rises
    1
    >>> round(control.strength.item(), 3)
    0.12
    """

    steady: ClassVar = ("strength",)
    rules: ClassVar = {"k": Number(1e-3), "start": Number(0), "factor": Number(1), "damping": Number(0)}

    def __init__(
        self, k: float, *, start: float = 1e-8, factor: float = 1.2, damping: float = 2.0, balanced: bool = False
    ) -> None:
        super().__init__()
        self.require(k=k, start=start, factor=factor, damping=damping)
        self.k, self.factor, self.damping, self.balanced = k, factor, damping, balanced
        self.strength: Tensor
        self.register_buffer("strength", torch.tensor(float(start)))
        self.fired = torch.zeros(2, dtype=torch.int64)

    @torch.no_grad()
    def after_step(self) -> bool:
        """One step of λ; False where no token was counted."""
        total, self.fired = drained(self.fired, self.strength)
        rows, tokens = total.tolist()
        if not tokens:
            return False
        if rows != self.k * tokens:
            self.strength.mul_(self.factor if rows > self.k * tokens else 1 / self.factor)
        return True

    def _loss(self, routing: Routing) -> Tensor:
        scores_TE = real(routing.plan.scores_TE, routing)
        tokens = scores_TE.shape[0]
        counts_E = routing.plan.counts_E
        rows = counts_E.sum()
        if self.training:
            self.fired = tallied(self.fired, torch.stack([rows, counts_E.new_tensor(tokens)]))
        excess = rows / (self.k * max(tokens, 1))
        pressure = self.strength * excess**self.damping
        if self.balanced:
            scores_TE = scores_TE * (counts_E * counts_E.shape[0] / rows.clamp_min(1))
        return pressure * scores_TE.sum() / max(tokens, 1)

"""An L1 loss whose coefficient steers the number of experts a token fires."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number
from turnout.nn._steady import Steady
from turnout.nn.balancers._parts import over_replicas, real
from turnout.nn.base import Balancer, Routing, recomputing

__all__ = ["L1Controller"]


class L1Controller(Steady, Balancer):
    """λ · mean over tokens of Σ_e relu(z_e), λ ×`factor` or ÷`factor` per optimizer step towards k experts a token.

    `update_biases(model)` moves λ: up where tokens fired more than k experts since the last step, down where fewer,
    over gradient accumulation and replicas; not in evaluation, and a recomputed pass does not count. `balanced` weighs
    each expert's term by its share of load times E, so that busy experts are pushed most. λ is saved with the state.

    Source: Wang et al., "ReMoE: Fully Differentiable Mixture-of-Experts with ReLU Routing", 2024 (factor 1.2, start
    1e-8). Limits: a bang-bang controller, so the number swings about k; it steers the mean, not each token.

    >>> from turnout.nn import FFN, LinearGate, ReLU, RoutedLayer, update_biases
    >>> control = L1Controller(k=1, start=0.1)
    >>> layer = RoutedLayer(LinearGate(8, 4), ReLU(4), FFN(4, 8, 16), balancers=[control])
    >>> _ = layer(torch.randn(64, 8)); update_biases(layer)  # about 2 of 4 fire, so λ rises
    1
    >>> round(control.strength.item(), 3)
    0.12
    """

    steady: ClassVar = ("strength", "fired")
    rules: ClassVar = {"k": Number(0), "start": Number(0), "factor": Number(1)}

    def __init__(self, k: float, *, start: float = 1e-8, factor: float = 1.2, balanced: bool = False) -> None:
        super().__init__()
        self.require(k=k, start=start, factor=factor)
        self.k, self.factor, self.balanced = k, factor, balanced
        self.strength: Tensor
        self.fired: Tensor
        self.register_buffer("strength", torch.tensor(float(start)))
        self.register_buffer("fired", torch.zeros(2, dtype=torch.float64), persistent=False)

    @torch.no_grad()
    def after_step(self) -> bool:
        """One step of λ; False where no token was counted."""
        rows, tokens = over_replicas(self.fired).tolist()
        self.fired.zero_()
        if not tokens:
            return False
        if rows != self.k * tokens:
            self.strength.mul_(self.factor if rows > self.k * tokens else 1 / self.factor)
        return True

    def _loss(self, routing: Routing) -> Tensor:
        fires_TE = real(routing.plan.logits_TE, routing).relu()
        tokens = fires_TE.shape[0]
        counts_E = routing.plan.counts_E
        if self.training and not recomputing():
            self.fired.add_(torch.stack([counts_E.sum(), counts_E.new_tensor(tokens)]))
        if self.balanced:
            fires_TE = fires_TE * (counts_E * counts_E.shape[0] / counts_E.sum().clamp_min(1))
        return self.strength * fires_TE.sum() / max(tokens, 1)

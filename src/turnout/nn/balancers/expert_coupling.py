"""Each expert should answer its own router row most, and each row its own expert."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number
from turnout.errors import RoutingError
from turnout.nn._experts import encoder, rows
from turnout.nn.base import Balancer, Routing, recomputing

__all__ = ["ExpertCoupling"]


class ExpertCoupling(Balancer):
    """mean over i ≠ j of relu(M_ij − α M_ii) + relu(M_ji − α M_ii), with M_ij = ‖W_j R̃_i‖.

    R̃_i is the gate's row i, each coordinate times 1 + U(−ε_i, ε_i), ε_i half the distance to the nearest other row
    over ‖R_i‖: a stand-in for the tokens of its cluster. W_j is the first projection of expert j. α in [0, 1] sets how
    tight the coupling is. Costs E² products whatever the batch; no noise in evaluation.

    Source: Lv et al., "Coupling Experts and Routers in Mixture-of-Experts via an Auxiliary Loss" (ERC), 2025, which
    divides by E² instead of E(E − 1); no code of the authors. Limits: needs a gate with rows as wide as x and experts
    with `up_proj` or `gate_up_proj`.

    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(1), FFN(4, 8, 16), balancers=[ExpertCoupling()])
    >>> layer(torch.randn(32, 8)).losses["expert_coupling"].item() > 0
    True
    """

    rules: ClassVar = {"coefficient": Number(0), "alpha": Number(0, 1), "noise": Number(0)}

    def __init__(self, coefficient: float = 1.0, *, alpha: float = 1.0, noise: float = 0.5) -> None:
        super().__init__()
        self.require(coefficient=coefficient, alpha=alpha, noise=noise)
        self.coefficient, self.alpha, self.noise = coefficient, alpha, noise

    def answers(self, routing: Routing) -> Tensor:
        """M [E, E]: how strongly expert j answers router row i, without noise."""
        return self._answers(rows(routing.gate, "ExpertCoupling").float(), routing)

    def _loss(self, routing: Routing) -> Tensor:
        rows_ED = rows(routing.gate, "ExpertCoupling").float()
        if self.training and self.noise:
            rows_ED = rows_ED * self._noise(rows_ED.detach(), routing)
        answers_EE = self._answers(rows_ED, routing)
        experts = answers_EE.shape[0]
        own_E1 = self.alpha * answers_EE.diagonal()[:, None]
        excess_EE = (answers_EE - own_E1).relu() + (answers_EE.T - own_E1).relu()
        others_EE = ~torch.eye(experts, dtype=torch.bool, device=excess_EE.device)
        return (excess_EE * others_EE).sum() / max(experts * (experts - 1), 1)

    def _answers(self, rows_ED: Tensor, routing: Routing) -> Tensor:
        weight_EHD = encoder(routing.experts, "ExpertCoupling").float()
        if rows_ED.shape[-1] != weight_EHD.shape[-1]:
            widths = f"{rows_ED.shape[-1]} and {weight_EHD.shape[-1]}"
            raise RoutingError(f"ExpertCoupling: rows of the gate and experts must be of one width, got {widths}")
        answers_EE: Tensor = torch.einsum("id,jhd->ijh", rows_ED, weight_EHD).norm(dim=-1)
        return answers_EE

    def _noise(self, rows_ED: Tensor, routing: Routing) -> Tensor:
        generator = routing.context.generator
        if generator is not None and recomputing():
            raise RoutingError("ExpertCoupling: leave the context's generator None under activation checkpointing")
        if rows_ED.shape[0] < 2:
            return torch.ones_like(rows_ED)
        apart_EE = torch.cdist(rows_ED, rows_ED)
        apart_EE.fill_diagonal_(float("inf"))
        reach_E1 = self.noise * (apart_EE.amin(-1) / rows_ED.norm(dim=-1).clamp_min(1e-9))[:, None]
        drawn_ED = torch.rand(rows_ED.shape, generator=generator, device=rows_ED.device)
        noise_ED: Tensor = 1 + reach_E1 * (2 * drawn_ED - 1)
        return noise_ED

"""Prototypes pulled to the tokens they win and pushed from the others'."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from turnout.base import Number
from turnout.nn._experts import rows
from turnout.nn.balancers._parts import real
from turnout.nn.base import Balancer, Routing

__all__ = ["ContrastivePrototypes"]


class ContrastivePrototypes(Balancer):
    """Cross-entropy that matches each prototype with the mean of its own tokens among all experts' means.

    logits [E', E'] = cos(prototype_i, mean of tokens that chose j) / temperature over the E' experts that got any
    token; 0 with fewer than two. A token that chose several experts counts in each. Padding is left out. The gate's
    `rows_ED` are the prototypes; a gate with a projection projects the tokens first. `only` restricts the loss to the
    first so many experts (ProMoE keeps one apart for unconditional tokens).

    Source: Wei et al., "Routing Matters in MoE: Scaling Diffusion Transformers with Explicit Routing Guidance"
    (ProMoE), and its code: weight 1, temperature 0.07, no balance loss. Limits: says nothing to experts without
    tokens; gradients reach the tokens too.

    >>> from turnout.nn import FFN, PrototypeGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(PrototypeGate(8, 4), TopK(1), FFN(4, 8, 16), balancers=[ContrastivePrototypes()])
    >>> layer(torch.randn(32, 8)).losses["contrastive_prototypes"].requires_grad
    True
    """

    rules: ClassVar = {
        "coefficient": Number(0),
        "temperature": Number(1e-6),
        "only": Number(2, integer=True, optional=True),
    }

    def __init__(self, coefficient: float = 1.0, *, temperature: float = 0.07, only: int | None = None) -> None:
        super().__init__()
        self.require(coefficient=coefficient, temperature=temperature, only=only)
        self.coefficient, self.temperature, self.only = coefficient, temperature, only

    def _loss(self, routing: Routing) -> Tensor:
        gate = routing.gate
        prototypes_ED = rows(gate, "ContrastivePrototypes").float()[: self.only]
        x_TD = real(routing.x_TD, routing).float()
        project = getattr(gate, "project", None)
        if callable(project):
            x_TD = project(x_TD)
        chosen_TE = real(routing.plan.chosen_TE, routing)[:, : prototypes_ED.shape[0]].to(x_TD.dtype)
        counts_E = chosen_TE.sum(0)
        used_E = (counts_E > 0).nonzero()[:, 0]
        if used_E.shape[0] < 2:
            return 0 * prototypes_ED.sum()
        means_ED = (chosen_TE.T @ x_TD)[used_E] / counts_E[used_E, None]
        alike_EE = F.normalize(prototypes_ED[used_E], dim=-1) @ F.normalize(means_ED, dim=-1).T
        return F.cross_entropy(alike_EE / self.temperature, torch.arange(used_E.shape[0], device=used_E.device))

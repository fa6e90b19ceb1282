"""A gate without weights of its own: it expects, from the experts' weights, which of them will be sparsest."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Of
from turnout.nn._experts import encoder
from turnout.nn.base import Experts, Gate
from turnout.nn.plan import RoutingContext

__all__ = ["SparsityGate"]


class SparsityGate(Gate):
    """logits = −erf(μ_eᵀx / √(2 σ_eᵀx²)): [T, D] → [T, E]; the higher, the fewer hidden units should fire.

    μ_e [D] and σ_e [D] are mean and variance over the hidden units of expert e's first projection, so that a hidden
    value of x is about N(μᵀx, σᵀx²). They follow the weights: computed on every pass that may take a gradient, else
    kept until the weights change. Gradients of the gate reach the experts' weights. `pool` is the layer's own pool;
    the gate refers to it without owning it, so its weights are saved once.

    Source: Yang et al., "Mixture of Experts Made Intrinsically Interpretable" (MoE-X), 2025. Limits: needs experts
    with `up_proj` or `gate_up_proj`, and ReLU-like activations for the claim to mean anything; sharded weights
    (FSDP) must be gathered when the gate runs.

    >>> from turnout.nn import FFN, RoutedLayer, TopK
    >>> pool = FFN(4, 8, 16, activation="relu", gated=False)
    >>> layer = RoutedLayer(SparsityGate(pool), TopK(1), pool)
    >>> len(list(layer.gate.parameters())), tuple(layer(torch.randn(3, 8)).output.shape)
    (0, (3, 8))
    """

    rules: ClassVar = {"pool": Of((Experts,))}

    def __init__(self, pool: Experts) -> None:
        super().__init__()
        self.require(pool=pool)
        self.experts = pool.experts
        # in a tuple the pool is no submodule; a deepcopy of the layer still finds its own copy
        self._pool = (pool,)
        self._kept: tuple[tuple[int, int], Tensor, Tensor] | None = None
        self.width = encoder(pool, "SparsityGate").shape[-1]

    def _logits(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
        mean_ED, var_ED = self._moments()
        spread_TE = (x_TD.square() @ var_ED.T).clamp_min(1e-12).sqrt()
        return -torch.erf(x_TD @ mean_ED.T / (math.sqrt(2) * spread_TE))

    def _moments(self) -> tuple[Tensor, Tensor]:
        weight_EHD = encoder(self._pool[0], "SparsityGate")
        # weights made in inference mode have no version to tell by whether they changed
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or weight_EHD.is_inference():
            return _moments_of(weight_EHD)
        mark = (weight_EHD.data_ptr(), weight_EHD._version)
        if self._kept is None or self._kept[0] != mark:
            self._kept = (mark, *_moments_of(weight_EHD))
        return self._kept[1:]


def _moments_of(weight_EHD: Tensor) -> tuple[Tensor, Tensor]:
    weight_EHD = weight_EHD.float()
    return weight_EHD.mean(1), weight_EHD.var(1, unbiased=False)

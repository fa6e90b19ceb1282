"""Neighbouring tokens should fire the same experts, and a chunk of tokens few of them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from turnout.base import Number
from turnout.errors import RoutingError
from turnout.nn.balancers._parts import mean, probabilities, real
from turnout.nn.base import Balancer, Routing

__all__ = ["ChunkLocality"]


class ChunkLocality(Balancer):
    """locality · BCE(σ(s z_t), σ(s z_{t+1})) + sparsity · (1 − mean over chunks and experts of Π_t (1 − q_t,e)).

    Both read rows in order: neighbours are rows of one sequence (sequence_T; one sequence without it) with no padding
    between. The first makes the pattern of a token predict its neighbour's; s is `steepness`. q is a token's scores
    over their sum; the product is near 1 where an expert stays idle in a whole chunk of `chunk` tokens. Chunks start
    where a sequence does, and the last of a sequence may be short.

    Source: Song et al., "BlockFFN: Towards End-Side Acceleration-Friendly Mixture-of-Experts with Chunk-Level
    Activation Sparsity", 2025, and its code (s = 100 there; its runs train with chunks of 64, locality 2e-3 and
    sparsity 5e-2). Deviations: coefficients are fixed where the code schedules them; short chunks instead of an
    assertion. Limits: for ReLU-like selectors, where 0 is where an expert fires.

    >>> from turnout.nn import FFN, LinearGate, ReLU, RoutedLayer
    >>> layer = RoutedLayer(LinearGate(8, 4), ReLU(4), FFN(4, 8, 16), balancers=[ChunkLocality()])
    >>> layer(torch.randn(32, 8)).losses["chunk_locality"].item() > 0
    True
    """

    rules: ClassVar = {
        "locality": Number(0),
        "sparsity": Number(0),
        "chunk": Number(1, integer=True),
        "steepness": Number(0),
    }

    def __init__(
        self, *, locality: float = 1e-3, sparsity: float = 1e-1, chunk: int = 8, steepness: float = 100.0
    ) -> None:
        super().__init__()
        self.require(locality=locality, sparsity=sparsity, chunk=chunk, steepness=steepness)
        self.locality, self.sparsity, self.chunk, self.steepness = locality, sparsity, chunk, steepness

    def _loss(self, routing: Routing) -> Tensor:
        return self.locality * self.transfer(routing) + self.sparsity * self.spread(routing)

    def transfer(self, routing: Routing) -> Tensor:
        """The first loss, without its coefficient."""
        z_TE = routing.plan.logits_TE.clamp_min(-1e4) * self.steepness
        near_T = _neighbours(routing)
        return mean(F.binary_cross_entropy_with_logits(z_TE[:-1][near_T], z_TE[1:][near_T].sigmoid(), reduction="none"))

    def spread(self, routing: Routing) -> Tensor:
        """The second loss, without its coefficient: about the share of experts that a chunk fires."""
        p_TE = probabilities(routing)
        number_T = self._chunks(routing)
        chunks = int(number_T[-1]) + 1 if number_T.numel() else 0
        idle_TE = torch.log(1 - p_TE + 1e-5)
        idle_CE = idle_TE.new_zeros(chunks, p_TE.shape[-1]).index_add(0, number_T, idle_TE)
        return mean(1 - idle_CE.exp())

    def _chunks(self, routing: Routing) -> Tensor:
        """The chunk of each row that is no padding, numbered in order."""
        sequence_T = real(_sequences(routing), routing)
        rows = torch.arange(sequence_T.shape[0], device=sequence_T.device)
        fresh_T = torch.ones_like(sequence_T, dtype=torch.bool)
        fresh_T[1:] = sequence_T[1:] != sequence_T[:-1]
        start_T = torch.where(fresh_T, rows, 0).cummax(0).values
        return (((rows - start_T) % self.chunk) == 0).cumsum(0) - 1


def _sequences(routing: Routing) -> Tensor:
    tokens = routing.plan.tokens
    sequence_T = routing.context.sequence_T
    if sequence_T is None:
        return torch.zeros(tokens, dtype=torch.int64, device=routing.plan.logits_TE.device)
    if sequence_T.shape != (tokens,):
        raise RoutingError(f"ChunkLocality: sequence_T must have shape ({tokens},), got {tuple(sequence_T.shape)}")
    return sequence_T


def _neighbours(routing: Routing) -> Tensor:
    sequence_T, mask_T = _sequences(routing), routing.context.mask_T
    near_T = sequence_T[1:] == sequence_T[:-1]
    return near_T if mask_T is None else near_T & mask_T[1:] & mask_T[:-1]

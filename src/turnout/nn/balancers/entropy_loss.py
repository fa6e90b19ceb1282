"""Entropy of the gate, pushed down or up, and MAGNET's turn from coverage to confidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number, OneOf
from turnout.nn._entropy import tsallis
from turnout.nn._steady import Steady, drained, tallied
from turnout.nn.balancers._parts import mean, probabilities
from turnout.nn.base import Balancer, Routing

__all__ = ["EntropyLoss"]


class EntropyLoss(Steady, Balancer):
    """sign · w · S_q(p): the Shannon (index 1) or Tsallis entropy of the gate's scores; padding left out.

    `of="token"` is the mean over tokens of S(p): sign +1 makes each token's gate peaked, −1 flat. `of="mean"` is the
    entropy of the mean p: sign −1 spreads load. `schedule` maps the context's step to a factor.

    `until` makes the loss turn by itself (MAGNET): first it pushes coverage, −S(mean p), until the mean relative
    entropy of tokens, a moving average over optimizer steps and all replicas, falls below `until`, or the step reaches
    `until_step`; from then on it pushes confidence, +S(p), for good (`turned` is saved with the state).

    Source: top-p routing (Huang et al. 2024, peaked); DynMoLE (Tsallis); LoRA-Mixer, whose printed sign and text
    disagree; MAGNET for the turn, without code, so trigger and average are ours. Limits: peaked gates unbalance load.

    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), balancers=[EntropyLoss(1.0)])
    >>> round(layer(torch.zeros(3, 8)).losses["entropy_loss"].item(), 3)  # log 4
    1.386
    """

    steady: ClassVar = ("level",)
    rules: ClassVar = {
        "coefficient": Number(0),
        "index": Number(0),
        "sign": OneOf((1, -1)),
        "of": OneOf(("token", "mean")),
        "until": Number(0, 1, optional=True),
        "until_step": Number(0, integer=True, optional=True),
        "momentum": Number(0, 1),
    }

    def __init__(
        self,
        coefficient: float = 1e-4,
        *,
        index: float = 1.0,
        sign: int = 1,
        of: str = "token",
        schedule: Callable[[int], float] | None = None,
        until: float | None = None,
        until_step: int | None = None,
        momentum: float = 0.9,
    ) -> None:
        super().__init__()
        self.require(coefficient=coefficient, index=index, sign=sign, of=of, until=until, until_step=until_step)
        self.require(momentum=momentum)
        self.coefficient, self.index, self.sign, self.of = coefficient, index, sign, of
        self.schedule, self.until, self.until_step, self.momentum = schedule, until, until_step, momentum
        self.turned: Tensor
        self.level: Tensor
        self.register_buffer("turned", torch.tensor(False))
        self.register_buffer("level", torch.tensor(1.0))
        self.sums = torch.zeros(2)

    def after_step(self) -> bool:
        """Move the average entropy, and turn where it is low enough; False where nothing was gathered."""
        if self.until is None:
            return False
        (entropy, tokens), self.sums = drained(self.sums, self.level)
        if not bool(tokens):
            return False
        self.level.mul_(self.momentum).add_((1 - self.momentum) * entropy / tokens)
        self.turned.logical_or_(self.level < self.until)
        return True

    def _loss(self, routing: Routing) -> Tensor:
        p_TE = probabilities(routing)
        factor = 1.0 if self.schedule is None else self.schedule(routing.context.step)
        if self.until is None and self.until_step is None:
            return self.sign * factor * self._entropy(p_TE, self.of)
        if self.training:
            self._watch(p_TE.detach(), routing.context.step)
        return factor * torch.where(self.turned, self._entropy(p_TE, "token"), -self._entropy(p_TE, "mean"))

    def _entropy(self, p_TE: Tensor, of: str) -> Tensor:
        if of == "token":
            return mean(tsallis(p_TE, self.index))
        tokens = p_TE.shape[0]
        mean_E = p_TE.sum(0) / max(tokens, 1)
        return min(tokens, 1) * tsallis(mean_E, self.index)  # of nothing 0, not the entropy of a mean of zeros

    def _watch(self, p_TE: Tensor, step: int) -> None:
        if self.until_step is not None and step >= self.until_step:
            self.turned.fill_(True)
        entropy_T = tsallis(p_TE, self.index, relative=True)
        seen = torch.stack([entropy_T.sum(), entropy_T.new_tensor(float(len(entropy_T)))])
        self.sums = tallied(self.sums, seen)

"""Several gates in one: the weighted sum of their logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from turnout.base import Number
from turnout.errors import ParameterError
from turnout.nn.base import Gate
from turnout.nn.plan import RoutingContext

__all__ = ["SumGate"]


class SumGate(Gate):
    """logits = Σ_i weight_i · gate_i(x): [T, D] → [T, E]; the state is that of the last gate that gives a new one.

    With `switch` the first gate (the global one) counts with its weight only where its best logit is above `switch`,
    and with `low` elsewhere: a confident global view leads, a doubtful one leaves the choice to the local gates.

    Source: Li et al., "Glider: Global and Local Instruction-Driven Expert Router", 2024, where the global gate is the
    cosine of descriptions that an LLM wrote (weights there 100 and 3, switch 0.8: guesses). Limits: logits must be on
    one scale; weights are not learned.

    >>> from turnout.nn import LinearGate
    >>> gate = SumGate([LinearGate(8, 4), LinearGate(8, 4)], weights=[1.0, 0.5])
    >>> tuple(gate(torch.randn(3, 8))[0].shape)
    (3, 4)
    """

    rules: ClassVar = {"switch": Number(optional=True), "low": Number()}

    def __init__(
        self,
        gates: Sequence[Gate],
        weights: Sequence[float] | None = None,
        *,
        switch: float | None = None,
        low: float = 0.0,
    ) -> None:
        super().__init__()
        self.require(switch=switch, low=low)
        sizes = [gate.experts for gate in gates]
        if not sizes or len(set(sizes)) > 1:
            raise ParameterError(f"SumGate: `gates` must score one and the same number of experts, got {sizes}")
        weights = [1.0] * len(sizes) if weights is None else list(weights)
        if len(weights) != len(sizes):
            raise ParameterError(f"SumGate: `weights` must be {len(sizes)} numbers, got {len(weights)}")
        self.experts, self.weights = sizes[0], weights
        self.gates = nn.ModuleList(gates)
        self.switch, self.low = switch, low

    def _route(self, x_TD: Tensor, context: RoutingContext) -> tuple[Tensor, Tensor | None]:
        total_TE: Tensor | None = None
        state = context.state
        for number, (gate, weight) in enumerate(zip(self.gates, self.weights, strict=True)):
            logits_TE, handed = gate(x_TD, context)
            state = handed if handed is not context.state else state
            weighted_TE = logits_TE * weight
            if number == 0 and self.switch is not None:
                sure_T1 = logits_TE.detach().amax(-1, keepdim=True) > self.switch
                weighted_TE = logits_TE * torch.where(sure_T1, weight, self.low)
            total_TE = weighted_TE if total_TE is None else total_TE + weighted_TE
        assert total_TE is not None
        return total_TE, state

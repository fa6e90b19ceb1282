"""A gate with a memory over layers: one GRU that every layer shares."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turnout.base import Number, Of
from turnout.errors import ParameterError, RoutingError
from turnout.nn.base import Gate
from turnout.nn.plan import RoutingContext

__all__ = ["RecurrentGate"]


class RecurrentGate(Gate):
    """h = GRU(W₁ x, h of the layer below), logits = W₂ h: [T, D] → [T, E] and the state h [T, H].

    The projections W₁ and W₂ belong to a layer, the GRU `cell` to all: make the gates of a model with `stack`, and
    hand the state on with `context.after(state)`. The first layer starts from 0.

    Source: Qiu et al., "Layerwise Recurrent Router for Mixture-of-Experts" (RMoE), 2024, and its code. Limits: a
    layer cannot route before the one below has; tokens must keep their order from layer to layer.

    >>> first, second = RecurrentGate.stack(2, width=8, experts=4, hidden=6)
    >>> x_TD, context = torch.randn(3, 8), RoutingContext()
    >>> logits_TE, state_TH = first(x_TD, context)
    >>> logits_TE, state_TH = second(x_TD, context.after(state_TH))
    >>> tuple(logits_TE.shape), tuple(state_TH.shape), first.cell is second.cell
    ((3, 4), (3, 6), True)
    """

    rules: ClassVar = {
        "width": Number(1, integer=True),
        "experts": Number(1, integer=True),
        "hidden": Number(1, integer=True),
        "cell": Of((nn.GRUCell, type(None))),
    }

    def __init__(self, width: int, experts: int, hidden: int = 64, *, cell: nn.GRUCell | None = None) -> None:
        super().__init__()
        self.require(width=width, experts=experts, hidden=hidden, cell=cell)
        if cell is not None and (cell.input_size, cell.hidden_size) != (hidden, hidden):
            sizes = f"{cell.input_size} → {cell.hidden_size}"
            raise ParameterError(f"RecurrentGate: a shared cell must be {hidden} → {hidden}, got {sizes}")
        self.width, self.experts, self.hidden = width, experts, hidden
        self.enter = nn.Linear(width, hidden, bias=False)
        self.leave = nn.Linear(hidden, experts, bias=False)
        self.cell = nn.GRUCell(hidden, hidden) if cell is None else cell

    @classmethod
    def stack(cls, layers: int, width: int, experts: int, hidden: int = 64) -> list[RecurrentGate]:
        """Gates for so many layers, with one GRU among them."""
        cell = nn.GRUCell(hidden, hidden)
        return [cls(width, experts, hidden, cell=cell) for _ in range(layers)]

    def _route(self, x_TD: Tensor, context: RoutingContext) -> tuple[Tensor, Tensor]:
        state_TH = context.state
        if state_TH is None:
            state_TH = x_TD.new_zeros(x_TD.shape[0], self.hidden)
        elif state_TH.shape != (x_TD.shape[0], self.hidden):
            allowed = (x_TD.shape[0], self.hidden)
            raise RoutingError(f"RecurrentGate: the state must have shape {allowed}, got {tuple(state_TH.shape)}")
        entered_TH = F.linear(x_TD, self.enter.weight.float())
        state_TH = self._step(entered_TH, state_TH.float())
        return F.linear(state_TH, self.leave.weight.float()), state_TH

    def _step(self, entered_TH: Tensor, state_TH: Tensor) -> Tensor:
        cell = self.cell
        biases = [None if bias is None else bias.float() for bias in (cell.bias_ih, cell.bias_hh)]
        if not entered_TH.shape[0]:
            return entered_TH + 0 * sum(p.float().sum() for p in cell.parameters())
        return torch.gru_cell(entered_TH, state_TH, cell.weight_ih.float(), cell.weight_hh.float(), *biases)

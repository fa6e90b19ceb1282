"""The expert that every token passes, as Qwen-MoE has it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from turnout.nn.experts._activations import ACTIVATIONS


class SharedExpert(nn.Module):
    """A gated feed-forward network, optionally times σ(x · v): [N, D] → [N, D]; parameters named as in checkpoints."""

    def __init__(self, width: int, hidden: int, *, activation: str = "silu", gated: bool = True) -> None:
        super().__init__()
        self.activation = activation
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)
        self.gate = nn.Linear(width, 1, bias=False) if gated else None

    def forward(self, x_ND: Tensor) -> Tensor:
        """The network's output, times its gate."""
        hidden = ACTIVATIONS[self.activation](self.gate_proj(x_ND)) * self.up_proj(x_ND)
        y_ND: Tensor = self.down_proj(hidden)
        return y_ND if self.gate is None else torch.sigmoid(self.gate(x_ND)) * y_ND

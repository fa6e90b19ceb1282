"""Feed-forward experts, stacked in three dimensions as Hugging Face stores them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from turnout.base import Number, OneOf
from turnout.nn._products import USUAL, best
from turnout.nn.base import Experts, Segments
from turnout.nn.experts._activations import ACTIVATIONS, glu
from turnout.nn.experts._blocked import Rows, blocked_ffn
from turnout.nn.experts._mixture import mixture

__all__ = ["FFN"]


class FFN(Experts):
    """E two-layer networks D → H → D; `gated` makes them GLUs (SwiGLU with silu). No biases.

    Parameters carry Hugging Face's names and layout: `gate_up_proj` [E, 2H, D] (gate first) or `up_proj` [E, H, D],
    and `down_proj` [E, D, H]. Source: Shazeer, "GLU Variants Improve Transformer", 2020. Limits: one width for all.

    >>> from turnout.nn import LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16, activation="gelu", gated=False))
    >>> tuple(layer(torch.randn(3, 8)).output.shape)
    (3, 8)
    """

    rules: ClassVar = {
        "experts": Number(1, integer=True),
        "width": Number(1, integer=True),
        "hidden": Number(1, integer=True),
        "activation": OneOf(tuple(ACTIVATIONS)),
    }

    def __init__(self, experts: int, width: int, hidden: int, *, activation: str = "silu", gated: bool = True) -> None:
        super().__init__()
        self.require(experts=experts, width=width, hidden=hidden, activation=activation)
        self.experts, self.width, self.hidden, self.activation, self.gated = experts, width, hidden, activation, gated
        first = nn.Parameter(torch.empty(experts, 2 * hidden if gated else hidden, width))
        self.register_parameter("gate_up_proj" if gated else "up_proj", first)
        self.down_proj = nn.Parameter(torch.empty(experts, width, hidden))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±1/√fan-in, as nn.Linear."""
        for parameter in (self._first, self.down_proj):
            bound = 1 / math.sqrt(parameter.shape[-1])
            nn.init.uniform_(parameter, -bound, bound)

    @property
    def _first(self) -> nn.Parameter:
        return self.gate_up_proj if self.gated else self.up_proj  # type: ignore[return-value]

    def forward(self, x_ND: Tensor, segments: Segments) -> Tensor:
        """[N, D] → [N, D]."""
        first_NH = segments.linear(x_ND, self._first)
        hidden_NH = glu(first_NH, self.activation) if self.gated else ACTIVATIONS[self.activation](first_NH)
        return segments.linear(hidden_NH, self.down_proj)

    def blocked(self, x_TD: Tensor, weight_N: Tensor, token_N: Tensor, sizes: Sequence[int]) -> Tensor | None:
        """Both layers of a block of rows while it is in the cache; on a CPU."""
        how = Rows(token_N, tuple(sizes), self.activation, self.gated)
        return blocked_ffn(x_TD, weight_N, self._first, self.down_proj, how)

    def quick(self, rows: int) -> bool:
        """Where another library's products are quicker than torch's: `blocked` can take them."""
        return best(self._first, rows) is not USUAL

    def merged(self, weights_GE: Tensor) -> FFN:
        """G networks whose weights are weighted sums. Limits: [G, …] stacks, so G tokens cost G networks' memory."""
        return mixture(self, weights_GE, ("gate_up_proj" if self.gated else "up_proj", "down_proj"))

"""One layer run several times over the same experts, with a gate of its own each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from turnout.errors import RoutingError
from turnout.nn.layer import Routed, RoutedLayer, summed
from turnout.nn.plan import RoutingContext


class Chain(nn.Module):
    """C routed layers in a row, x ← x + layer_c(x), usually with one pool: experts see what experts made.

    Used as a routed layer: returns what the iterations add together, so that a block's own residual gives the last x
    (with `inner=False` nothing is added in between and the last layer's output is returned). Losses are summed by
    name, the plan is the last iteration's; statistics belong to the layers. Iterations share `context.layer`, so an
    override acts on all of them.

    Source: Wang et al., "Chain-of-Experts", 2025 (`ZihanWang314/CoE`). Limits: C iterations run one after the other,
    so C times k/C experts take longer than k at once.

    >>> import torch
    >>> from turnout.nn import FFN, LinearGate, TopK
    >>> pool = FFN(8, 4, 16)
    >>> chain = Chain([RoutedLayer(LinearGate(4, 8), TopK(1), pool) for _ in range(2)])
    >>> tuple(chain(torch.randn(3, 4)).output.shape)
    (3, 4)
    """

    def __init__(self, layers: Sequence[RoutedLayer], *, inner: bool = True) -> None:
        super().__init__()
        if not layers:
            raise RoutingError("Chain needs at least one layer, got none")
        self.layers = nn.ModuleList(layers)
        self.inner = inner

    def forward(self, x: Tensor, context: RoutingContext | None = None) -> Routed:
        """x [..., D] → Routed."""
        context = context or RoutingContext()
        start, losses = x, []
        for layer in self.layers:
            routed: Routed = layer(x, context)
            losses.append(routed.losses)
            x = x + routed.output if self.inner else routed.output
            context = replace(context, state=routed.state)
        return Routed(x - start if self.inner else x, summed(losses), routed.plan, routed.state)

"""The dispatcher that picks: by device, rows, experts and plan."""

from __future__ import annotations

import torch
from torch import Tensor

from turnout.nn.base import Dispatched, Dispatcher, Experts
from turnout.nn.dispatch.dense import Dense
from turnout.nn.dispatch.grouped import Grouped
from turnout.nn.dispatch.module_loop import ModuleLoop
from turnout.nn.dispatch.per_token import PerToken
from turnout.nn.dispatch.segment import Segment
from turnout.nn.plan import Plan

__all__ = ["Auto"]

FEW = 16  # rows up to which reading each row's own weights costs less than a loop over all experts


class Auto(Dispatcher):
    """Picks a dropless dispatcher for each call; all of them give the same values and gradients.

    Modules of different kinds run one by one; a plan of all experts runs dense; a handful of rows run one by one;
    everything else goes through grouped products, where odd widths fall back to a loop; or a block of rows at a time
    where the pool is quicker so.

    >>> import torch
    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), dispatcher=Auto())
    >>> tuple(layer(torch.randn(3, 8)).output.shape)
    (3, 8)
    """

    def __init__(self) -> None:
        super().__init__()
        self.grouped, self.segment, self.dense = Grouped(), Segment(), Dense()
        self.per_token, self.module_loop = PerToken(), ModuleLoop()

    def pick(self, plan: Plan, experts: Experts) -> Dispatcher:
        """The dispatcher for this plan and pool."""
        if not experts.stacked:
            return self.module_loop
        if torch.compiler.is_compiling():
            return self.per_token if _surely_few(plan) else self.grouped
        if plan.full and plan.k == plan.experts:
            return self.dense
        rows = plan.tokens * plan.k
        if rows <= FEW:
            return self.per_token
        return self.segment if experts.quick(rows) else self.grouped

    def _weighted(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Tensor:
        return self.pick(plan, experts)._weighted(x_TD, plan, experts)

    def _dispatch(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Dispatched:
        return self.pick(plan, experts)._dispatch(x_TD, plan, experts)


def _surely_few(plan: Plan) -> bool:
    """Whether a graph that is compiled has a handful of rows whatever its symbols of sizes come to stand for."""
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return bool(statically_known_true(plan.tokens * plan.k <= FEW))

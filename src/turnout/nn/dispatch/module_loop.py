"""Dispatch expert by expert: each runs to its end on its own rows before the next begins."""

from __future__ import annotations

import torch
from torch import Tensor

from turnout.nn._rows import joined
from turnout.nn.base import Dispatched, Dispatcher, Experts
from turnout.nn.dispatch._segments import OneSegments, Order, Stacks
from turnout.nn.plan import Plan

__all__ = ["ModuleLoop"]


class ModuleLoop(Dispatcher):
    """A loop over the experts that have rows, each called once with its rows: for experts of different kinds.

    An expert's hidden rows stay in the cache between its layers, and without gradients only one expert's are held at
    a time. Limits: one synchronisation; does not compile into one graph.

    >>> import torch
    >>> from torch import nn
    >>> from turnout.nn import LinearGate, Modules, RoutedLayer, TopK
    >>> experts = Modules([nn.Linear(8, 6), nn.Sequential(nn.Linear(8, 3), nn.ReLU(), nn.Linear(3, 6))])
    >>> layer = RoutedLayer(LinearGate(8, 2), TopK(1), experts, dispatcher=ModuleLoop())
    >>> tuple(layer(torch.randn(3, 8)).output.shape)
    (3, 6)
    """

    def _dispatch(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Dispatched:
        order = Order.of(plan)
        rows_ND, stacks = order.rows(x_TD), Stacks()
        parts = zip(torch.split(rows_ND, order.sizes), torch.split(order.expert_N, order.sizes), strict=True)
        outputs = [
            experts(rows, OneSegments(expert, expert_N, plan.experts, stacks))
            for expert, (rows, expert_N) in enumerate(parts)
            if rows.shape[0] or (expert == 0 and not order.expert_N.shape[0])
        ]
        return order.dispatched(joined(outputs))

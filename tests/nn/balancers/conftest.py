from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from turnout.nn import FFN, LinearGate, RoutingContext, TopK
from turnout.nn.base import Gate, Routing, Selector

Make = Callable[..., Routing]


@pytest.fixture
def routing() -> Make:
    """A routing of given or random logits, with a plan of TopK(2) unless told."""

    def make(
        logits_TE: torch.Tensor | None = None,
        *,
        select: Selector | None = None,
        gate: Gate | None = None,
        x_TD: torch.Tensor | None = None,
        **known: torch.Tensor,
    ) -> Routing:
        context = RoutingContext(**known)
        logits_TE = torch.randn(12, 4) if logits_TE is None else logits_TE
        experts = logits_TE.shape[-1]
        x_TD = torch.randn(logits_TE.shape[0], 8) if x_TD is None else x_TD
        plan = (select or TopK(min(2, experts)))(logits_TE, context)
        return Routing(x_TD, plan, context, gate or LinearGate(8, experts), FFN(experts, 8, 16))

    return make

"""A routed layer: gate, selector, dispatcher, experts, combiner, and balancers and statistics beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from turnout.errors import RoutingError
from turnout.nn.base import Balancer, Combiner, Dispatcher, Experts, Gate, Part, Routing, Selector, check_mask
from turnout.nn.combiners.weighted_sum import WeightedSum
from turnout.nn.dispatch.auto import Auto
from turnout.nn.plan import Override, Plan, RoutingContext
from turnout.nn.statistics.base import RoutingStats


class Routed(NamedTuple):
    """What a routed layer returns: output [..., M], losses by name, the plan, and the gate's state."""

    output: Tensor
    losses: dict[str, Tensor]
    plan: Plan
    state: Tensor | None


class RoutedLayer(nn.Module):
    """x [..., D] → Routed(output [..., M], losses, plan, state).

    `shared` is an optional module that every token passes beside its experts. Losses are returned, never added to
    anything; `statistics` sees each training or evaluation pass once, also under activation checkpointing.

    >>> from turnout.nn import FFN, LinearGate, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16))
    >>> routed = layer(torch.randn(2, 5, 8))
    >>> tuple(routed.output.shape), int(routed.plan.counts_E.sum())
    ((2, 5, 8), 20)
    """

    def __init__(
        self,
        gate: Gate,
        selector: Selector,
        experts: Experts,
        *,
        dispatcher: Dispatcher | None = None,
        combiner: Combiner | None = None,
        balancers: Iterable[Balancer] = (),
        statistics: RoutingStats | None = None,
        shared: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if gate.experts != experts.experts:
            raise RoutingError(f"the gate scores {gate.experts} experts, the pool has {experts.experts}")
        self.gate, self.selector, self.experts = gate, selector, experts
        self.dispatcher = dispatcher or Auto()
        self.combiner = combiner or WeightedSum()
        self.balancers = nn.ModuleList(balancers)
        self.statistics = statistics
        self.shared = shared

    def forward(self, x: Tensor, context: RoutingContext | None = None) -> Routed:
        """Route every token. Raises RoutingError for what a part refuses."""
        context = context or RoutingContext()
        x_TD = x.reshape(-1, x.shape[-1])
        logits_TE, state = self.gate(x_TD, context)
        plan = self.dispatcher.admit(self._plan(logits_TE, context))
        y_TM = self.combiner(x_TD, plan, self.experts, self.dispatcher, context)
        if self.shared is not None:
            y_TM = y_TM + self.shared(x_TD)
        routing = Routing(x_TD, plan, context, self.gate, self.experts)
        losses = self._losses(routing)
        if self.statistics is not None:
            self.statistics.update(plan, context, x.shape[-2] if x.ndim > 2 else None)
        return Routed(y_TM.view(*x.shape[:-1], y_TM.shape[-1]), losses, plan, state)

    def _plan(self, logits_TE: Tensor, context: RoutingContext) -> Plan:
        hand = context.overrides.get(context.layer, Override())
        if hand.plan is not None:
            hand.plan.check()
            check_mask(context.mask_T, hand.plan.tokens)
            return hand.plan if context.mask_T is None else hand.plan.without(context.mask_T)
        biases = [b.bias_E for b in self._balancers() if b.bias_E is not None]
        bias_E = torch.stack(biases).sum(0) if biases else None
        plan: Plan = self.selector(hand.apply(logits_TE), context, bias_E)
        return plan

    def _losses(self, routing: Routing) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        for number, balancer in enumerate(self._balancers()):
            loss = balancer(routing)
            if loss is not None:
                key = balancer.name if balancer.name not in losses else f"{balancer.name}_{number}"
                losses[key] = loss
        return losses

    def _balancers(self) -> list[Balancer]:
        return list(self.balancers)  # type: ignore[arg-type]


class OutputOnly(nn.Module):
    """A routed layer where a model expects a module that returns a tensor; `losses(model)` finds what it put aside.

    The model hands no context on; whoever knows the token ids, or lays a hand on the choice, replaces `context`.

    >>> from turnout.nn import FFN, LinearGate, SwitchLoss, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(1), FFN(4, 8, 16), balancers=[SwitchLoss(0.01)])
    >>> mlp = OutputOnly(layer)
    >>> tuple(mlp(torch.randn(3, 8)).shape), sorted(losses(mlp))
    ((3, 8), ['switch_loss'])
    """

    def __init__(self, layer: RoutedLayer, number: int = 0) -> None:
        super().__init__()
        self.layer, self.number = layer, number
        self.context = RoutingContext(layer=number)
        self.last: Routed | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The output alone; the rest stays in `last`."""
        self.last = self.layer(x, self.context)
        return self.last.output

    def __getstate__(self) -> dict[str, Any]:
        """A copy or a pickle goes without the last pass, whose tensors belong to a graph."""
        return {**self.__dict__, "last": None}


def losses(model: nn.Module) -> dict[str, Tensor]:
    """The balancing losses of a model's last pass, by name, summed over its layers.

    Limits: under activation checkpointing with `use_reentrant=True` that pass ran without gradients, so these have
    none either; `use_reentrant=False` keeps them.
    """
    passes = (module.last for module in model.modules() if isinstance(module, OutputOnly))
    return summed(last.losses for last in passes if last is not None)


def summed(each: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Losses of several layers or iterations, added by name."""
    total: dict[str, Tensor] = {}
    for losses in each:
        for name, loss in losses.items():
            total[name] = total[name] + loss if name in total else loss
    return total


def update_biases(model: nn.Module) -> int:
    """Move what moves beside the optimizer (loss-free biases, prototypes, controllers) one step; how many parts did.

    Call it once per optimizer step, after `optimizer.step()`.
    """
    return sum(module.after_step() for module in model.modules() if isinstance(module, Part))

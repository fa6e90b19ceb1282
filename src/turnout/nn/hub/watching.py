"""Statistics of a Hugging Face model's routers, gathered by hooks while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from turnout.errors import RoutingError
from turnout.nn._inputs import told_by
from turnout.nn.hub.models import _number, find_moe
from turnout.nn.layer import OutputOnly
from turnout.nn.plan import Plan, RoutingContext
from turnout.nn.statistics.base import RoutingStats


@contextmanager
def watch(model: nn.Module, stats: RoutingStats | None = None) -> Iterator[RoutingStats]:
    """Record what every MoE block and adapter pool of a model chooses within the `with` block.

    Layers have the model's numbers; where one has several blocks, they are numbered through. Token ids, sequences and
    padding are taken from the model's `input_ids` (or `inputs_embeds`) and `attention_mask`. The model's outputs do not
    change. Raises RoutingError where there is no block, or a router that does not return logits, weights and indices.

    Limits: with a cache, each step of generation is a sequence of its own; with a static one, whose masks are no longer
    of tokens, padding before the prompt counts.
    """
    stats = stats if stats is not None else RoutingStats()
    blocks = find_moe(model)
    if not blocks:
        raise RoutingError(f"{type(model).__name__} has no MoE block to watch")
    watched = _Watched(stats)
    handles = [model.register_forward_pre_hook(watched.enter, with_kwargs=True)]
    handles.append(model.register_forward_hook(watched.leave, always_call=True))
    routed = [block for block in blocks.values() if isinstance(block, OutputOnly)]
    before = [(block, block.layer.statistics, block.context, block.number) for block in routed]
    for number, block in zip(_numbers(blocks), blocks.values(), strict=True):
        if isinstance(block, OutputOnly):
            own = block.layer.statistics
            block.layer.statistics, block.number = _Unpadded(watched, own, block.context.layer), number
            block.context = _renumbered(block.context, number)
            handles.append(block.register_forward_pre_hook(watched.tell))
        else:
            handles.append(block.get_submodule("gate").register_forward_hook(watched.hook(number)))
    try:
        yield stats
    finally:
        for handle in handles:
            handle.remove()
        for block, statistics, context, number in before:
            block.layer.statistics, block.context, block.number = statistics, context, number


def _renumbered(context: RoutingContext, number: int) -> RoutingContext:
    """The context of another layer, with the hand that was laid on this one."""
    hand = context.overrides.get(context.layer)
    return replace(context, layer=number, overrides={} if hand is None else {number: hand})


def _numbers(blocks: Mapping[str, nn.Module]) -> list[int]:
    """The blocks' layers in the model; their places where a layer has several, as with adapters."""
    found = [
        block.number if isinstance(block, OutputOnly) else _number(name, place)
        for place, (name, block) in enumerate(blocks.items())
    ]
    return found if len(set(found)) == len(found) else list(range(len(found)))


class _Unpadded(RoutingStats):
    """Counts for the watcher what a routed layer chose for tokens that are no padding; it computes padding too.

    The layer's own statistics, under its own number, go on as before; the watcher's own count a pass once.
    """

    def __init__(self, watched: _Watched, own: RoutingStats | None, layer: int) -> None:
        super().__init__()
        self._watched, self._own, self._layer = watched, own, layer

    def update(self, plan: Plan, context: RoutingContext, length: int | None = None) -> None:
        """Count one pass."""
        if self._own is not None and self._own is not self._watched.stats:
            self._own.update(plan, replace(context, layer=self._layer), length)
        mask_T = self._watched.context.mask_T
        if mask_T is not None and context.mask_T is None and len(mask_T) == plan.tokens:
            plan, context = plan.without(mask_T), replace(context, mask_T=mask_T)
        self._watched.stats.update(plan, context, length)


class _Watched:
    """What is known of the pass under way."""

    def __init__(self, stats: RoutingStats) -> None:
        self.stats = stats
        self.context = RoutingContext()
        self.length: int | None = None

    def enter(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before the model runs: note its token ids, sequences and padding."""
        told = told_by(model, args, kwargs)
        self.context, self.length = RoutingContext(), None
        if told.rows is None:
            return
        shape = told.rows.shape[:2]
        batch, self.length = shape
        sequence_T = torch.arange(batch, device=told.rows.device).repeat_interleave(self.length)
        mask_T = told.mask.bool().reshape(-1) if told.mask is not None and told.mask.shape == shape else None
        token_T = None if told.ids is None else told.ids.reshape(-1)
        self.context = RoutingContext(token_T=token_T, sequence_T=sequence_T, mask_T=mask_T)

    def leave(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """After the model ran: what its inputs told says nothing of a pass through a part of it alone."""
        self.context, self.length = RoutingContext(), None

    def tell(self, block: nn.Module, args: tuple[Any, ...]) -> None:
        """Before a routed layer runs: hand it what is known, but no mask, which would change what it computes."""
        assert isinstance(block, OutputOnly)
        known = {"token_T": self.context.token_T, "sequence_T": self.context.sequence_T}
        if self.context.sequence_T is None or args[0][..., 0].numel() == len(self.context.sequence_T):
            block.context = replace(block.context, **known)  # type: ignore[arg-type]

    def hook(self, number: int) -> Any:
        """After a router of transformers ran: count its choice."""

        def after(gate: nn.Module, _: tuple[Any, ...], output: Any) -> None:
            if not isinstance(output, tuple) or len(output) != 3:
                raise RoutingError(f"{type(gate).__name__} does not return logits, weights and indices")
            logits_TE, weights_TK, idx_TK = output
            logits_TE = logits_TE.reshape(-1, logits_TE.shape[-1])
            plan = Plan(idx_TK, weights_TK, logits_TE.float().softmax(-1), logits_TE)
            context = replace(self.context, layer=number)
            known = self.context.sequence_T
            if known is not None and len(known) != plan.tokens:
                context = RoutingContext(layer=number)
            if context.mask_T is not None:
                plan = plan.without(context.mask_T)
            self.stats.update(plan, context, self.length)

        return after

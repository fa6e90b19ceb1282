"""Another gate's logits, averaged over a sequence: every token of it is routed alike."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from turnout.base import Of
from turnout.nn.base import Gate
from turnout.nn.plan import RoutingContext
from turnout.nn.selectors._parts import groups_of

__all__ = ["SequenceGate"]


class SequenceGate(Gate):
    """logits = mean of `gate`'s logits over the tokens of a sequence, for each of its tokens: [T, D] → [T, E].

    Source: T2MIR (task-wise experts, mean logits of a trajectory); also routing by image or by request. Padding has no
    say. Limits: needs the context's sequence_T; a token's route depends on tokens after it, so not for causal models
    unless the whole sequence is the prompt.

    >>> import torch
    >>> from turnout.nn import LinearGate
    >>> context = RoutingContext(sequence_T=torch.tensor([0, 0, 1]))
    >>> logits_TE, _ = SequenceGate(LinearGate(8, 4))(torch.randn(3, 8), context)
    >>> bool((logits_TE[0] == logits_TE[1]).all()), bool((logits_TE[0] == logits_TE[2]).all())
    (True, False)
    """

    rules: ClassVar = {"gate": Of((Gate,))}

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.require(gate=gate)
        self.gate, self.width, self.experts = gate, gate.width, gate.experts

    def _route(self, x_TD: Tensor, context: RoutingContext) -> tuple[Tensor, Tensor | None]:
        logits_TE, state = self.gate(x_TD, context)
        group_T, groups = groups_of(x_TD.shape[0], context, x_TD.device, by_sequence=True)
        sums_GE = logits_TE.new_zeros(groups + 1, logits_TE.shape[1]).index_add(0, group_T, logits_TE)
        sizes_G = group_T.bincount(minlength=groups + 1).clamp_min(1)
        return (sums_GE / sizes_G[:, None])[group_T], state

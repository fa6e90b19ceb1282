"""Another gate's logits, smoothed over tokens that are alike."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from turnout.base import Number, Of, OneOf
from turnout.errors import ParameterError, RoutingError
from turnout.nn.base import Gate
from turnout.nn.plan import RoutingContext

__all__ = ["TokenGraphGate"]


class TokenGraphGate(Gate):
    """logits = (1 − mix) z + mix · S z with z the logits of `gate` and S a graph of tokens: [T, D] → [T, E].

    `by="similarity"`: S = softmax(x W xᵀ / (√D · temperature)) among the tokens of a sequence (sequence_T; one
    sequence without it), W [D, D] learned, at first the identity. `by="attention"`: S is the context's attention_BSS of
    the block before, T = B·S tokens in that order. `causal` lets a token see itself and those before it in its
    sequence. Padding is seen by nobody; each row of S sums to 1.

    Source: Nguyen et al., "Improving Routing in Sparse Mixture of Experts with Graph of Tokens", 2025 (similarity- and
    attention-aware SMoE). Deviation: mixing with the identity is ours. Limits: [T, T] numbers; not causal unless told,
    and a language model must tell.

    >>> from turnout.nn import LinearGate
    >>> gate = TokenGraphGate(LinearGate(8, 4), width=8, causal=True)
    >>> x_TD = torch.randn(6, 8)
    >>> changed = x_TD.clone(); changed[5] += 1
    >>> bool(torch.allclose(gate(x_TD)[0][:5], gate(changed)[0][:5]))
    True
    """

    rules: ClassVar = {
        "gate": Of((Gate,)),
        "width": Number(1, integer=True, optional=True),
        "by": OneOf(("similarity", "attention")),
        "mix": Number(0, 1),
        "temperature": Number(1e-6),
    }

    def __init__(
        self,
        gate: Gate,
        width: int | None = None,
        *,
        by: str = "similarity",
        causal: bool = False,
        mix: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.require(gate=gate, width=width, by=by, mix=mix, temperature=temperature)
        if by == "similarity" and width is None:
            raise ParameterError("TokenGraphGate: similarity needs `width`, got None")
        self.gate, self.width, self.experts = gate, width or gate.width, gate.experts
        self.by, self.causal, self.mix, self.temperature = by, causal, mix, temperature
        self.relate = nn.Parameter(torch.eye(width)) if by == "similarity" and width is not None else None

    def _route(self, x_TD: Tensor, context: RoutingContext) -> tuple[Tensor, Tensor | None]:
        logits_TE, state = self.gate(x_TD, context)
        smooth_TE = self._by_attention(logits_TE, context) if self.relate is None else None
        if smooth_TE is None:
            smooth_TE = self._by_similarity(x_TD, context) @ logits_TE
        return (1 - self.mix) * logits_TE + self.mix * smooth_TE, state

    def _by_similarity(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
        assert self.relate is not None
        tokens, width = x_TD.shape
        seen_TT = torch.ones(tokens, tokens, dtype=torch.bool, device=x_TD.device)
        if self.causal:
            seen_TT = seen_TT.tril()
        if context.sequence_T is not None:
            seen_TT = seen_TT & (context.sequence_T[:, None] == context.sequence_T)
        if context.mask_T is not None:
            seen_TT = seen_TT & context.mask_T
        # a token always sees itself, so that no row is empty
        seen_TT = seen_TT | torch.eye(tokens, dtype=torch.bool, device=x_TD.device)
        alike_TT = x_TD @ self.relate.float() @ x_TD.T / (width**0.5 * self.temperature)
        graph_TT: Tensor = alike_TT.masked_fill(~seen_TT, float("-inf")).softmax(-1)
        return graph_TT

    def _by_attention(self, logits_TE: Tensor, context: RoutingContext) -> Tensor:
        attention_BSS = context.attention_BSS
        if attention_BSS is None:
            raise RoutingError("TokenGraphGate by attention needs the context's attention_BSS, got None")
        batch, length = attention_BSS.shape[:2]
        if attention_BSS.shape != (batch, length, length) or batch * length != logits_TE.shape[0]:
            got = tuple(attention_BSS.shape)
            raise RoutingError(f"TokenGraphGate: attention [B, S, S] must have B·S = {logits_TE.shape[0]}, got {got}")
        seen_BSS = attention_BSS.float()
        if self.causal:
            seen_BSS = seen_BSS.tril()
        if context.mask_T is not None:
            seen_BSS = seen_BSS * context.mask_T.view(batch, 1, length)
        seen_BSS = seen_BSS / seen_BSS.sum(-1, keepdim=True).clamp_min(1e-9)
        return torch.bmm(seen_BSS, logits_TE.view(batch, length, -1)).view_as(logits_TE)

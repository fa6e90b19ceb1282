"""A small transformer over characters whose feed-forward blocks are whatever is to be measured.

Shape letters beside the room's: B sequences of a batch, S positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turnout.nn.layer import Routed, summed
from turnout.nn.plan import Plan, RoutingContext


@dataclass(frozen=True)
class Size:
    """How large a model of a bed is."""

    vocabulary: int = 128
    width: int = 64
    layers: int = 2
    heads: int = 4
    context: int = 64


Factory = Callable[[Size], Sequence[nn.Module]]
"""Makes the blocks of a model, one per layer; each takes (x, context) and returns a tensor or a `Routed`."""


class Passed(NamedTuple):
    """What a pass gives: logits [B, S, V], the balancing losses summed over layers, and each layer's plan."""

    logits: Tensor
    losses: dict[str, Tensor]
    plans: tuple[Plan | None, ...]


class DenseBlock(nn.Module):
    """The plain feed-forward block D → H → D, without biases: the baseline at equal active parameters.

    >>> block = DenseBlock(8, 16)
    >>> tuple(block(torch.randn(2, 3, 8)).shape)
    (2, 3, 8)
    """

    def __init__(self, width: int, hidden: int, activation: Callable[[Tensor], Tensor] = F.gelu) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        self.activation = activation

    def forward(self, x: Tensor, context: RoutingContext | None = None) -> Tensor:
        """[..., D] → [..., D]."""
        out: Tensor = self.down(self.activation(self.up(x)))
        return out


class Attention(nn.Module):
    """Multi-head self-attention; returns its weights (mean over heads) too where they are wanted."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x_BSD: Tensor, weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """[B, S, D] → [B, S, D], and [B, S, S] or None."""
        batch, length, width = x_BSD.shape
        q, k, v = self.qkv(x_BSD).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if not weights:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
            return self.out(y.transpose(1, 2).reshape(batch, length, width)), None
        scores_BHSS = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if self.causal:
            future_SS = torch.ones(length, length, dtype=torch.bool, device=x_BSD.device).triu(1)
            scores_BHSS = scores_BHSS.masked_fill(future_SS, float("-inf"))
        share_BHSS = scores_BHSS.softmax(-1)
        y = (share_BHSS @ v).transpose(1, 2).reshape(batch, length, width)
        return self.out(y), share_BHSS.mean(1)


class CharModel(nn.Module):
    """Embedding, layers of attention and a block of `factory`, and a head: ids [B, S] → `Passed`.

    Every block is given a context with its layer, the characters, the sequence of each token, and the state that the
    block below handed on; with `attention` also the attention weights below it.

    >>> model = CharModel(Size(width=8, heads=2), lambda size: [DenseBlock(8, 16), DenseBlock(8, 16)])
    >>> tuple(model(torch.zeros(2, 5, dtype=torch.int64)).logits.shape)
    (2, 5, 128)
    """

    def __init__(self, size: Size, factory: Factory, *, causal: bool = True, attention: bool = False) -> None:
        super().__init__()
        self.size, self.wants_attention = size, attention
        self.embed = nn.Embedding(size.vocabulary, size.width)
        self.place = nn.Parameter(0.02 * torch.randn(size.context, size.width))
        nn.init.normal_(self.embed.weight, std=0.02)
        self.attend = nn.ModuleList(Attention(size.width, size.heads, causal) for _ in range(size.layers))
        self.norms = nn.ModuleList(nn.RMSNorm(size.width) for _ in range(2 * size.layers + 1))
        self.blocks = nn.ModuleList(factory(size))
        self.head = nn.Linear(size.width, size.vocabulary, bias=False)

    def forward(self, ids_BS: Tensor, context: RoutingContext | None = None) -> Passed:
        """A pass; `context` brings what only the caller knows (step, generator, tasks, overrides)."""
        batch, length = ids_BS.shape
        sequence_T = torch.arange(batch, device=ids_BS.device).repeat_interleave(length)
        context = replace(
            context or RoutingContext(), layer=0, state=None, token_T=ids_BS.reshape(-1), sequence_T=sequence_T
        )
        x_BSD = self.embed(ids_BS) + self.place[:length]
        losses: list[dict[str, Tensor]] = []
        plans: list[Plan | None] = []
        for number, (attend, block) in enumerate(zip(self.attend, self.blocks, strict=True)):
            mixed_BSD, share_BSS = attend(self.norms[2 * number](x_BSD), self.wants_attention)
            x_BSD = x_BSD + mixed_BSD
            routed = block(self.norms[2 * number + 1](x_BSD), replace(context, attention_BSS=share_BSS))
            if not isinstance(routed, Routed):
                routed = Routed(routed, {}, None, context.state)  # type: ignore[arg-type]
            x_BSD = x_BSD + routed.output
            plans.append(routed.plan)
            losses.append(routed.losses)
            context = context.after(routed.state)
        return Passed(self.head(self.norms[-1](x_BSD)), summed(losses), tuple(plans))


def per_layer(block: Callable[[Size], nn.Module]) -> Factory:
    """A factory that makes every layer's block alike and apart.

    >>> len(per_layer(lambda size: DenseBlock(size.width, 2))(Size(layers=3)))
    3
    """
    return lambda size: [block(size) for _ in range(size.layers)]

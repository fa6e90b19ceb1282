"""What selectors share: scores, the k best of them, numbering of sequences, and draws that can be replayed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from turnout.errors import RoutingError
from turnout.nn.base import known_finite, recomputing
from turnout.nn.plan import RoutingContext

SCORES = ("softmax", "sigmoid")


def scores_of(logits_TE: Tensor, score: str) -> Tensor:
    """Softmax, sigmoid or identity of logits. Raises RoutingError where a softmax has nothing left."""
    if score == "identity":
        return logits_TE.masked_fill(logits_TE == float("-inf"), 0.0)
    if score == "sigmoid":
        return logits_TE.sigmoid()
    scores_TE = logits_TE.softmax(-1)
    if torch.compiler.is_compiling() or logits_TE.is_cuda or known_finite(logits_TE):
        return scores_TE
    if math.isnan(scores_TE.detach().sum().item()):
        lost_T = scores_TE.isnan().any(-1)
        raise RoutingError(f"every expert is silenced for row {int(lost_T.nonzero()[0, 0])} of {len(lost_T)}")
    return scores_TE


def check_k(who: str, k: int, experts: int) -> None:
    """Raise RoutingError where k is above E."""
    if k > experts:
        raise RoutingError(f"{who}: k must be at most the number of experts, got k={k}, E={experts}")


def refuse_bias(who: str, bias_E: Tensor | None, why: str) -> None:
    """Raise RoutingError where a bias on the choice can do nothing."""
    if bias_E is not None:
        raise RoutingError(f"{who} takes no bias on the choice: {why}")


def best(by_TE: Tensor, k: int, context: RoutingContext) -> tuple[Tensor, bool]:
    """Indices [T, k] of the highest, the best first, the sentinel E where −inf; and whether no slot is empty."""
    found = by_TE.topk(k, dim=-1)
    if _nobody_silenced(by_TE, found.values, context):
        return found.indices, True
    return found.indices.masked_fill(found.values == float("-inf"), by_TE.shape[-1]), False


def _nobody_silenced(by_TE: Tensor, best_TK: Tensor, context: RoutingContext) -> bool:
    if torch.compiler.is_compiling() or (by_TE.is_cuda and not context.overrides) or known_finite(by_TE):
        return True
    return not best_TK.numel() or best_TK.detach().min().item() != -math.inf


def taken(scores_TE: Tensor, idx_TK: Tensor, full: bool, empty: float = 0.0) -> Tensor:
    """The scores [T, K] of chosen experts; `empty` in empty slots."""
    if full:
        return scores_TE.gather(-1, idx_TK)
    experts = scores_TE.shape[-1]
    return torch.where(idx_TK < experts, scores_TE.gather(-1, idx_TK.clamp(max=experts - 1)), empty)


def normalized(weights: Tensor) -> Tensor:
    """Each token's weights divided by their sum."""
    return weights / weights.sum(-1, keepdim=True).clamp_min(1e-9)


def groups_of(tokens: int, context: RoutingContext, device: torch.device, *, by_sequence: bool) -> tuple[Tensor, int]:
    """Tokens numbered by sequence from 0, or all 0; padding gets the number after the last. And how many there are."""
    if not by_sequence:
        group_T = torch.zeros(tokens, dtype=torch.int64, device=device)
        groups = 1
    else:
        sequence_T = require_sequences(tokens, context)
        found = sequence_T.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        group_T, groups = found[1], found[0].shape[0]
    if context.mask_T is not None:
        group_T = torch.where(context.mask_T, group_T, groups)
    return group_T, groups


def require_sequences(tokens: int, context: RoutingContext, who: str = "routing by sequence") -> Tensor:
    """`sequence_T` of a context. Raises RoutingError where it is missing or of another length."""
    if context.sequence_T is None:
        raise RoutingError(f"{who} needs the context's sequence_T, got None")
    if context.sequence_T.shape != (tokens,):
        raise RoutingError(f"{who} needs sequence_T of shape ({tokens},), got {tuple(context.sequence_T.shape)}")
    return context.sequence_T


def own_generator(context: RoutingContext, who: str) -> torch.Generator | None:
    """The context's generator. Raises RoutingError inside a recomputation, where it would draw another choice.

    Activation checkpointing rewinds torch's global generator before it runs a forward again, but not one of your own.
    """
    if context.generator is not None and recomputing():
        raise RoutingError(
            f"{who}: a generator of the context moves on before activation checkpointing recomputes, so the choice "
            "would differ; leave `generator` None there (torch rewinds its global one)"
        )
    return context.generator


def uniform(like_TE: Tensor, generator: torch.Generator | None) -> Tensor:
    """Numbers in [0, 1) in the shape of the argument; without a generator also where a graph's shapes are symbols."""
    if generator is None:
        return torch.rand_like(like_TE)
    return torch.rand(like_TE.shape, generator=generator, device=like_TE.device)


def gumbel(like_TE: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard Gumbel noise in the shape of its argument."""
    return -(-uniform(like_TE, generator).clamp(1e-20, 1 - 1e-7).log()).log()

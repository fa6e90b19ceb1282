"""Which tokens an expert of limited capacity turns away."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from turnout.errors import RoutingError
from turnout.nn.statistics.trace import Trace, renumbered


def drop_by_position(trace: Trace, capacity: float | None = None, bins: int = 8) -> Tensor:
    """Share of choices dropped in each stretch of a sequence: [bins].

    With `capacity` None it is what the dispatcher dropped. With a number it is what would be dropped if experts served
    first come, first served, and within each sequence each took ⌈capacity · choices / E⌉ rows: the share then rises
    towards the end. Source: Xue et al., "OpenMoE", 2024. Raises RoutingError where sequences are shorter than the
    stretches asked for.

    >>> drop_by_position(Trace.of(torch.zeros(8, 1, dtype=torch.long), 2), capacity=1.0, bins=4).tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    if not bool(trace.mask_TK.any()):
        raise RoutingError("no token of the trace has an expert")
    number_T = renumbered(trace.sequence_T)
    length_T = number_T.bincount()[number_T]
    if int(length_T.min()) < bins:
        raise RoutingError(f"{bins} stretches need sequences of as many tokens, got one of {int(length_T.min())}")
    stretch_T = trace.position_T * bins // length_T
    lost_T = (trace.mask_TK & ~trace.held_TK).sum(1) if capacity is None else _turned_away(trace, number_T, capacity)
    dropped = torch.zeros(bins).index_add_(0, stretch_T, lost_T.float())
    return dropped / torch.zeros(bins).index_add_(0, stretch_T, trace.mask_TK.sum(1).float()).clamp_min(1)


def _turned_away(trace: Trace, number_T: Tensor, capacity: float) -> Tensor:
    """How many of each token's choices come too late, [T]."""
    chosen_TE = trace.chosen_TE.long()
    position_T = trace.position_T
    starts_T = torch.arange(trace.tokens) - position_T
    sums_TE = torch.cat([chosen_TE.new_zeros(1, trace.experts), chosen_TE.cumsum(0)])
    before_TE = sums_TE[:-1] - sums_TE[starts_T]  # choices of the same expert earlier in the sequence
    choices_T = torch.zeros(int(number_T.max()) + 1).index_add_(0, number_T, chosen_TE.sum(1).float())[number_T]
    room_T = (choices_T.double() * capacity / trace.experts - 1e-9).ceil()  # 1.2 · 25 / 5 is 6
    return ((chosen_TE == 1) & (before_TE >= room_T[:, None])).sum(1)


def dropped(trace: Trace, capacity: float | None = None) -> float:
    """Share of all choices that were dropped, or would be at this capacity; see `drop_by_position`."""
    shares = drop_by_position(trace, capacity, bins=1)
    return math.fsum(shares.tolist())

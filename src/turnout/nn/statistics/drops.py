"""Which tokens an expert of limited capacity turns away."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from turnout.errors import RoutingError
from turnout.nn.statistics.trace import Trace, renumbered


def drop_by_position(trace: Trace, capacity: float = 1.0, bins: int = 8) -> Tensor:
    """Share of choices dropped in each stretch of a sequence when experts serve first come, first served: [bins].

    Within each sequence an expert takes ⌈capacity · choices / E⌉ rows. The share never falls along the sequence for
    one expert's own queue; over all experts it rises towards the end. Source: Xue et al., "OpenMoE", 2024. Raises
    RoutingError where sequences are shorter than the stretches asked for.

    >>> drop_by_position(Trace.of(torch.zeros(8, 1, dtype=torch.long), 2), capacity=1.0, bins=4).tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    if not bool(trace.mask_TK.any()):
        raise RoutingError("no token of the trace has an expert")
    chosen_TE = trace.chosen_TE.long()
    position_T = trace.position_T
    starts_T = torch.arange(trace.tokens) - position_T
    sums_TE = torch.cat([chosen_TE.new_zeros(1, trace.experts), chosen_TE.cumsum(0)])
    before_TE = sums_TE[:-1] - sums_TE[starts_T]  # choices of the same expert earlier in the sequence
    number_T = renumbered(trace.sequence_T)
    choices_T = torch.zeros(int(number_T.max()) + 1).index_add_(0, number_T, chosen_TE.sum(1).float())[number_T]
    room_T = (choices_T * capacity / trace.experts).ceil()
    dropped_TE = (chosen_TE == 1) & (before_TE >= room_T[:, None])
    length_T = number_T.bincount()[number_T]
    if int(length_T.min()) < bins:
        raise RoutingError(f"{bins} stretches need sequences of as many tokens, got one of {int(length_T.min())}")
    stretch_T = position_T * bins // length_T
    dropped = torch.zeros(bins).index_add_(0, stretch_T, dropped_TE.sum(1).float())
    return dropped / torch.zeros(bins).index_add_(0, stretch_T, chosen_TE.sum(1).float()).clamp_min(1)


def dropped(trace: Trace, capacity: float = 1.0) -> float:
    """Share of all choices dropped at this capacity; see `drop_by_position`."""
    shares = drop_by_position(trace, capacity, bins=1)
    return math.fsum(shares.tolist())

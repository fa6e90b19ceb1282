"""What a statistic would show if tokens were routed independently: its i.i.d. control.

A statistic without its control says little: with two of sixteen experts chosen at random, a segment still looks
somewhat consistent, and a small sample somewhat unbalanced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from turnout.errors import ParameterError
from turnout.nn.statistics.trace import Trace, renumbered


class Controlled(NamedTuple):
    """A statistic, the mean of its control over seeds, and the control's lowest and highest seed."""

    value: float
    control: float
    low: float
    high: float

    @property
    def excess(self) -> float:
        """The value less its control."""
        return self.value - self.control


def controlled(
    statistic: Callable[..., float],
    *traces: Trace,
    seeds: Sequence[int] = (0, 1, 2),
    against: str = "marginals",
    **options: object,
) -> Controlled:
    """A statistic of one or more traces beside its control.

    `against` is `marginals` (each trace's choices drawn again from itself, whatever the token, place or task),
    `pooled` (drawn from all traces together: for differences between corpora) or `uniform` (experts drawn evenly: for
    load). `options` go to the statistic.

    >>> from turnout.nn.statistics import srp
    >>> trace = Trace.of(torch.arange(64)[:, None] // 16, experts=4)
    >>> found = controlled(srp, trace, length=8)
    >>> round(found.value, 2), found.excess > 0.3
    (0.9, True)
    """
    draws = {"marginals": _marginals, "pooled": _pooled, "uniform": _uniform}
    if against not in draws:
        raise ParameterError(f"controlled: `against` must be one of {', '.join(draws)}, got {against!r}")
    value = float(statistic(*traces, **options))
    controls = [float(statistic(*draws[against](traces, _generator(seed)), **options)) for seed in seeds]
    return Controlled(value, sum(controls) / len(controls), min(controls), max(controls))


def resampled(trace: Trace, seed: int, within: Tensor | None = None) -> Trace:
    """The trace with each token's choice drawn again, with replacement, from all tokens' choices.

    `within` [T] numbers groups of tokens: choices are then drawn from a token's own group, which keeps what the group
    (a task, a token id) explains and breaks all else.
    """
    if within is None:
        return _marginals([trace], _generator(seed))[0]
    generator = _generator(seed)
    group_T = renumbered(within)
    member_T = group_T.argsort(stable=True)
    size_G = group_T.bincount()
    first_T, size_T = (size_G.cumsum(0) - size_G)[group_T], size_G[group_T]
    pick_T = member_T[first_T + (torch.rand(trace.tokens, generator=generator) * size_T).long()]
    return _picked(trace, trace, pick_T)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _marginals(traces: Sequence[Trace], generator: torch.Generator) -> list[Trace]:
    return [_drawn(trace, trace, generator) for trace in traces]


def _pooled(traces: Sequence[Trace], generator: torch.Generator) -> list[Trace]:
    slots = max(trace.idx_TK.shape[1] for trace in traces)
    wide = [_widened(trace, slots) for trace in traces]
    entropies = [trace.entropy_T for trace in wide if trace.entropy_T is not None]
    pool = Trace(
        torch.cat([trace.idx_TK for trace in wide]),
        torch.cat([trace.weights_TK for trace in wide]),
        wide[0].experts,
        torch.cat([trace.sequence_T for trace in wide]),
        entropy_T=torch.cat(entropies) if len(entropies) == len(wide) else None,
        kept_TK=torch.cat([trace.held_TK for trace in wide]),
    )
    return [_drawn(trace, pool, generator) for trace in wide]


def _widened(trace: Trace, slots: int) -> Trace:
    more = slots - trace.idx_TK.shape[1]
    pad = torch.nn.functional.pad
    return replace(
        trace,
        idx_TK=pad(trace.idx_TK, (0, more), value=trace.experts),
        weights_TK=pad(trace.weights_TK, (0, more)),
        kept_TK=pad(trace.held_TK, (0, more)),
    )


def _drawn(trace: Trace, source: Trace, generator: torch.Generator) -> Trace:
    return _picked(trace, source, torch.randint(max(source.tokens, 1), (trace.tokens,), generator=generator))


def _picked(trace: Trace, source: Trace, pick_T: Tensor) -> Trace:
    entropy_T = None if source.entropy_T is None else source.entropy_T[pick_T]
    return replace(
        trace,
        idx_TK=source.idx_TK[pick_T],
        weights_TK=source.weights_TK[pick_T],
        entropy_T=entropy_T,
        kept_TK=None if source.kept_TK is None else source.kept_TK[pick_T],
    )


def _uniform(traces: Sequence[Trace], generator: torch.Generator) -> list[Trace]:
    return [_even(trace, generator) for trace in traces]


def _even(trace: Trace, generator: torch.Generator) -> Trace:
    """As many distinct experts for each token as it has, drawn evenly."""
    drawn_TE: Tensor = torch.rand(trace.tokens, trace.experts, generator=generator)
    slots = trace.idx_TK.shape[1]
    idx_TK = drawn_TE.topk(min(slots, trace.experts), -1).indices
    idx_TK = torch.nn.functional.pad(idx_TK, (0, slots - idx_TK.shape[1]), value=trace.experts)
    return replace(trace, idx_TK=torch.where(trace.mask_TK, idx_TK, trace.experts), kept_TK=None)

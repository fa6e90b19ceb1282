"""How far neighbouring tokens use the same experts: segment routing consistency and expert caches.

Source: Liang et al., "Not All Models Suit Expert Offloading: On Local Routing Consistency of Mixture-of-Expert
Models", arXiv 2505.16056.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Collection
from itertools import pairwise

import torch

from turnout.errors import ParameterError, RoutingError
from turnout.nn.statistics.trace import Trace


def srp(trace: Trace, length: int = 16) -> float:
    """Segment routing best performance: the best F1 of one fixed group of experts for each `length` tokens.

    A segment's group holds the experts chosen at least θ times in it; with c the choices, precision is
    Σ_group c / (|group| · length), recall Σ_group c / Σ c, summed over all overlapping segments; the best θ counts.
    1 when experts never change within a segment. Limits: even i.i.d. routing has a floor; report it with `controlled`.

    >>> srp(Trace.of(torch.zeros(32, 1, dtype=torch.long), 8), length=16)
    1.0
    """
    counts = trace.windows(length).flatten()
    often = counts.bincount(minlength=length + 1).double()  # (segment, expert) pairs by how often the expert is chosen
    chosen = (often * torch.arange(length + 1)).flip(0).cumsum(0).flip(0)
    offered = often.flip(0).cumsum(0).flip(0) * length
    if not chosen[0]:
        raise RoutingError("no token of the trace has an expert")
    return float((2 * chosen / (offered + chosen[0]).clamp_min(1)).max())


def sch(trace: Trace, length: int = 16, ratio: float = 2.0) -> float:
    """Segment cache best hit rate: share of choices served by each segment's ⌊ratio · k⌋ most used experts.

    k is the trace's mean number of experts per token, rounded. 1 when the segment never needs more experts than the
    cache holds. Deviation: what is held stays for a segment, and segments do not overlap; the authors' code moves its
    cache at every token, by the uses of the `length` tokens to come.

    >>> trace = Trace.of(torch.tensor([0, 1, 2, 0, 1, 2])[:, None], 4)
    >>> sch(trace, length=3, ratio=2.0) == 2 / 3
    True
    """
    counts_WE = trace.windows(length, stride=length)
    kept = counts_WE.topk(_cache_size(trace, ratio), -1).values.sum()
    return float(kept.double() / counts_WE.sum().clamp_min(1))


def cache_hit_rate(trace: Trace, ratio: float = 2.0, policy: str = "lru") -> float:
    """Share of choices found in a cache of ⌊ratio · k⌋ experts that starts empty with each sequence.

    `policy` is what leaves a full cache for an expert that is used: `lru` the least recently used, `lfu` the least
    often used since the sequence began (the older of equals). With `belady` it is the one needed again last, be it the
    expert just used, which no cache can beat. A token's experts are looked up before any of them is loaded.
    Deviation: the authors' code counts the first use of an expert that still finds room as served.

    >>> trace = Trace.of(torch.tensor([0, 1, 0, 2, 0, 1])[:, None], 4)
    >>> [round(cache_hit_rate(trace, 2.0, policy), 2) for policy in ("lru", "lfu", "belady")]
    [0.33, 0.33, 0.5]
    """
    caches: dict[str, type[_Cache]] = {"lru": _Recent, "lfu": _Frequent, "belady": _Clairvoyant}
    if policy not in caches:
        raise ParameterError(f"cache_hit_rate: `policy` must be one of {', '.join(caches)}, got {policy!r}")
    size = _cache_size(trace.seen(), ratio)
    starts = (trace.position_T == 0).nonzero()[:, 0].tolist()
    rows = [[e for e in row if e < trace.experts] for row in trace.idx_TK.tolist()]
    hits = total = 0
    for start, stop in pairwise([*starts, trace.tokens]):
        cache = caches[policy](size, rows[start:stop])
        for row in rows[start:stop]:
            hits += sum(expert in cache.held for expert in row)
            total += len(row)
            cache.use(row)
    return hits / max(total, 1)


def _cache_size(trace: Trace, ratio: float) -> int:
    if ratio <= 0:
        raise ParameterError(f"a cache's ratio must be above 0, got {ratio}")
    active = int(trace.mask_TK.sum()) / max(trace.tokens, 1)
    return min(trace.experts, max(1, int(ratio * max(1, round(active)))))


class _Cache(ABC):
    """Which experts are held after each token's."""

    held: Collection[int]

    @abstractmethod
    def __init__(self, size: int, rows: list[list[int]]) -> None: ...

    @abstractmethod
    def use(self, row: list[int]) -> None: ...


class _Recent(_Cache):
    """The first of `held` has not been used for longest."""

    def __init__(self, size: int, rows: list[list[int]]) -> None:
        self.size = size
        self.held: OrderedDict[int, None] = OrderedDict()

    def use(self, row: list[int]) -> None:
        for expert in row:
            self.held.pop(expert, None)
            self.held[expert] = None
        while len(self.held) > self.size:
            self.held.popitem(last=False)


class _Frequent(_Cache):
    """Counts every use in the sequence, also of experts that were thrown out since."""

    def __init__(self, size: int, rows: list[list[int]]) -> None:
        self.size = size
        self.held: set[int] = set()
        self.uses: dict[int, tuple[int, int]] = {}
        self.clock = 0

    def use(self, row: list[int]) -> None:
        for expert in row:
            self.clock += 1
            if expert not in self.held and len(self.held) == self.size:
                self.held.remove(min(self.held, key=self.uses.__getitem__))
            self.held.add(expert)
            self.uses[expert] = (self.uses.get(expert, (0, 0))[0] + 1, self.clock)


class _Clairvoyant(_Cache):
    """Keeps what is needed again soonest."""

    def __init__(self, size: int, rows: list[list[int]]) -> None:
        self.size = size
        self.held: set[int] = set()
        self.coming: dict[int, list[int]] = {}
        for time in reversed(range(len(rows))):
            for expert in rows[time]:
                self.coming.setdefault(expert, []).append(time)

    def use(self, row: list[int]) -> None:
        for expert in row:
            self.coming[expert].pop()
        soonest = sorted(self.held | set(row), key=lambda e: self.coming[e][-1] if self.coming[e] else float("inf"))
        self.held = set(soonest[: self.size])

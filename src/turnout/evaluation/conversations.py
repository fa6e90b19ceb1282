"""Conversations stitched from logged queries, with a prefix-cache cost model: what keeping or leaving an expert costs.

Shape letters: C conversations, T turns, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from turnout.errors import LogError
from turnout.prices import sizes
from turnout.routers.switching import CACHED_SHARE, Switching
from turnout.stats import Interval, paired_bootstrap
from turnout.types import BYTES_PER_TOKEN, Price, Request

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog
    from turnout.routers import Router

ANSWER_TOKENS = 200
WAYS = ("free", "keep", "margin", "aware")


@dataclass(frozen=True)
class Stitched:
    """Rows of the log as turns (C, T), and for each whether it answers a tool call of the turn before."""

    row_CT: NDArray[np.intp]
    tool_CT: NDArray[np.bool_]


def stitch(
    log: OutcomeLog, conversations: int, turns: int, *, seed: int = 0, stay: float = 0.7, tools: float = 0.2
) -> Stitched:
    """Draw conversations: a turn keeps the task of the one before with chance `stay` (where tasks are known).

    A turn answers a tool call with chance `tools`; the first never does. A query may occur in several conversations,
    never twice in one of at most as many turns as its task has queries. Raises LogError for an empty log.
    """
    if not len(log):
        raise LogError("conversations are stitched from queries, and the log has none")
    rng = np.random.default_rng(seed)
    tasks = np.asarray(log.tasks if log.tasks is not None else [""] * len(log))
    of = {task: np.flatnonzero(tasks == task) for task in np.unique(tasks)}
    row_CT = np.empty((conversations, turns), dtype=np.intp)
    for c in range(conversations):
        row = int(rng.integers(len(log)))
        for t in range(turns):
            if t:
                pool = of[tasks[row]] if rng.random() < stay else np.arange(len(log))
                fresh = np.setdiff1d(pool, row_CT[c, :t])
                row = int(rng.choice(fresh if len(fresh) else pool))
            row_CT[c, t] = row
    tool_CT = rng.random((conversations, turns)) < tools
    tool_CT[:, 0] = False
    return Stitched(row_CT, tool_CT)


@dataclass(frozen=True)
class Outcome:
    """One way to treat conversations. Intervals are over conversations.

    `quality` is the mean score of a turn, `cost` US dollars per 1,000 turns with cached tokens at their share,
    `utility` is quality − λ·cost; `switches` per conversation, `broken` tool loops per conversation, `cached` the part
    of all prompt tokens that came from a cache.
    """

    way: str
    quality: Interval
    cost: Interval
    utility: Interval
    switches: float
    broken: float
    cached: float
    per_conversation: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        spans = {name: getattr(self, name)._asdict() for name in ("quality", "cost", "utility")}
        return {"way": self.way, **spans, "switches": self.switches, "broken": self.broken, "cached": self.cached}


def simulate(
    router: Router,
    log: OutcomeLog,
    stitched: Stitched,
    prices: Mapping[str, Price],
    way: str,
    *,
    margin: float = 0.05,
    cached_share: float = CACHED_SHARE,
    answer_tokens: int = ANSWER_TOKENS,
) -> Outcome:
    """Decide every turn with the router as it serves, and add up what the turns score and cost.

    `free` decides every turn by itself, `keep` stays with the first turn's expert, `margin` leaves it for a gain above
    `margin`, `aware` for one above the price of the switch. A prompt holds all turns and answers before it; an expert
    that served the conversation earlier finds what it read then in its cache. The score of a query is taken not to
    depend on who answered the turns before.

    Raises LogError where the log lacks a score of an expert that may serve: one of the router's with a price.
    """
    arms = [arm for arm in router.arms if arm.id in prices]
    known = [arm.id for arm in arms if arm.id in log.experts]
    if len(known) < len(arms) or not known or not np.isfinite(log.only(known).matrix()).all():
        raise LogError("a conversation needs the score of every expert that may serve it on every query")
    bound = router.bind(arms, switching=Switching(cached_share=cached_share))
    plain = router.bind(arms, switching=Switching(cached_share=1.0, tool_loop=0.0))
    column = {name: e for e, name in enumerate(log.experts)}
    state = _State(
        len(stitched.row_CT),
        score_NE=log.matrix(),
        prices=prices,
        column=column,
        cached_share=cached_share,
        answer_tokens=answer_tokens,
    )
    size_N, texts = sizes(log.texts), log.texts
    for t in range(stitched.row_CT.shape[1]):
        row_C = stitched.row_CT[:, t]
        requests = []
        for c, row in enumerate(row_C.tolist()):
            tokens = state.read_C[c] + size_N[row]
            served = state.expert[c] if t and way != "free" else None
            requests.append(
                Request(
                    texts[row],
                    bytes=int(tokens * BYTES_PER_TOKEN),
                    previous=served,
                    cached_tokens=int(state.cached(c, served)) if served else 0,
                    tool_loop=bool(stitched.tool_CT[c, t]) and served is not None,
                )
            )
        chooser = bound if way == "aware" else plain
        stay = {"keep": float("inf"), "margin": margin}.get(way, 0.0)
        chosen = [decision.expert for decision in chooser.decide_many(requests, switch_margin=stay)]
        state.turn(chosen, row_C, size_N[row_C], stitched.tool_CT[:, t])
    return state.outcome(way, router.guard.lam, stitched.row_CT.shape[1])


class _State:
    """Where every conversation stands: who served it, what was read so far, and what each expert still has cached."""

    def __init__(
        self,
        conversations: int,
        *,
        score_NE: NDArray[np.float64],
        prices: Mapping[str, Price],
        column: Mapping[str, int],
        cached_share: float,
        answer_tokens: int,
    ) -> None:
        self.score_NE, self.prices, self.column = score_NE, prices, column
        self.cached_share, self.answer_tokens = cached_share, answer_tokens
        self.read_C = np.zeros(conversations)
        self.expert: list[str | None] = [None] * conversations
        self.caches: list[dict[str, float]] = [{} for _ in range(conversations)]
        self.score_C, self.cost_C = np.zeros(conversations), np.zeros(conversations)
        self.switches, self.broken, self.cached_tokens, self.tokens = 0, 0, 0.0, 0.0

    def cached(self, c: int, expert: str | None) -> float:
        """Tokens of the prompt so far that an expert has read before."""
        return self.caches[c].get(expert or "", 0.0)

    def turn(
        self,
        chosen: Sequence[str],
        row_C: NDArray[np.intp],
        size_C: NDArray[np.float64],
        tool_C: NDArray[np.bool_],
    ) -> None:
        """Everybody's next answer."""
        for c, expert in enumerate(chosen):
            prompt, cached, price = self.read_C[c] + size_C[c], self.cached(c, expert), self.prices[expert]
            fresh = prompt - cached + self.cached_share * cached
            self.cost_C[c] += price.cost(fresh, self.answer_tokens)
            self.score_C[c] += self.score_NE[row_C[c], self.column[expert]]
            moved = self.expert[c] not in {None, expert}
            self.switches += moved
            self.broken += moved and bool(tool_C[c])
            self.cached_tokens, self.tokens = self.cached_tokens + cached, self.tokens + prompt
            self.read_C[c] = self.caches[c][expert] = prompt + self.answer_tokens
            self.expert[c] = expert

    def outcome(self, way: str, lam: float, turns: int) -> Outcome:
        """The totals, per turn."""
        per = {"quality": self.score_C / turns, "cost": 1000 * self.cost_C / turns}
        per["utility"] = per["quality"] - (lam if np.isfinite(lam) else 0.0) * per["cost"] / 1000
        spans = {name: paired_bootstrap(values_C, seed=0) for name, values_C in per.items()}
        count = len(self.expert)
        return Outcome(
            way,
            spans["quality"],
            spans["cost"],
            spans["utility"],
            self.switches / count,
            self.broken / count,
            float(self.cached_tokens / max(self.tokens, 1.0)),
            per,
        )


def compare(first: Outcome, second: Outcome, quantity: str = "utility") -> Interval:
    """Paired difference, first less second, over conversations."""
    return paired_bootstrap(first.per_conversation[quantity] - second.per_conversation[quantity], seed=0)

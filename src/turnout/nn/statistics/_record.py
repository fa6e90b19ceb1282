"""What one layer's passes leave behind, within a bound of memory."""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor

from turnout.nn.plan import Plan, RoutingContext
from turnout.nn.statistics.trace import Trace, renumbered


class _Pass(NamedTuple):
    idx_TK: Tensor
    weights_TK: Tensor
    kept_TK: Tensor
    entropy_T: Tensor
    sequence_T: Tensor
    token_T: Tensor | None
    task_T: Tensor | None
    mask_T: Tensor | None


class Record:
    """Counts over all passes of a layer, and the choices of the latest `limit` tokens (of a long pass, its first).

    Everything stays on the device of the plan until a trace is asked for, so that a pass does not wait for it.
    """

    def __init__(self, experts: int, limit: int) -> None:
        self.experts, self.limit = experts, limit
        self._tokens: Tensor | int = 0
        self.counts_E: Tensor = torch.zeros(experts, dtype=torch.int64)
        self._passes: deque[_Pass] = deque()
        self._kept = 0

    @property
    def tokens(self) -> int:
        """Tokens of all passes, without those that a mask left out."""
        return int(self._tokens)

    def add(self, plan: Plan, context: RoutingContext, length: int | None) -> None:
        """Count one pass. `length` is the tokens of a sequence where the context does not number sequences."""
        counts_E = plan.counts_E.detach()
        self.counts_E = self.counts_E.to(counts_E.device) + counts_E
        self._tokens = self._tokens + (plan.tokens if context.mask_T is None else context.mask_T.sum())
        if not self.limit or not plan.tokens:
            return
        made = _pass(plan, context, length, min(plan.tokens, self.limit))
        self._passes.append(made)
        self._kept += len(made.idx_TK)
        while self._kept > self.limit:
            self._kept -= len(self._passes.popleft().idx_TK)

    def trace(self) -> Trace:
        """The kept tokens; those that a mask left out are not among them."""
        if not self._passes:
            empty = torch.zeros(0, dtype=torch.int64)
            return Trace(empty[:, None], empty[:, None].float(), self.experts, empty)
        slots = max(made.idx_TK.shape[1] for made in self._passes)
        found = [_rows(made, slots, self.experts) for made in self._passes]
        first = 0
        for rows in found:  # the same number in two passes is another sequence
            numbers_T = renumbered(rows["sequence_T"])
            rows["sequence_T"] = numbers_T + first
            first += int(numbers_T.max()) + 1 if len(numbers_T) else 0
        names = [name for name in found[0] if all(name in rows for rows in found)]
        joined = {name: torch.cat([rows[name] for rows in found]) for name in names}
        return Trace.of(joined.pop("idx_TK"), self.experts, **joined)  # type: ignore[arg-type]


def _pass(plan: Plan, context: RoutingContext, length: int | None, kept: int) -> _Pass:
    scores_TE = plan.scores_TE[:kept].detach().float().clamp_min(0)
    share_TE = scores_TE / scores_TE.sum(-1, keepdim=True).clamp_min(1e-9)
    entropy_T = torch.special.entr(share_TE).sum(-1) / math.log(max(plan.experts, 2))
    numbers_T = torch.arange(kept, device=plan.idx_TK.device)
    sequence_T = numbers_T // (length or plan.tokens) if context.sequence_T is None else context.sequence_T[:kept]
    fields = (context.token_T, context.task_T, context.mask_T)
    rest = [None if value is None else value[:kept].detach() for value in fields]
    idx_TK = plan.idx_TK[:kept].detach().to(torch.int16 if plan.experts < 2**15 else torch.int32)
    weights_TK = plan.weights_TK[:kept].detach().float()
    kept_TK = plan.held_TK[:kept].detach()
    return _Pass(idx_TK, weights_TK, kept_TK, entropy_T, sequence_T.detach(), rest[0], rest[1], rest[2])


def _rows(made: _Pass, slots: int, experts: int) -> dict[str, Tensor]:
    """A pass's fields that are known, on the CPU, at the width of the widest pass."""
    values = {name: value.cpu() for name, value in made._asdict().items() if value is not None}
    more = slots - values["idx_TK"].shape[1]
    values["idx_TK"] = torch.nn.functional.pad(values["idx_TK"].long(), (0, more), value=experts)
    values["weights_TK"] = torch.nn.functional.pad(values["weights_TK"], (0, more))
    values["kept_TK"] = torch.nn.functional.pad(values["kept_TK"], (0, more))
    mask_T = values.pop("mask_T", None)
    return values if mask_T is None else {name: value[mask_T.bool()] for name, value in values.items()}

"""A compact record of what was chosen, token by token; every statistic of this room is a function of it.

Shape letters beyond the room's: W windows, M tokens of a window, G tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from turnout.errors import RoutingError
from turnout.nn.plan import Plan, chosen, counted


@dataclass(frozen=True)
class Trace:
    """The choices of one layer over T tokens, those of a sequence one after the other in order of time.

    `idx_TK` are experts with the sentinel E in empty slots, `weights_TK` their weights, `top_T` each token's heaviest
    expert; `kept_TK` is False where a dispatcher dropped a choice. `entropy_T` is the entropy of the scores over log E,
    where scores were seen. `sequence_T` numbers sequences, `token_T` holds ids of a vocabulary, `task_T` numbers tasks;
    None means unknown.

    >>> trace = Trace.of(torch.tensor([[0], [2], [2], [1]]), experts=4, length=2)
    >>> trace.sequence_T.tolist(), trace.position_T.tolist(), trace.counts_E.tolist()
    ([0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 2, 0])
    """

    idx_TK: Tensor
    weights_TK: Tensor
    experts: int
    sequence_T: Tensor
    token_T: Tensor | None = None
    task_T: Tensor | None = None
    entropy_T: Tensor | None = None
    kept_TK: Tensor | None = None

    @classmethod
    def of(
        cls,
        idx_TK: Tensor,
        experts: int,
        *,
        weights_TK: Tensor | None = None,
        length: int | None = None,
        sequence_T: Tensor | None = None,
        token_T: Tensor | None = None,
        task_T: Tensor | None = None,
        entropy_T: Tensor | None = None,
        kept_TK: Tensor | None = None,
    ) -> Trace:
        """A trace of choices: sequences by number, or every `length` tokens one; else all tokens are one sequence.

        Raises RoutingError for shapes that disagree or an expert above E.
        """
        tokens = idx_TK.shape[0]
        if sequence_T is None:
            sequence_T = torch.arange(tokens) // (length or max(tokens, 1))
        found = {"sequence_T": sequence_T, "token_T": token_T, "task_T": task_T, "entropy_T": entropy_T}
        for name, value in found.items():
            if value is not None and value.shape != (tokens,):
                raise RoutingError(f"a trace of {tokens} tokens needs {name} [{tokens}], got {tuple(value.shape)}")
        idx_TK = idx_TK.detach().cpu().long()
        if tokens and not 0 <= int(idx_TK.min()) <= int(idx_TK.max()) <= experts:
            raise RoutingError(f"a trace's indices must be 0 to {experts} (no expert)")
        if weights_TK is None:
            weights_TK = (idx_TK < experts).float()
        order = sequence_T.cpu().argsort(stable=True)
        found["kept_TK"] = kept_TK
        rest = {name: None if value is None else value.detach().cpu()[order] for name, value in found.items()}
        return cls(idx_TK[order], weights_TK.detach().cpu().float()[order], experts, **rest)  # type: ignore[arg-type]

    @classmethod
    def of_plan(cls, plan: Plan, **where: object) -> Trace:
        """A plan's choices; `where` as in `of`."""
        weights_TK = plan.weights_TK
        where = {"kept_TK": plan.kept_TK, **where}
        return cls.of(plan.idx_TK, plan.experts, weights_TK=weights_TK, **where)  # type: ignore[arg-type]

    @property
    def tokens(self) -> int:
        """T."""
        return self.idx_TK.shape[0]

    @property
    def mask_TK(self) -> Tensor:
        """True where a slot holds an expert."""
        return self.idx_TK < self.experts

    @property
    def held_TK(self) -> Tensor:
        """True where a slot holds an expert that served it: a dispatcher of limited capacity may have dropped it."""
        return self.mask_TK if self.kept_TK is None else self.mask_TK & self.kept_TK

    @property
    def chosen_TE(self) -> Tensor:
        """True where a token goes to an expert."""
        return chosen(self.idx_TK, self.experts)

    @property
    def counts_E(self) -> Tensor:
        """Rows of each expert, int64."""
        return counted(self.idx_TK, self.experts)

    @property
    def top_T(self) -> Tensor:
        """Each token's heaviest expert; E where it has none."""
        weights_TK = self.weights_TK.masked_fill(~self.mask_TK, float("-inf"))
        return self.idx_TK.gather(1, weights_TK.argmax(1, keepdim=True))[:, 0]

    @property
    def position_T(self) -> Tensor:
        """Each token's place in its sequence, from 0."""
        number_T = torch.arange(self.tokens)
        starts_T = torch.ones(self.tokens, dtype=torch.bool)
        starts_T[1:] = self.sequence_T[1:] != self.sequence_T[:-1]
        return number_T - torch.where(starts_T, number_T, 0).cummax(0).values if self.tokens else number_T

    def take(self, index_N: Tensor) -> Trace:
        """The tokens at these places."""
        return self._map(lambda value: value[index_N])

    def only(self, task: int) -> Trace:
        """The tokens of one task. Raises RoutingError where tasks are unknown."""
        return self.take((self.need("task_T") == task).nonzero()[:, 0])

    def need(self, name: str) -> Tensor:
        """A field that may be unknown. Raises RoutingError saying how to record it."""
        value: Tensor | None = getattr(self, name)
        if value is None:
            raise RoutingError(f"this statistic needs {name}: set it in the RoutingContext of each pass")
        return value

    def seen(self) -> Trace:
        """The trace itself. Raises RoutingError where it holds no token."""
        if not self.tokens:
            raise RoutingError("the trace holds no token, so there is nothing to count")
        return self

    def windows(self, length: int, stride: int = 1) -> Tensor:
        """How often each expert is chosen in every window of `length` tokens of one sequence: [W, E].

        Windows start at multiples of `stride` in their sequence. Raises RoutingError where no sequence is as long.
        """
        if length < 1 or stride < 1:
            raise RoutingError(f"a window's length and stride must be at least 1, got {length} and {stride}")
        sums = torch.zeros(self.tokens + 1, self.experts, dtype=torch.int32)
        torch.cumsum(self.chosen_TE, 0, dtype=torch.int32, out=sums[1:])
        starts = torch.arange(max(self.tokens - length + 1, 0))
        same = self.sequence_T[starts] == self.sequence_T[starts + length - 1]
        starts = starts[same & (self.position_T[starts] % stride == 0)]
        if not len(starts):
            raise RoutingError(f"no sequence of the trace has {length} tokens")
        return sums[starts + length] - sums[starts]

    def _map(self, change: Callable[[Tensor], Tensor]) -> Trace:
        names = ("idx_TK", "weights_TK", "sequence_T", "token_T", "task_T", "entropy_T", "kept_TK")
        values = {name: getattr(self, name) for name in names}
        changed = {name: change(value) for name, value in values.items() if value is not None}
        return replace(self, **changed)  # type: ignore[arg-type]


def renumbered(values_T: Tensor) -> Tensor:
    """Numbers 0, 1, … in the order of the values, equal where they are equal."""
    numbers_T: Tensor = torch.unique(values_T, return_inverse=True)[1]
    return numbers_T

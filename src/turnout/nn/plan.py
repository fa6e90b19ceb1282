"""What parts of a routed layer say to each other: the context of a pass and the plan a selector makes.

Shape letters of this room: T tokens (all leading dimensions flattened), D width, E experts, K slots of a plan,
N rows handed to experts (N = T·K where no slot is empty), H hidden width of an expert.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from turnout.errors import RoutingError


def counted(idx: Tensor, experts: int) -> Tensor:
    """Rows each expert gets, [E] int64, of indices of any shape; the sentinel E counts nowhere."""
    flat_N = idx.reshape(-1)
    counts = torch.zeros(experts + 1, dtype=torch.int64, device=flat_N.device)
    return counts.scatter_add_(0, flat_N, torch.ones_like(flat_N))[:experts]


def chosen(idx_TK: Tensor, experts: int) -> Tensor:
    """True where a token goes to an expert, [T, E]."""
    chosen_TE = torch.zeros(idx_TK.shape[0], experts + 1, dtype=torch.bool, device=idx_TK.device)
    return chosen_TE.scatter_(1, idx_TK, True)[:, :experts]


@dataclass(frozen=True)
class Override:
    """A hand on one layer's choice: `add` [E] or [T, E] to the logits, experts to `silence`, or a whole plan.

    The seam for surgery on a trained model; a layer applies `add` and `silence` before it selects.
    """

    add: Tensor | None = None
    silence: tuple[int, ...] = ()
    plan: Plan | None = None

    def apply(self, logits_TE: Tensor) -> Tensor:
        """The logits after the hand: silenced experts at −inf."""
        if self.add is not None:
            logits_TE = logits_TE + self.add.to(logits_TE.dtype)
        if not self.silence:
            return logits_TE
        experts = logits_TE.shape[-1]
        if bad := [e for e in self.silence if not 0 <= e < experts]:
            raise RoutingError(f"cannot silence expert {bad[0]}: the layer has experts 0 to {experts - 1}")
        return logits_TE.index_fill(-1, torch.tensor(self.silence, device=logits_TE.device), float("-inf"))


@dataclass(frozen=True)
class RoutingContext:
    """What a part may know beside its input. All tensors are flattened to tokens; None means unknown.

    `mask_T` is False for padding, which no expert sees. `sequence_T` and `task_T` number the sequence and the task of
    each token, `token_T` is its id in the vocabulary, `time_T` a diffusion time. `attention_BSS` holds the attention
    weights of the block before (heads averaged). `state` is what the router of the layer below handed on.
    """

    layer: int = 0
    step: int = 0
    mask_T: Tensor | None = None
    token_T: Tensor | None = None
    sequence_T: Tensor | None = None
    task_T: Tensor | None = None
    time_T: Tensor | None = None
    attention_BSS: Tensor | None = None
    state: Tensor | None = None
    generator: torch.Generator | None = None
    overrides: Mapping[int, Override] = field(default_factory=dict)

    def after(self, state: Tensor | None) -> RoutingContext:
        """The context of the next layer."""
        return replace(self, layer=self.layer + 1, state=state)


@dataclass(frozen=True)
class Plan:
    """Which experts each token goes to, and how their outputs are weighed.

    `idx_TK` are experts; the sentinel E marks an empty slot, so a token may have any number of experts up to K.
    `weights_TK` are 0 in empty slots. `scores_TE` is what was chosen by (differentiable), `logits_TE` what the gate
    gave. `full` promises that no slot is empty, which spares the dispatcher a synchronisation. `log_prob_T` is the
    log-probability of the choice where it was sampled. A dispatcher with a capacity marks what it will drop as False in
    `kept_TK` (None: it drops nothing); the indices stay as chosen, so that balancers see the demand.

    >>> chosen_TE = torch.tensor([[True, False, True], [False, False, True]])
    >>> plan = Plan.of_mask(chosen_TE, torch.ones(2, 3), torch.zeros(2, 3))
    >>> plan.idx_TK.tolist(), plan.counts_E.tolist()
    ([[0, 2], [2, 3]], [1, 0, 2])
    """

    idx_TK: Tensor
    weights_TK: Tensor
    scores_TE: Tensor
    logits_TE: Tensor
    full: bool = False
    log_prob_T: Tensor | None = None
    kept_TK: Tensor | None = None

    @classmethod
    def of_mask(cls, chosen_TE: Tensor, weights_TE: Tensor, logits_TE: Tensor, scores_TE: Tensor | None = None) -> Plan:
        """A plan of every chosen (token, expert) pair; K is the most experts that any token has, at least 1."""
        tokens, experts = chosen_TE.shape
        compiling = torch.compiler.is_compiling()
        slots = experts if compiling or not tokens else max(1, int(chosen_TE.sum(-1).max()))
        numbers_E = torch.arange(experts, device=chosen_TE.device)
        idx_TE = torch.where(chosen_TE, numbers_E, experts)
        idx_TK = idx_TE.sort(-1).values[:, :slots]
        picked_TK = weights_TE.gather(-1, idx_TK.clamp(max=experts - 1))
        weights_TK = torch.where(idx_TK < experts, picked_TK, torch.zeros_like(picked_TK))
        return cls(idx_TK, weights_TK, weights_TE if scores_TE is None else scores_TE, logits_TE)

    @property
    def experts(self) -> int:
        """E, which is also the sentinel."""
        return self.scores_TE.shape[-1]

    @property
    def tokens(self) -> int:
        """T."""
        return self.idx_TK.shape[0]

    @property
    def k(self) -> int:
        """K, the slots of each token."""
        return self.idx_TK.shape[1]

    @property
    def mask_TK(self) -> Tensor:
        """True where a slot holds an expert."""
        return self.idx_TK < self.experts

    @property
    def held_TK(self) -> Tensor:
        """True where a slot holds an expert that will see the token: chosen, and not dropped."""
        return self.mask_TK if self.kept_TK is None else self.mask_TK & self.kept_TK

    @property
    def counts_E(self) -> Tensor:
        """Rows each expert gets, int64."""
        return counted(self.idx_TK, self.experts)

    @property
    def chosen_TE(self) -> Tensor:
        """True where a token goes to an expert."""
        return chosen(self.idx_TK, self.experts)

    @property
    def weights_TE(self) -> Tensor:
        """The weights laid out by expert; 0 where an expert is not chosen."""
        dense = torch.zeros(
            self.tokens, self.experts + 1, dtype=self.weights_TK.dtype, device=self.weights_TK.device
        ).scatter_add(1, self.idx_TK, self.weights_TK)
        return dense[:, : self.experts]

    def without(self, mask_T: Tensor) -> Plan:
        """The plan with no expert for tokens where `mask_T` is False."""
        idx_TK = torch.where(mask_T[:, None], self.idx_TK, self.experts)
        weights_TK = torch.where(mask_T[:, None], self.weights_TK, 0)
        return replace(self, idx_TK=idx_TK, weights_TK=weights_TK, full=False)

    def keeping(self, kept_TK: Tensor) -> Plan:
        """The plan with what a dispatcher keeps; the indices stay as chosen."""
        return replace(self, kept_TK=kept_TK)

    def as_run(self) -> Plan:
        """The plan with empty slots where the dispatcher drops what was chosen."""
        if self.kept_TK is None:
            return self
        idx_TK = torch.where(self.kept_TK, self.idx_TK, self.experts)
        weights_TK = torch.where(self.kept_TK, self.weights_TK, 0)
        return replace(self, idx_TK=idx_TK, weights_TK=weights_TK, full=False, kept_TK=None)

    def check(self) -> None:
        """Raise RoutingError for indices out of range, shapes that disagree, or an expert twice for one token."""
        if self.idx_TK.shape != self.weights_TK.shape:
            raise RoutingError(f"a plan has indices {tuple(self.idx_TK.shape)}, weights {tuple(self.weights_TK.shape)}")
        if self.idx_TK.dtype != torch.int64:
            raise RoutingError(f"a plan's indices must be int64, got {self.idx_TK.dtype}")
        if self.tokens != self.scores_TE.shape[0]:
            raise RoutingError(f"a plan of {self.tokens} tokens has scores of {self.scores_TE.shape[0]}")
        if self.idx_TK.numel() == 0:
            return
        low, high = int(self.idx_TK.min()), int(self.idx_TK.max())
        if low < 0 or high > self.experts:
            raise RoutingError(f"a plan's indices must be 0 to {self.experts} (no expert), got {low} to {high}")
        ordered = self.idx_TK.sort(-1).values
        if bool(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] < self.experts)).any()):
            raise RoutingError("a plan sends a token to the same expert twice")
        if self.full and high == self.experts:
            raise RoutingError("a plan that is said to be full has an empty slot")

"""The six parts of a routed layer. The public `forward` does what all of a kind share; a part writes one hook.

    gate → selector → dispatcher → experts → combiner, and balancers beside them

A gate scores experts for each token, a selector turns scores into a plan, the dispatcher brings rows to experts, and
the combiner makes one output per token. Balancers return named losses; nothing is added to a loss silently.
"""

from __future__ import annotations

import math
import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from turnout.base import Registered
from turnout.errors import RoutingError
from turnout.nn._rows import combine, inverse, permute
from turnout.nn.plan import Plan, RoutingContext


class Part(Registered, nn.Module, ABC):
    """A registered module; its constructor checks parameters with `require`."""

    def after_step(self) -> bool:
        """What moves beside the optimizer (a bias, prototypes, a controller) moves once; False where nothing did.

        `update_biases(model)` calls this after each optimizer step.
        """
        return False


class Gate(Part):
    """Scores every expert for every token: x [T, D] → logits [T, E] in float32, and the state for the next layer.

    A subclass sets `experts`, and `width` where it knows D, and writes `_logits`, or `_route` to hand a state on.
    """

    kind = "gate"
    experts: int
    width: int = 0  # 0: any

    def forward(self, x_TD: Tensor, context: RoutingContext | None = None) -> tuple[Tensor, Tensor | None]:
        """Logits and state. Raises RoutingError for a wrong shape, type or device, a ragged mask, or NaN logits."""
        context = context or RoutingContext()
        self._refuse(x_TD)
        check_mask(context.mask_T, x_TD.shape[0])
        with without_autocast(x_TD.device.type):
            logits_TE, state = self._route(x_TD.float(), context)
        forbid_nan(logits_TE, type(self).__name__)
        return logits_TE, state

    def _refuse(self, x_TD: Tensor) -> None:
        name = type(self).__name__
        if x_TD.ndim != 2:
            raise RoutingError(f"{name} routes rows [T, D], got shape {tuple(x_TD.shape)}")
        if not x_TD.is_floating_point():
            raise RoutingError(f"{name} routes rows of floating-point numbers, got {x_TD.dtype}")
        if self.width and x_TD.shape[1] != self.width:
            raise RoutingError(f"{name} routes rows of width {self.width}, got {x_TD.shape[1]}")
        held = None if torch.compiler.is_compiling() else next(self.parameters(), None)
        if held is not None and held.device != x_TD.device:
            raise RoutingError(f"{name} is on {held.device}, its rows are on {x_TD.device}")

    def _route(self, x_TD: Tensor, context: RoutingContext) -> tuple[Tensor, Tensor | None]:
        return self._logits(x_TD, context), context.state

    def _logits(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
        raise NotImplementedError


class Selector(Part):
    """Turns logits [T, E] into a plan. `bias_E` counts for choosing only, never for weighing."""

    kind = "selector"

    def forward(self, logits_TE: Tensor, context: RoutingContext | None = None, bias_E: Tensor | None = None) -> Plan:
        """The plan; padding gets no expert. Raises RoutingError for wrong shapes, NaN, a ragged mask, a k above E."""
        name = type(self).__name__
        if logits_TE.ndim != 2 or not logits_TE.shape[1]:
            raise RoutingError(f"{name} chooses from logits [T, E], got {tuple(logits_TE.shape)}")
        if bias_E is not None and bias_E.shape != logits_TE.shape[1:]:
            raise RoutingError(
                f"{name}: a bias must have shape {tuple(logits_TE.shape[1:])}, got {tuple(bias_E.shape)}"
            )
        context = context or RoutingContext()
        check_mask(context.mask_T, logits_TE.shape[0])
        forbid_nan(logits_TE, name)
        plan = self._choose(logits_TE.float(), context, bias_E)
        return plan if context.mask_T is None else plan.without(context.mask_T)

    @abstractmethod
    def _choose(self, logits_TE: Tensor, context: RoutingContext, bias_E: Tensor | None) -> Plan: ...


class Segments(ABC):
    """Rows in the order of their experts: how an expert multiplies each row by its own expert's weights.

    Dispatchers bring their own way of multiplying; experts only say what is multiplied, so every kind of expert runs
    under every dispatcher. `expert_N` is the expert of each row, `counts` its rows per expert.
    """

    expert_N: Tensor

    @abstractmethod
    def linear(self, x_NI: Tensor, weight_EOI: Tensor) -> Tensor:
        """x @ weight[e]ᵀ for each row's expert e: [N, I] × [E, O, I] → [N, O]."""

    @abstractmethod
    def split(self, x_NI: Tensor) -> Sequence[Tensor]:
        """The rows of each expert apart, E blocks in order."""

    def pick(self, value_EO: Tensor) -> Tensor:
        """Each row's own expert's value: [E, …] → [N, …]; for biases and modulations."""
        return value_EO.index_select(0, self.expert_N)


class Experts(Part):
    """A pool of E experts of one kind: rows in expert order → outputs. A subclass writes `forward`.

    `stacked` is False where experts are modules of their own, so that no product over all of them exists. Only those
    may `split` their rows: to the others a dispatcher may bring them in any order.
    """

    kind = "experts"
    experts: int
    stacked: bool = True

    @abstractmethod
    def forward(self, x_ND: Tensor, segments: Segments) -> Tensor:
        """Outputs [N, M] of rows [N, D], each by its own expert."""

    def prepare(self, x_TD: Tensor) -> Tensor:
        """What every token passes once, before its rows are handed out: [T, D] → [T, D']."""
        return x_TD

    def blocked(self, x_TD: Tensor, weight_N: Tensor, token_N: Tensor, sizes: Sequence[int]) -> Tensor | None:
        """Σ weight · output of the rows, [T, M], made block by block in the cache; None where a kind has no such way.

        Rows are in expert order, `sizes` of each expert; `token_N` and `weight_N` are theirs.
        """
        return None

    def quick(self, rows: int) -> bool:
        """Whether `blocked` is the quickest way for so many rows."""
        return False

    def merged(self, weights_GE: Tensor) -> Experts:
        """A pool of G experts mixed in weight space, one per row of weights. Raises where a kind cannot be mixed."""
        raise RoutingError(f"{type(self).__name__} cannot be merged in weight space")


@dataclass(frozen=True)
class Dispatched:
    """What came back from the experts: `rows_NM`, and the slot t·K + k of the plan that each row answers.

    `full` says that every slot has a row, `back_TK` is then the row of each slot. `held_TK` is False where such a row
    only stands in for an empty slot.
    """

    rows_NM: Tensor
    slot_N: Tensor
    tokens: int
    k: int
    full: bool
    back_TK: Tensor | None = None
    held_TK: Tensor | None = None

    def by_token(self) -> Tensor:
        """Outputs [T, K, M] in the order of the plan; 0 where a slot is empty or was dropped."""
        width = self.rows_NM.shape[-1]
        if not self.full:
            empty = self.rows_NM.new_zeros(self.tokens * self.k, width)
            return empty.index_copy(0, self.slot_N, self.rows_NM).view(self.tokens, self.k, width)
        y_TKM = permute(self.rows_NM, self._back_TK.reshape(-1), self.slot_N).view(self.tokens, self.k, width)
        return y_TKM if self.held_TK is None else torch.where(self.held_TK[..., None], y_TKM, 0)

    def weighted_sum(self, weights_TK: Tensor) -> Tensor:
        """Σ_k weights · outputs: [T, M]."""
        if self.full and self.rows_NM.shape[0]:
            if self.held_TK is not None:
                weights_TK = torch.where(self.held_TK, weights_TK, 0)
            return combine(self.rows_NM, weights_TK, self.slot_N, self._back_TK)
        weighted = self.rows_NM * weights_TK.reshape(-1).index_select(0, self.slot_N).to(self.rows_NM.dtype)[:, None]
        total = self.rows_NM.new_zeros(self.tokens, self.rows_NM.shape[-1])
        return total.index_add(0, self.slot_N.div(self.k, rounding_mode="floor"), weighted)

    @property
    def _back_TK(self) -> Tensor:
        return inverse(self.slot_N).view(self.tokens, self.k) if self.back_TK is None else self.back_TK


class Dispatcher(Part):
    """Brings tokens to the experts of a plan and their outputs back."""

    kind = "dispatcher"

    def forward(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Dispatched:
        """Outputs of every (token, expert) of the plan. Raises RoutingError where shapes disagree."""
        self._check(x_TD, plan, experts)
        return self._dispatch(experts.prepare(x_TD), plan, experts)

    def weighted(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Tensor:
        """Σ_k weights · outputs, [T, M]: as `forward` and its weighted sum, for dispatchers that do both in one."""
        self._check(x_TD, plan, experts)
        return self._weighted(experts.prepare(x_TD), plan, experts)

    def _weighted(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Tensor:
        return self._dispatch(x_TD, plan, experts).weighted_sum(plan.weights_TK)

    def _check(self, x_TD: Tensor, plan: Plan, experts: Experts) -> None:
        if x_TD.shape[0] != plan.tokens:
            raise RoutingError(f"the plan is for {plan.tokens} tokens, got {x_TD.shape[0]}")
        if plan.experts != experts.experts:
            raise RoutingError(f"the plan is for {plan.experts} experts, got {experts.experts}")
        if plan.idx_TK.dtype != torch.int64:
            raise RoutingError(f"a plan's indices must be int64, got {plan.idx_TK.dtype}")

    def admit(self, plan: Plan) -> Plan:
        """The plan with what this dispatcher will drop marked in `kept_TK`; one that drops nothing returns it as is."""
        return plan

    @abstractmethod
    def _dispatch(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Dispatched: ...


class Combiner(Part):
    """Makes one output per token of the chosen experts' outputs, or of their weights: → [T, M]."""

    kind = "combiner"

    @abstractmethod
    def forward(
        self, x_TD: Tensor, plan: Plan, experts: Experts, dispatcher: Dispatcher, context: RoutingContext
    ) -> Tensor: ...


@dataclass(frozen=True)
class Routing:
    """One pass through a layer, as balancers and statistics see it."""

    x_TD: Tensor
    plan: Plan
    context: RoutingContext
    gate: Gate
    experts: Experts


class Balancer(Part):
    """A named loss on a routing, or a rule beside it. A subclass writes `_loss`, a scalar without the coefficient.

    A balancer that steers by a bias on the choice (loss-free) gives it as `bias_E`; the others give None.
    """

    kind = "balancer"
    coefficient: float = 1.0

    @property
    def bias_E(self) -> Tensor | None:
        """Added to the scores for choosing only."""
        return None

    def forward(self, routing: Routing) -> Tensor | None:
        """The loss times its coefficient; None where this rule has no loss."""
        with without_autocast(routing.x_TD.device.type):
            loss = self._loss(routing)
        return None if loss is None else self.coefficient * loss

    @abstractmethod
    def _loss(self, routing: Routing) -> Tensor | None: ...


def without_autocast(device: str) -> AbstractContextManager[object]:
    """Types as they are; to enter torch's own context costs as much as a small product, so only where it is on."""
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def recomputing() -> bool:
    """True inside a backward pass: activation checkpointing runs forwards again there, which must not count twice."""
    return torch._C._current_graph_task_id() != -1


class _Looked:
    """The tensor that was last found to hold nothing but numbers, and its version then."""

    at: tuple[weakref.ref[Tensor], int] | None = None


_looked = _Looked()


def known_finite(logits_TE: Tensor) -> bool:
    """True for the tensor that `forbid_nan` last found to hold nothing but numbers, unless it was written to since.

    A pass looks at its logits once: in a token that is decoded, to look costs as much as to choose. Tensors made in
    inference mode count no versions, so that there a write between gate and selector goes unseen.
    """
    seen = _looked.at  # read once, as other threads write here too
    return seen is not None and seen[0]() is logits_TE and seen[1] == _version(logits_TE)


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def forbid_nan(logits_TE: Tensor, who: str) -> None:
    """Raise RoutingError where a logit is NaN. On a GPU the check is asynchronous, and left out while compiling."""
    if torch.compiler.is_compiling():
        return
    if logits_TE.is_cuda:
        torch._assert_async(~torch.isnan(logits_TE).any())
        return
    if known_finite(logits_TE):
        return
    total = logits_TE.detach().sum().item()  # a sum is cheaper to look at
    if math.isfinite(total):
        _looked.at = weakref.ref(logits_TE), _version(logits_TE)
    if not math.isnan(total):
        return
    bad_T = torch.isnan(logits_TE).any(-1)
    if bool(bad_T.any()):  # +inf and −inf sum to NaN too
        row = int(bad_T.nonzero()[0, 0])
        raise RoutingError(f"{who}: logits must be numbers, got NaN in row {row} of {logits_TE.shape[0]}")


def check_mask(mask_T: Tensor | None, tokens: int) -> None:
    """Raise RoutingError for a mask of padding that is not bool [T]."""
    if mask_T is not None and (mask_T.shape != (tokens,) or mask_T.dtype != torch.bool):
        raise RoutingError(f"a mask must be bool of shape ({tokens},), got {mask_T.dtype} {tuple(mask_T.shape)}")

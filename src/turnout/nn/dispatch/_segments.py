"""Ways to multiply each row by its own expert's matrix, and the sorting that puts rows in expert order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual
from torch.nn import functional as F

from turnout.errors import RoutingError
from turnout.nn._rows import contiguous_gradient, gather, inverse
from turnout.nn.base import Dispatched, Experts, Segments
from turnout.nn.dispatch._segment_mm import segment_mm
from turnout.nn.plan import Plan, counted

ALIGNMENT = 16  # bytes; `grouped_mm` refuses rows that do not start on it
GROUPED = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Order:
    """Slots of a plan in expert order: `slot_N` are positions t·K + k, `token_N` their tokens, `counts_E` the rows.

    `back_TK` is the row of each slot where every slot has one. `held_TK` is given where rows stand in for empty slots.
    """

    slot_N: Tensor
    token_N: Tensor
    expert_N: Tensor
    counts_E: Tensor
    tokens: int
    k: int
    back_TK: Tensor | None
    held_TK: Tensor | None = None

    @classmethod
    def of(cls, plan: Plan) -> Order:
        """A stable sort by expert; empty and dropped slots are left out.

        A graph that is compiled cannot have a number of rows that depends on data: there an empty slot goes to the
        last expert, its output counting nothing.
        """
        idx_TK, held_TK = plan.idx_TK, None
        full = plan.full and plan.kept_TK is None
        if plan.kept_TK is not None:
            idx_TK = torch.where(plan.kept_TK, idx_TK, plan.experts)
        if not full and torch.compiler.is_compiling():
            held_TK, full = idx_TK < plan.experts, True
            idx_TK = idx_TK.clamp(max=plan.experts - 1)
        flat = idx_TK.reshape(-1)
        expert_N, order = flat.sort(stable=True)
        counts_E = plan.counts_E if idx_TK is plan.idx_TK else counted(flat, plan.experts)
        if not full:
            rows = int(counts_E.sum())
            expert_N, order = expert_N[:rows], order[:rows]
        back_TK = inverse(order).view(plan.tokens, plan.k) if full else None
        token_N = order.div(plan.k, rounding_mode="floor")
        return cls(order, token_N, expert_N, counts_E, plan.tokens, plan.k, back_TK, held_TK)

    @property
    def sizes(self) -> list[int]:
        """Rows of each expert as plain numbers: the one synchronisation of a loop."""
        found: list[int] = self.counts_E.tolist()
        return found

    def rows(self, x_TD: Tensor) -> Tensor:
        """The token of each row: [N, D]."""
        return gather(x_TD, self.token_N, self.back_TK)

    def dispatched(self, rows_NM: Tensor) -> Dispatched:
        """What the experts gave back, with the way back to the tokens."""
        full = self.back_TK is not None
        return Dispatched(rows_NM, self.slot_N, self.tokens, self.k, full, self.back_TK, self.held_TK)


def aligned(width: int, dtype: torch.dtype) -> bool:
    """Whether rows of this width are what `grouped_mm` takes."""
    return width * dtype.itemsize % ALIGNMENT == 0


def refusal(weight_EOI: Tensor, dtype: torch.dtype) -> str | None:
    """Why `grouped_mm` refuses these weights in this type; None where it takes them."""
    if dtype not in GROUPED:
        return f"takes float32, bfloat16 and float16, got {dtype}"
    if bad := [width for width in weight_EOI.shape[1:] if not aligned(width, dtype)]:
        return f"takes widths that are a multiple of {ALIGNMENT // dtype.itemsize} in {dtype}, got {bad[0]}"
    return None


def operand_type(x_NI: Tensor) -> torch.dtype:
    """What is multiplied in: autocast's type where it is on, else the rows' own."""
    device = x_NI.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_NI.dtype


def operands(x_NI: Tensor, weight_EOI: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one type."""
    dtype = operand_type(x_NI)
    return x_NI.to(dtype), weight_EOI.to(dtype)


def without_rows(x_0I: Tensor, weight_EOI: Tensor) -> Tensor:
    """No row, but a gradient of 0 for the weights rather than none."""
    return F.linear(x_0I, weight_EOI.sum(0))


class OrderedSegments(Segments):
    """Rows in the order that a sort by expert gave."""

    def __init__(self, order: Order) -> None:
        self.order, self.expert_N = order, order.expert_N
        self._sizes: list[int] | None = None

    def split(self, x_NI: Tensor) -> Sequence[Tensor]:
        if self._sizes is None:
            self._sizes = self.order.sizes
        return torch.split(x_NI, self._sizes)


class LoopSegments(OrderedSegments):
    """One matrix product per expert that has rows."""

    def linear(self, x_NI: Tensor, weight_EOI: Tensor) -> Tensor:
        x_NI, weight_EOI = operands(x_NI, weight_EOI)
        if not x_NI.shape[0]:
            return without_rows(x_NI, weight_EOI)
        blocks = zip(self.split(x_NI), each(weight_EOI), strict=True)
        return torch.cat([F.linear(block, weight) for block, weight in blocks if block.shape[0]])


class GroupedSegments(LoopSegments):
    """torch's `grouped_mm`: one call, one stacked weight gradient; a loop for what it refuses, unless `strict`."""

    def __init__(self, order: Order, *, strict: bool = False) -> None:
        super().__init__(order)
        self.strict = strict
        self._ends_E = order.counts_E.cumsum(0).to(torch.int32)

    def linear(self, x_NI: Tensor, weight_EOI: Tensor) -> Tensor:
        rows_NI, weights = operands(x_NI, weight_EOI)
        if torch.compiler.is_compiling() and not (x_NI.is_cuda and rows_NI.dtype == torch.bfloat16):
            traced: Tensor = segment_mm(rows_NI, weights, self.order.counts_E)
            return traced
        if said := refusal(weights, rows_NI.dtype):
            if self.strict:
                raise RoutingError(f"Grouped: grouped_mm {said}; dispatch with Segment or Auto")
            return super().linear(x_NI, weight_EOI)
        if not rows_NI.shape[0]:
            return super().linear(x_NI, weight_EOI)
        y_NO: Tensor = F.grouped_mm(rows_NI, weights.transpose(1, 2), offs=self._ends_E)
        return contiguous_gradient(y_NO)


class RowSegments(Segments):
    """Each row by itself, reading only its own expert's weights: for decoding a handful of tokens.

    Rows may come in any order, as long as nobody asks for a `split`.
    """

    def __init__(self, expert_N: Tensor, experts: int) -> None:
        self.expert_N, self._experts = expert_N, experts
        self._chosen: list[int] | None = None

    def linear(self, x_NI: Tensor, weight_EOI: Tensor) -> Tensor:
        if x_NI.is_cuda:
            x_NI, picked_NOI = operands(x_NI, weight_EOI.index_select(0, self.expert_N))
            return torch.bmm(picked_NOI, x_NI[..., None])[..., 0]
        if torch.compiler.is_compiling():  # fused into one loop, which reads each chosen weight once and copies none
            x_NI, picked_NOI = operands(x_NI, weight_EOI[self.expert_N])
            return (picked_NOI * x_NI[:, None]).sum(-1)
        if not x_NI.shape[0]:
            return without_rows(*operands(x_NI, weight_EOI))
        if self._chosen is None:
            self._chosen = self.expert_N.tolist()
        x_NI = x_NI.to(operand_type(x_NI))
        if _bare(x_NI) and _bare(weight_EOI) and x_NI.dtype == weight_EOI.dtype:
            return _dots(x_NI, weight_EOI, self._chosen)
        weights = each(weight_EOI)
        rows = zip(x_NI.unbind(0), self._chosen, strict=True)
        return torch.stack([F.linear(row, weights[expert].to(row.dtype)) for row, expert in rows])

    def split(self, x_NI: Tensor) -> Sequence[Tensor]:
        if bool((self.expert_N[1:] < self.expert_N[:-1]).any()):
            raise RoutingError("rows split in the order of experts, got another; such a pool says `stacked = False`")
        return torch.split(x_NI, counted(self.expert_N, self._experts).tolist())


def _bare(values: Tensor) -> bool:
    """Whether numpy may read these numbers: memory in a type that it has, and no derivative in either mode."""
    if values.device.type != "cpu" or values.dtype not in (torch.float32, torch.float64):
        return False
    if type(values) not in (Tensor, nn.Parameter):  # a sharded or quantised tensor
        return False
    if values.requires_grad and torch.is_grad_enabled():
        return False
    return unpack_dual(values).tangent is None  # type: ignore[no-untyped-call]


def _dots(x_NI: Tensor, weight_EOI: Tensor, chosen: Sequence[int]) -> Tensor:
    """One vector times one matrix per row, by numpy, whose products read a matrix about as fast as the memory gives it.

    Torch's take up to 2.5 times as long. One row of the matrix after the other (`vecdot`) reads fastest, and heeds
    torch's setting where that is one thread; otherwise numpy's own threads share the rows.
    """
    product = np.vecdot if torch.get_num_threads() == 1 else np.dot
    matrices, rows = weight_EOI.detach().numpy(), x_NI.detach().numpy()
    y_NO = np.empty((len(chosen), weight_EOI.shape[1]), rows.dtype)
    for row, expert in enumerate(chosen):
        product(matrices[expert], rows[row], out=y_NO[row])
    return torch.from_numpy(y_NO)


class UniformSegments(Segments):
    """Every expert has the same number of rows: one batched product."""

    def __init__(self, experts: int, rows: int, device: torch.device) -> None:
        self._experts, self._rows = experts, rows
        self.expert_N = torch.arange(experts, device=device).repeat_interleave(rows)

    def linear(self, x_NI: Tensor, weight_EOI: Tensor) -> Tensor:
        x_NI, weight_EOI = operands(x_NI, weight_EOI)
        x_ERI = x_NI.reshape(self._experts, self._rows, x_NI.shape[-1])
        return torch.bmm(x_ERI, weight_EOI.transpose(1, 2)).reshape(x_NI.shape[0], weight_EOI.shape[1])

    def split(self, x_NI: Tensor) -> Sequence[Tensor]:
        return x_NI.reshape(self._experts, self._rows, *x_NI.shape[1:]).unbind(0)


Stacks = dict[int, tuple[Tensor, Sequence[Tensor]]]


class OneSegments(Segments):
    """The rows of a single expert. `stacks` remembers a stack that was taken apart, for the next expert."""

    def __init__(self, expert: int, expert_N: Tensor, experts: int, stacks: Stacks) -> None:
        self.expert_N = expert_N
        self._expert, self._experts, self._stacks = expert, experts, stacks

    def linear(self, x_NI: Tensor, weight_EOI: Tensor) -> Tensor:
        return F.linear(*operands(x_NI, self._own(weight_EOI)))

    def pick(self, value_EO: Tensor) -> Tensor:
        chosen = self._own(value_EO)
        return chosen.expand(self.expert_N.shape[0], *chosen.shape)

    def _own(self, stack: Tensor) -> Tensor:
        # the stack is kept beside its parts, so that its id stays its own
        if id(stack) not in self._stacks:
            self._stacks[id(stack)] = (stack, each(stack))
        return self._stacks[id(stack)][1][self._expert]

    def split(self, x_NI: Tensor) -> Sequence[Tensor]:
        nothing = x_NI[:0]
        return [x_NI if expert == self._expert else nothing for expert in range(self._experts)]


def each(weight_EOI: Tensor) -> Sequence[Tensor]:
    """The matrix of each expert. Indexing a stack under autograd would allocate a whole [E, O, I] per gradient."""
    if torch.is_grad_enabled() and weight_EOI.requires_grad:
        return weight_EOI.unbind(0)
    return weight_EOI  # type: ignore[return-value]


def run(x_TD: Tensor, plan: Plan, experts: Experts, segments: Callable[[Order], Segments]) -> Dispatched:
    """Sort, gather, let the experts multiply, and remember the way back."""
    order = Order.of(plan)
    return order.dispatched(experts(order.rows(x_TD), segments(order)))


def run_blocks(x_TD: Tensor, plan: Plan, experts: Experts) -> Tensor:
    """Σ_k weights · outputs, [T, M], a block of rows at a time where the pool has such a way; else by a loop."""
    order = Order.of(plan)
    weight_N = plan.weights_TK.reshape(-1).index_select(0, order.slot_N)
    y_TM = experts.blocked(x_TD, weight_N, order.token_N, order.sizes)
    if y_TM is None:
        rows_NM = experts(order.rows(x_TD), LoopSegments(order))
        return order.dispatched(rows_NM).weighted_sum(plan.weights_TK)
    return y_TM

"""A linear layer with a routed pool beside it, and what the caller knows about a pass.

Shape letters: B sequences of a batch, S positions, T = B·S tokens, E experts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from turnout.errors import RoutingError
from turnout.nn._inputs import told_by
from turnout.nn.base import recomputing
from turnout.nn.dispatch.auto import Auto
from turnout.nn.layer import OutputOnly, Routed, RoutedLayer
from turnout.nn.plan import Override, Plan, RoutingContext


@dataclass(frozen=True)
class Pass:
    """What is known about one pass, for every adapted layer of a model.

    A tensor of B values counts for whole sequences, one of T values for tokens. `expert` sends every token but padding
    to one expert with weight 1 (`opened`: with the gate's σ(v·x)), `weights` mixes experts by fixed weights [E], [B, E]
    or [T, E]; with either the gate has no say. `add` [E], [B, E] or [T, E] is added to the gate's logits. `step` None
    is that of the layer's own context, which a `routed_trainer` sets.
    """

    task: Tensor | None = None
    sequence: Tensor | None = None
    mask: Tensor | None = None
    token: Tensor | None = None
    step: int | None = None
    generator: torch.Generator | None = None
    expert: Tensor | None = None
    opened: bool = False
    weights: Tensor | None = None
    add: Tensor | None = None
    silence: tuple[int, ...] = ()


@dataclass
class Session:
    """The pass that all adapted layers of a model are in; one object shared by them.

    `read` is filled from the model's own inputs before each forward and emptied after it, `said` by `routing`. What was
    last in force stays for activation checkpointing, which runs layers again after the `with` has ended: `told` by the
    inputs, `last` in all. Where other passes came between, a backward pass through a model's output brings back what
    was in force then. `pool`, `trained` and `hooks` are what `attach` made: its recipe, the parameters that were
    trainable before, and the hooks on the model.
    """

    read: Pass = field(default_factory=Pass)
    said: Mapping[str, Any] = field(default_factory=dict)
    told: Pass = field(default_factory=Pass)
    last: Pass = field(default_factory=Pass)
    pool: Any = None
    trained: tuple[str, ...] = ()
    hooks: tuple[Any, ...] = ()

    def before(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A forward pre-hook: tokens, sequences and padding from the model's inputs; takes `task_ids` away."""
        told, found = told_by(model, args, kwargs), Pass(task=_tensor(kwargs.get("task_ids")))
        if told.rows is not None:
            batch, length = told.rows.shape[:2]
            sequence = torch.arange(batch, device=told.rows.device).repeat_interleave(length)
            padding = None if told.mask is None else told.mask[:, -length:].bool().reshape(-1)
            token = None if told.ids is None else told.ids.reshape(-1)
            found = replace(found, token=token, sequence=sequence, mask=padding)
        self.read = found
        return args, {key: value for key, value in kwargs.items() if key != "task_ids"}

    def after(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """A forward hook: what the inputs told says nothing of a pass through a part of the model alone.

        It stays with the output, whose backward pass starts before any layer runs again.
        """
        self.read = Pass()
        told, last = self.told, self.last

        def again(_: Tensor) -> None:
            self.told, self.last = told, last

        for value in _tensors(output):
            if value.grad_fn is not None:
                value.register_hook(again)  # type: ignore[no-untyped-call]

    def current(self) -> Pass:
        """The pass in force: what the caller said over what the inputs told."""
        if recomputing():
            return self.last
        self.told, self.last = self.read, replace(self.read, **self.said)
        return self.last


class AdaptedLinear(OutputOnly):
    """base(x) + routed(x): a frozen linear layer and a routed pool beside it, under the linear layer's name.

    `elsewhere` says that its rows are not those of the model's inputs, as in a decoder that has an encoder.

    >>> from turnout.nn import LinearGate, LoRA, TopK
    >>> base = nn.Linear(8, 6)
    >>> adapted = AdaptedLinear(base, RoutedLayer(LinearGate(8, 4), TopK(2), LoRA(4, 8, 6, rank=2)))
    >>> x = torch.randn(2, 3, 8)
    >>> bool((adapted(x) == base(x)).all())
    True
    """

    # a weight that an embedding holds too is written once: transformers looks here for names it may leave out
    _tied_weights_keys: ClassVar = {"base_layer.weight": "base_layer.weight"}

    def __init__(
        self,
        base_layer: nn.Linear,
        layer: RoutedLayer,
        number: int = 0,
        session: Session | None = None,
        *,
        elsewhere: bool = False,
    ) -> None:
        super().__init__(layer, number)
        self.base_layer, self.elsewhere = base_layer, elsewhere
        self.session = session or Session()
        self.in_features, self.out_features = base_layer.in_features, base_layer.out_features
        # beside any hook nn.TransformerEncoderLayer leaves its fast path, which would use `weight` and never call us
        self.register_forward_pre_hook(_refuse_nested)

    @property
    def weight(self) -> Tensor:
        """The frozen weight; some models look at its dtype."""
        weight: Tensor = self.base_layer.weight
        return weight

    @property
    def bias(self) -> Tensor | None:
        """The frozen bias."""
        return self.base_layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] → [..., O]. Raises RoutingError where what the caller said does not fit the tokens, or the experts'
        outputs not the layer's."""
        passing = self.session.current()
        self.last: Routed | None = self.layer(x, self._context(passing, x))
        assert self.last is not None
        y: Tensor = self.base_layer(x)
        if self.last.output.shape != y.shape:
            widths = f"{self.last.output.shape[-1]}, the linear layer {y.shape[-1]}"
            raise RoutingError(f"experts beside a linear layer must be as wide as its output: they give {widths}")
        both: Tensor = y + self.last.output.to(y.dtype)
        return both

    def fixed(self, passing: Pass, x_TD: Tensor) -> Tensor:
        """What is added for these rows where the pass names an expert or weights: [T, O], nothing counted or kept."""
        context, layer = self._context(passing, x_TD), self.layer
        plan = context.overrides[self.number].plan
        assert plan is not None
        context = replace(context, sequence_T=torch.zeros_like(plan.idx_TK[:, 0]))  # all rows have one choice
        y_TO: Tensor = layer.combiner(x_TD, plan, layer.experts, Auto(), context)
        return y_TO if layer.shared is None else y_TO + layer.shared(x_TD)

    def _context(self, passing: Pass, x: Tensor) -> RoutingContext:
        tokens = x.numel() // x.shape[-1]
        known = self.session.told.sequence
        # what the inputs told is about these tokens only; a layer on other rows (cross-attention) does without
        if known is not None and (self.elsewhere or known.numel() != tokens):
            told: dict[str, Any] = dict.fromkeys(("token", "sequence", "mask", "task"))
            passing = replace(passing, **{name: told[name] for name in told if name not in self.session.said})
        hand = self._hand(passing, x, tokens)
        return RoutingContext(
            layer=self.number,
            step=self.context.step if passing.step is None else passing.step,
            mask_T=_spread("mask", passing.mask, tokens, x.device),
            token_T=_spread("token", passing.token, tokens, x.device),
            sequence_T=_spread("sequence", passing.sequence, tokens, x.device),
            task_T=_spread("task", passing.task, tokens, x.device),
            generator=passing.generator,
            overrides={} if hand is None else {self.number: hand},
        )

    def _hand(self, passing: Pass, x: Tensor, tokens: int) -> Override | None:
        if passing.expert is not None:
            return Override(plan=self._one(passing, x.reshape(-1, x.shape[-1])))
        if passing.weights is not None:
            experts = self.layer.experts.experts
            weights_TE = _rows("weights", passing.weights, tokens, experts, x.device)
            return Override(plan=Plan.of_mask(weights_TE != 0, weights_TE, torch.zeros_like(weights_TE)))
        if passing.add is None and not passing.silence:
            return None
        add = None if passing.add is None else _rows("add", passing.add, tokens, self.layer.experts.experts, x.device)
        return Override(add=add, silence=passing.silence)

    def _one(self, passing: Pass, x_TD: Tensor) -> Plan:
        """A plan of one expert per token."""
        tokens, experts = x_TD.shape[0], self.layer.experts.experts
        expert_T = _spread("expert", passing.expert, tokens, x_TD.device)
        assert expert_T is not None
        _refuse_outside(expert_T, experts)
        expert_T = expert_T.long()
        weights_T = torch.ones(tokens, device=x_TD.device)
        if passing.opened:
            opening = getattr(self.layer.gate, "opening", None)
            if opening is None:
                raise RoutingError(f"`opened` needs a VectorGate, got {type(self.layer.gate).__name__}")
            weights_T = opening(x_TD, expert_T)
        scores_TE = nn.functional.one_hot(expert_T, experts).to(weights_T.dtype)
        return Plan(expert_T[:, None], weights_T[:, None], scores_TE, scores_TE, full=True)


@contextmanager
def routing(
    model: nn.Module,
    *,
    task: int | Sequence[int] | Tensor | None = None,
    expert: int | Sequence[int] | Tensor | None = None,
    weights: Tensor | None = None,
    add: Tensor | None = None,
    **more: Any,
) -> Iterator[None]:
    """Say what only the caller knows about the passes inside the `with`; the fields are those of `Pass`.

    A value for `task` or `expert` is one number, one per sequence or one per token. Nested uses add up; the innermost
    counts. Under activation checkpointing a part of the model that runs alone must be followed by its backward pass.

    >>> from turnout.nn.adapters import Pool, attach
    >>> model = nn.Sequential(nn.Linear(4, 4))
    >>> layers = attach(model, "0", Pool(experts=3, options={"experts": {"rank": 2}}))
    >>> with routing(model, expert=2):
    ...     _ = model(torch.randn(5, 4))
    >>> layers["0"].last.plan.counts_E.tolist()
    [0, 0, 5]
    """
    given = {"task": _tensor(task), "expert": _tensor(expert), "weights": weights, "add": add, **more}
    if unknown := set(more) - set(Pass.__dataclass_fields__):
        raise RoutingError(f"routing knows {', '.join(Pass.__dataclass_fields__)}; got {sorted(unknown)[0]!r}")
    sessions = {id(m.session): m.session for m in model.modules() if isinstance(m, AdaptedLinear)}
    if not sessions:
        raise RoutingError("the model has no adapters; call `attach` first")
    kept = {key: session.said for key, session in sessions.items()}
    said = {name: value for name, value in given.items() if value is not None}
    if len(fixed := said.keys() & {"expert", "weights"}) > 1:
        raise RoutingError("routing takes an expert or weights over experts, not both")
    for session in sessions.values():
        # an expert said further out ends where weights are said, and the other way round
        outer = {name: value for name, value in session.said.items() if not fixed or name not in ("expert", "weights")}
        session.said = {**outer, **said}
    try:
        yield
    finally:
        for key, session in sessions.items():
            session.said = kept[key]


def _tensor(value: int | Sequence[int] | Tensor | None) -> Tensor | None:
    return None if value is None else torch.as_tensor(value)


def _tensors(output: Any) -> Iterator[Tensor]:
    """The tensors of a model's output, whatever holds them."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping | tuple | list):
        for value in output.values() if isinstance(output, Mapping) else output:
            yield from _tensors(value)


def _refuse_nested(_: nn.Module, args: tuple[Any, ...]) -> None:
    """Before an adapted layer runs: nn.TransformerEncoder takes padding out in evaluation, and rows with it."""
    if args and args[0].is_nested:
        raise RoutingError(
            "adapters read padded rows, not nested ones: make nn.TransformerEncoder with enable_nested_tensor=False"
        )


def _refuse_outside(expert_T: Tensor, experts: int) -> None:
    if expert_T.is_floating_point():
        raise RoutingError(f"`expert` must hold whole numbers, got {expert_T.dtype}")
    outside_T = (expert_T < 0) | (expert_T >= experts)
    if bool(outside_T.any()):
        raise RoutingError(f"`expert` must be 0 to {experts - 1}, got {int(expert_T[outside_T][0])}")


def _spread(name: str, value: Tensor | None, tokens: int, device: torch.device) -> Tensor | None:
    """One value per token, of one value for all, one per sequence or one per token."""
    if value is None:
        return None
    flat = value.reshape(-1)
    if flat.numel() == tokens:
        return flat.to(device)
    if not flat.numel() or tokens % flat.numel():
        raise RoutingError(
            f"`{name}` must be one value, one per sequence or one per token; {flat.numel()} for {tokens}"
        )
    return flat.to(device).repeat_interleave(tokens // flat.numel())


def _rows(name: str, value: Tensor, tokens: int, experts: int, device: torch.device) -> Tensor:
    """[T, E] of [E], [B, E] or [T, E]."""
    rows = value.reshape(-1, value.shape[-1])
    if rows.shape[-1] != experts or not rows.shape[0] or tokens % rows.shape[0]:
        raise RoutingError(
            f"`{name}` must be [{experts}], [B, {experts}] or [{tokens}, {experts}], got {tuple(value.shape)}"
        )
    return rows.to(device).repeat_interleave(tokens // rows.shape[0], dim=0)

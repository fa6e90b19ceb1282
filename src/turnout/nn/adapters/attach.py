"""Attaching a pool to linear layers, taking it off, and merging it into them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from turnout import registry
from turnout.errors import ParameterError, RoutingError
from turnout.nn.adapters.layer import AdaptedLinear, Pass, Session
from turnout.nn.layer import RoutedLayer
from turnout.nn.statistics.base import RoutingStats

ROLES = ("experts", "gate", "selector", "combiner", "dispatcher")

Targets = str | Sequence[str] | Callable[[str, nn.Module], bool]
Factory = Callable[[nn.Linear, str], RoutedLayer]


@dataclass(frozen=True)
class Pool:
    """Which parts stand beside each linear layer, by registered name; saved with the adapters.

    `options` holds further arguments by role: experts, gate, selector, combiner, dispatcher, or a balancer's name.
    Widths and the number of experts are filled in. `statistics` counts every pass in `layer.statistics`.

    >>> layer = Pool(experts=4, options={"selector": {"k": 1}})(nn.Linear(8, 6), "up")
    >>> type(layer.experts).__name__, layer.selector.k, layer.experts.out
    ('LoRA', 1, 6)
    """

    experts: int = 8
    kind: str = "lora"
    gate: str = "linear_gate"
    selector: str = "top_k"
    combiner: str = "fused"
    dispatcher: str = "auto"
    balancers: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    statistics: bool = False

    def __call__(self, linear: nn.Linear, name: str) -> RoutedLayer:
        """The routed layer for one linear layer."""
        sizes = {"width": linear.in_features, "out": linear.out_features, "experts": self.experts}
        _refuse_unknown("Pool's options", self.options, (*ROLES, *self.balancers))

        def make(kind: str, part: str, role: str) -> Any:
            cls = registry.get(kind, part)
            each = inspect.signature(cls).parameters.values()
            taken = {one.name: one for one in each if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
            options = dict(self.options.get(role, {}))
            _refuse_unknown(cls.__name__, options, taken)
            if kind == "selector" and part == "top_k":
                options.setdefault("k", min(2, self.experts))
            given = {**{key: value for key, value in sizes.items() if key in taken}, **options}
            if missing := [key for key, value in taken.items() if value.default is value.empty and key not in given]:
                raise ParameterError(f"Pool: {part} needs `{missing[0]}`; give it in options[{role!r}]")
            return cls(**given)

        return RoutedLayer(
            make("gate", self.gate, "gate"),
            make("selector", self.selector, "selector"),
            make("experts", self.kind, "experts"),
            combiner=make("combiner", self.combiner, "combiner"),
            dispatcher=make("dispatcher", self.dispatcher, "dispatcher"),
            balancers=[make("balancer", name, name) for name in self.balancers],
            statistics=RoutingStats() if self.statistics else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Pool:
        """The inverse of `to_dict`."""
        return cls(**{**found, "balancers": tuple(found["balancers"])})


def adapted(model: nn.Module) -> dict[str, AdaptedLinear]:
    """The adapted layers of a model by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, AdaptedLinear)}


def attach(model: nn.Module, targets: Targets, pool: Pool | Factory | None = None) -> dict[str, AdaptedLinear]:
    """Put a pool beside every linear layer that `targets` names, freeze the rest; the adapted layers by name.

    `targets` is a regular expression searched in a module's name, a list of name endings as PEFT takes them, or a
    predicate of name and module. `pool` may be any function that makes a routed layer for a linear layer and its name.
    What was trainable before is remembered for `detach`. A forward pre-hook on `model` reads token ids, sequences and
    padding from its inputs, and takes `task_ids` (one per sequence) out of its keyword arguments.

    Raises ParameterError where nothing matches, or a layer that `nn.MultiheadAttention` never calls; RoutingError where
    a layer has adapters already. The model is then as it was. Limits: `nn.Linear` only; the adapters stay in float32
    and follow the input's dtype when used; of an encoder–decoder model only the encoder is told of the inputs.

    >>> model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> list(attach(model, r"2$", Pool(experts=4)))
    ['2']
    >>> sum(p.numel() for p in model.parameters() if p.requires_grad) == 4 * 8 * (8 + 2) + 4 * 8
    True
    """
    if adapted(model):
        raise RoutingError("the model has adapters already; `detach` or `merge` them first")
    wanted = _matcher(targets)
    linears = {n: m for n, m in model.named_modules(remove_duplicate=False) if isinstance(m, nn.Linear)}
    chosen = {name: linear for name, linear in linears.items() if wanted(name, linear)}
    if not chosen:
        known = ", ".join(list(linears)[:6])
        said = f"targets {targets!r} match no linear layer of the model{_another(model, targets)}"
        raise ParameterError(f"{said}; it has {known or 'none'}")
    _refuse_uncalled(model, chosen)
    make = pool or Pool()
    session, made = Session(), {}
    told = _told(model)
    for number, (name, linear) in enumerate(chosen.items()):
        if id(linear) not in made:  # one linear layer under two names stays one
            layer, elsewhere = make(linear, name).to(linear.weight.device), not (told is None or linear in told)
            beside = AdaptedLinear(linear, layer, number, session, elsewhere=elsewhere)
            made[id(linear)] = beside.train(model.training)
    session.pool = make if isinstance(make, Pool) else None
    session.trained = tuple(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    model.requires_grad_(False)
    for name, linear in chosen.items():
        _put(model, name, made[id(linear)])
    before = model.register_forward_pre_hook(session.before, with_kwargs=True)
    session.hooks = (before, model.register_forward_hook(session.after, always_call=True))
    return adapted(model)


def detach(model: nn.Module) -> None:
    """Take the adapters off: the linear layers stand where they stood, trainable as they were.

    >>> model = nn.Sequential(nn.Linear(4, 4))
    >>> _ = attach(model, "0")
    >>> detach(model)
    >>> model
    Sequential(
      (0): Linear(in_features=4, out_features=4, bias=True)
    )
    """
    session = _session(model)
    found = [(n, m) for n, m in model.named_modules(remove_duplicate=False) if isinstance(m, AdaptedLinear)]
    for name, layer in found:
        _put(model, name, layer.base_layer)
    for hook in session.hooks:
        hook.remove()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in session.trained)


@torch.no_grad()
def merge(model: nn.Module, expert: int | None = None, *, weights: Tensor | None = None) -> None:
    """Add one expert, or a fixed mixture with weights [E], to the linear layers' own weights, and detach.

    The model then gives what it gave inside `routing(model, expert=…)` or `routing(model, weights=…)`, whatever the
    combiner makes of them; a capacity drops nothing. Raises ParameterError unless exactly one of both is given,
    RoutingError for experts that are no matrix, or for a weight that another module uses too (a head tied to the
    embedding), which would change with it; the model is then as it was.
    """
    if (expert is None) == (weights is None):
        raise ParameterError("merge takes either an expert or weights over experts: a gate's choice cannot be merged")
    _session(model)
    _refuse_shared(model)
    sums = [(layer, _sum(layer, expert, weights)) for layer in adapted(model).values()]
    for layer, total in sums:
        weight = layer.base_layer.weight
        weight.copy_(weight.to(total.dtype) + total)  # rounded once
    detach(model)


def _sum(layer: AdaptedLinear, expert: int | None, weights: Tensor | None) -> Tensor:
    """What is added to the weight, [O, D]: the layer's output for each unit vector."""
    pool = layer.layer.experts
    if getattr(pool, "delta", None) is None:
        raise RoutingError(f"{type(pool).__name__} cannot be merged: its experts are no matrices")
    if expert is not None and not 0 <= expert < pool.experts:
        raise ParameterError(f"merge: the pool has experts 0 to {pool.experts - 1}, got {expert}")
    if weights is not None and weights.shape != (pool.experts,):
        raise ParameterError(f"merge: weights must be [{pool.experts}], got {tuple(weights.shape)}")
    weight = layer.base_layer.weight
    dtype = torch.promote_types(weight.dtype, torch.float32)
    units_DD = torch.eye(layer.in_features, dtype=dtype, device=weight.device)
    mixed_1D = torch.linspace(-1, 1, layer.in_features, dtype=dtype, device=weight.device)[None]
    passing = Pass(expert=None if expert is None else torch.tensor([expert]), weights=weights)
    y_XO = layer.fixed(passing, torch.cat([units_DD, mixed_1D]))
    sum_DO = y_XO[:-1]
    if not torch.allclose(y_XO[-1:], mixed_1D @ sum_DO, rtol=1e-3, atol=1e-3 * float(y_XO.abs().max())):
        raise RoutingError(f"{type(layer.layer.combiner).__name__} makes of the experts what is no matrix to merge")
    return sum_DO.T


def _refuse_shared(model: nn.Module) -> None:
    """Raise RoutingError where a module beside an adapted layer holds its very weight."""
    holders = {id(layer.base_layer.weight): (name, layer.base_layer) for name, layer in adapted(model).items()}
    for other, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            name, base = holders.get(id(parameter), ("", module))
            if module is not base:
                said = f"the weight of {name!r} is that of {other!r} too"
                raise RoutingError(f"{said}, which merging would change; give the layer a weight of its own first")


def _session(model: nn.Module) -> Session:
    for layer in adapted(model).values():
        return layer.session
    raise RoutingError("the model has no adapters; call `attach` first")


def _told(model: nn.Module) -> set[nn.Module] | None:
    """The modules whose rows may be the tokens of the model's inputs; None for all."""
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return None
    encoder = getattr(model, "get_encoder", lambda: None)()
    return set(encoder.modules()) if isinstance(encoder, nn.Module) else set()


def _another(model: nn.Module, targets: Targets) -> str:
    """The first module of another kind that names match, in words."""
    if callable(targets):
        return ""
    wanted = _matcher(targets)
    found = [(name, module) for name, module in model.named_modules() if name and wanted(name, module)]
    return f"; {found[0][0]!r} is of {type(found[0][1]).__name__}" if found else ""


def _refuse_uncalled(model: nn.Module, chosen: Collection[str]) -> None:
    """Raise ParameterError where a layer's weight is used without calling the layer: adapters would do nothing."""
    if "" in chosen:
        raise ParameterError("the model itself is a linear layer; wrap it in a module to attach to it")
    for name in chosen:
        parent = model.get_submodule(name.rpartition(".")[0])
        if isinstance(parent, nn.MultiheadAttention):
            said = "multiplies by its weight without calling it, so that adapters there would do nothing"
            raise ParameterError(f"{name!r} cannot be adapted: nn.MultiheadAttention {said}; leave it out")


def _refuse_unknown(who: str, options: Iterable[str], known: Iterable[str]) -> None:
    if unknown := sorted(set(options) - set(known)):
        raise ParameterError(f"{who}: {', '.join(known)} can be given, got {unknown[0]!r}")


def _matcher(targets: Targets) -> Callable[[str, nn.Module], bool]:
    if isinstance(targets, str):
        try:
            pattern = re.compile(targets)
        except re.error as error:
            raise ParameterError(f"targets {targets!r} are no regular expression: {error}") from error
        return lambda name, _: pattern.search(name) is not None
    if callable(targets):
        return targets
    endings = tuple(targets)
    return lambda name, _: any(name == ending or name.endswith(f".{ending}") for ending in endings)


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)

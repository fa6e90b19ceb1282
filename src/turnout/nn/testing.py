"""The contract of routed layers' parts, for those of this package and your own: functions that raise AssertionError.

Needs no test framework. Call `run` on a class of your own, or collect `checks(kind)` into your test framework;
`covering()` and `check_layer` put gates, selectors, dispatchers and experts together, every pair at least once.
`KNOWN_FAILURES` lists what a built-in fails on purpose, with the reason; a known failure that passes is an error too.

>>> from turnout.nn import TopK
>>> "padding_gets_no_expert" in run(TopK)
True
"""

from __future__ import annotations

import importlib
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from turnout import registry
from turnout.base import Of
from turnout.errors import TurnoutError, UnknownNameError
from turnout.nn._contract._refusal import refusal
from turnout.nn.base import Experts, Part, Routing
from turnout.nn.dispatch.dense import Dense
from turnout.nn.experts.ffn import FFN
from turnout.nn.gates.linear_gate import LinearGate
from turnout.nn.layer import RoutedLayer
from turnout.nn.plan import Plan, RoutingContext
from turnout.nn.selectors.top_k import TopK
from turnout.testing import contracts

Make: TypeAlias = Callable[..., Any]
Check: TypeAlias = Callable[[Make], None]

KINDS = ("gate", "selector", "balancer", "experts", "dispatcher", "combiner")
WIDTH, EXPERTS, SEQUENCE, TASKS = 8, 4, 4, 3
_ALWAYS = frozenset({"experts", "width", "k"})  # filled even where they have a default

KNOWN_FAILURES: Mapping[tuple[str, str, str], str] = MappingProxyType(
    {
        ("selector", "random_choice", "the_gate_learns"): "its draw does not read the gate",
        ("selector", "expert_choice", "a_token_is_routed_by_itself"): "experts choose among the tokens of a batch",
        ("selector", "random_choice", "a_token_is_routed_by_itself"): "evaluation draws too",
        ("gate", "random_projection_gate", "its_parameters_learn"): "its projection is frozen",
        ("gate", "sequence_gate", "a_token_is_scored_by_itself"): "it averages over a sequence",
        ("gate", "token_graph_gate", "a_token_is_scored_by_itself"): "it smooths over tokens",
    }
)

FEED_FORWARD = frozenset({"ffn", "slices", "expert_pool"})
"""Pools with a first projection, which a sparsity gate reads."""


def build(kind: str, name: str, **changes: object) -> Any:
    """A small part of a kind: what its constructor needs comes from defaults by parameter name, `changes` override.

    Raises UnknownNameError for a parameter that has neither a default nor a stand-in here.
    """
    return make_of(registry.get(kind, name))(**changes)


def make_of(cls: type[Part], **params: object) -> Make:
    """A factory of small parts of a class, with the given parameters; keywords of a call override them."""

    def make(**changes: object) -> Part:
        given = {**params, **changes}
        for name, parameter in inspect.signature(cls).parameters.items():
            needed = parameter.default is parameter.empty and parameter.kind in _NAMED
            if name not in given and (needed or name in _ALWAYS):
                given[name] = _stand_in(name, cls)
        return cls(**given)

    return make


def checks(kind: str) -> Iterator[tuple[str, Check]]:
    """Name and function of every check of a kind, those of all kinds first.

    Raises UnknownNameError for a kind without a battery.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind", kind, KINDS)
    for module in ("part", kind):
        found = importlib.import_module(f"turnout.nn._contract.{module}")
        for name in found.__all__:
            yield name, getattr(found, name)


def run(cls: type[Part], **params: object) -> list[str]:
    """Every check on a class, built with the given parameters; the names of the checks that ran.

    Raises AssertionError, prefixed with the check's name, for the first that fails unexpectedly.
    """
    ran = []
    for name, check in checks(cls.kind):
        run_one(cls, name, check, make_of(cls, **params))
        ran.append(name)
    return ran


def run_one(cls: type[Part], name: str, check: Check, make: Make) -> None:
    """One check, with the known failures in mind."""
    contracts.run_one(name, partial(check, make), KNOWN_FAILURES.get((cls.kind, cls.name, name)))


def context(tokens: int, **changes: Any) -> RoutingContext:
    """A context in which everything is known, of sequences of four tokens (of one token where that does not divide)."""
    length = SEQUENCE if tokens % SEQUENCE == 0 else 1
    known = RoutingContext(
        sequence_T=torch.arange(tokens) // length,
        task_T=torch.arange(tokens) // length % 2,
        token_T=torch.arange(tokens) % 5,
        time_T=torch.full((tokens,), 0.5),
        attention_BSS=torch.full((tokens // length, length, length), 1 / length),
    )
    return replace(known, **changes)


def exercise(part: Part, tokens: int = 12, *, seed: int = 0, **changes: Any) -> dict[str, Tensor]:
    """Run a part of any kind on random rows in a context of `changes`, and name the tensors that come out."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        x_TD = torch.randn(tokens, WIDTH, requires_grad=True)
        logits_TE = torch.randn(tokens, getattr(part, "experts", EXPERTS), requires_grad=True)
        made = _EXERCISES[part.kind](part, Inputs(x_TD, logits_TE, context(tokens, **changes)))
        return {"x_TD": x_TD, "logits_TE": logits_TE, **made}


def covering(factors: Sequence[Sequence[str]] | None = None) -> list[tuple[str, ...]]:
    """Rows of (gate, selector, dispatcher, experts) in which every pair of names of two kinds occurs.

    >>> rows = covering([["a", "b"], ["c", "d"], ["e", "f"]])
    >>> len(rows), {(x, z) for x, _, z in rows} == {("a", "e"), ("a", "f"), ("b", "e"), ("b", "f")}
    (4, True)
    """
    if factors is None:
        factors = [registry.names(kind) for kind in ("gate", "selector", "dispatcher", "experts")]
    missing = {
        ((i, a), (j, b))
        for i, j in itertools.combinations(range(len(factors)), 2)
        for a, b in itertools.product(factors[i], factors[j])
    }
    rows = []
    while missing:
        row: dict[int, str] = dict(min(missing))
        for factor in range(len(factors)):
            if factor not in row:
                row[factor] = max(factors[factor], key=partial(_gain, missing, row, factor))
        missing -= set(itertools.combinations(sorted(row.items()), 2))
        rows.append(tuple(row[factor] for factor in range(len(factors))))
    return rows


def layer_of(gate: str, selector: str, dispatcher: str, experts: str) -> RoutedLayer:
    """A small routed layer of registered parts; a gate that reads the pool gets the layer's own."""
    pool = build("experts", experts)
    reads_pool = "pool" in inspect.signature(registry.get("gate", gate)).parameters
    made = build("gate", gate, **({"pool": pool} if reads_pool else {}))
    return RoutedLayer(made, build("selector", selector), pool, dispatcher=build("dispatcher", dispatcher))


def why_refused(gate: str, experts: str) -> str | None:
    """Why a gate and experts cannot work together, or None: another number, or not what the gate reads."""
    count = build("experts", experts).experts
    if count != EXPERTS:
        return f"a pool of {count}, a gate of {EXPERTS}"
    rule = registry.get("gate", gate).rules.get("pool")
    if isinstance(rule, Of) and not issubclass(registry.get("experts", experts), rule.classes):
        return f"its pool must be {rule}"
    reads_first = gate == "sparsity_gate" and experts not in FEED_FORWARD
    return "it reads the first projection of feed-forward experts" if reads_first else None


def check_layer(gate: str, selector: str, dispatcher: str, experts: str) -> None:
    """Four parts together equal the dense reference in output and every gradient: padded, recomputed, without tokens.

    A pair that `why_refused` knows must raise a TurnoutError instead. Raises AssertionError otherwise.
    """
    reason = why_refused(gate, experts)
    torch.manual_seed(0)
    message = refusal(lambda: _pass(layer_of(gate, selector, dispatcher, experts)), TurnoutError)
    if reason is not None:
        assert message is not None, f"works, but should be refused ({reason})"
        return
    assert message is None, f"refused without being listed: {message}"
    torch.manual_seed(0)
    layer = layer_of(gate, selector, dispatcher, experts)
    found = _pass(layer)
    for reentrant in (True, False):
        again = _pass(layer, reentrant)
        wrong = [name for name, value in found.items() if not torch.allclose(again[name], value, atol=1e-6)]
        assert not wrong, f"activation checkpointing (use_reentrant={reentrant}) changes {wrong}"
    layer.dispatcher = _same_capacity(layer)
    expected = _pass(layer)
    for name, value in expected.items():
        # an expert without rows may have no gradient instead of 0
        assert torch.allclose(found.get(name, torch.zeros_like(value)), value, atol=1e-4, rtol=1e-3), (
            f"{name} differs from the dense reference"
        )
    empty = layer(torch.randn(0, WIDTH), context(0))
    assert empty.output.shape == (0, found["output"].shape[1]), f"no tokens give shape {tuple(empty.output.shape)}"


_NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _stand_in(name: str, cls: type[Part]) -> Any:
    """A value for a parameter: of the experts that its rule asks for, by the class's own maker, else by name."""
    rule = cls.rules.get(name)
    if isinstance(inspect.getattr_static(cls, name, None), staticmethod):
        return getattr(cls, name)(16, 4)  # `Shards.store(count, length)` makes the store of Shards
    for wanted in rule.classes if isinstance(rule, Of) else ():
        if issubclass(wanted, Experts) and not inspect.isabstract(wanted):
            return make_of(wanted)()
    made: Mapping[str, Callable[[], Any]] = {
        "width": lambda: WIDTH,
        "inner": lambda: WIDTH,
        "hidden": lambda: 16,
        "experts": lambda: EXPERTS,
        "k": lambda: 2,
        "rank": lambda: 2,
        "tasks": lambda: TASKS,
        "local": lambda: 2,
        "budget": lambda: 1.0,
        "costs": lambda: [float(e) for e in range(EXPERTS)],
        "targets": lambda: [[float(e == task) for e in range(EXPERTS)] for task in range(TASKS)],
        "gate": lambda: LinearGate(WIDTH, EXPERTS),
        "gates": lambda: [LinearGate(WIDTH, EXPERTS), LinearGate(WIDTH, EXPERTS)],
        "selector": lambda: TopK(1, normalize=False),
        "expert_G": lambda: [0, 1, 2],
        "pool": lambda: FFN(EXPERTS, WIDTH, 16),
        "store": lambda: FFN(EXPERTS, WIDTH, 16),
        "modules": lambda: [nn.Linear(WIDTH, WIDTH) for _ in range(EXPERTS)],
        "complement": lambda: nn.Linear(WIDTH, WIDTH),
        "weak": lambda: nn.Linear(WIDTH, 3),
    }
    if name not in made:
        raise UnknownNameError("parameter", name, made)
    return made[name]()


class Inputs(NamedTuple):
    """What a part may be run on: rows [T, D], logits [T, E], and a context in which everything is known."""

    x_TD: Tensor
    logits_TE: Tensor
    known: RoutingContext


def _exercise_gate(part: Any, given: Inputs) -> dict[str, Tensor]:
    logits_TE, state = part(given.x_TD, given.known)
    return {"output": logits_TE} if state is None else {"output": logits_TE, "state": state}


def _exercise_selector(part: Any, given: Inputs) -> dict[str, Tensor]:
    return _fields(part(given.logits_TE, given.known))


def _exercise_balancer(part: Any, given: Inputs) -> dict[str, Tensor]:
    loss = part(routing(*given))
    return {} if loss is None else {"output": loss}


def _exercise_experts(part: Any, given: Inputs) -> dict[str, Tensor]:
    return {"output": Dense()(given.x_TD, TopK(min(2, part.experts))(given.logits_TE, given.known), part).by_token()}


def _exercise_dispatcher(part: Any, given: Inputs) -> dict[str, Tensor]:
    plan = part.admit(TopK(2)(given.logits_TE, given.known))
    return {"output": part(given.x_TD, plan, FFN(EXPERTS, WIDTH, 16)).by_token()}


def _exercise_combiner(part: Any, given: Inputs) -> dict[str, Tensor]:
    plan = TopK(2)(given.logits_TE, given.known)
    return {"output": part(given.x_TD, plan, build("experts", "lora"), Dense(), given.known)}


_EXERCISES: Mapping[str, Callable[[Any, Inputs], dict[str, Tensor]]] = {
    "gate": _exercise_gate,
    "selector": _exercise_selector,
    "balancer": _exercise_balancer,
    "experts": _exercise_experts,
    "dispatcher": _exercise_dispatcher,
    "combiner": _exercise_combiner,
}


def routing(x_TD: Tensor, logits_TE: Tensor, known: RoutingContext) -> Routing:
    """A routing that any balancer can read: a gate with a row per expert, feed-forward experts, a top-2 plan."""
    gate, pool = LinearGate(WIDTH, EXPERTS), FFN(EXPERTS, WIDTH, 16)
    return Routing(x_TD, TopK(2)(logits_TE, known), known, gate, pool)


def _fields(plan: Plan) -> dict[str, Tensor]:
    plan.check()
    fields = {"idx": plan.idx_TK, "weights": plan.weights_TK, "scores": plan.scores_TE, "chosen": plan.chosen_TE}
    return {**fields, "output": plan.weights_TE, **({} if plan.log_prob_T is None else {"log_prob": plan.log_prob_T})}


def _gain(missing: set[Any], row: Mapping[int, str], factor: int, name: str) -> int:
    return sum(tuple(sorted([(factor, name), item])) in missing for item in row.items())


def _pass(layer: RoutedLayer, reentrant: bool | None = None) -> dict[str, Tensor]:
    """Output and gradients of one pass of seeded rows, a quarter of them padding; recomputed unless None is given."""
    layer.zero_grad()
    torch.manual_seed(1)
    x_TD = torch.randn(12, WIDTH, requires_grad=True)
    mask_T = torch.arange(12) % 4 != 3
    known = context(12, mask_T=mask_T)
    if reentrant is None:
        routed = layer(x_TD, known)
        routed.plan.check()
        output = routed.output
    else:
        output = checkpoint(lambda x: layer(x, known).output, x_TD, use_reentrant=reentrant)
    assert not output[~mask_T].any(), "padding has an output"
    assert bool(torch.isfinite(output).all()), "the output is not finite"
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(2))
    torch.autograd.backward((output * weights).sum())
    grads = {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}
    found = {"output": output.detach(), "x_TD": x_TD.grad if x_TD.grad is not None else torch.zeros(0), **grads}
    bad = [name for name, value in found.items() if not bool(torch.isfinite(value).all())]
    assert not bad, f"gradients that are not finite: {bad}"
    return {name: value.clone() for name, value in found.items()}


def _same_capacity(layer: RoutedLayer) -> Dense:
    """The dense reference that drops what the layer's own dispatcher drops."""
    reference = Dense()
    admit = layer.dispatcher.admit
    reference.admit = admit  # type: ignore[method-assign]
    return reference

"""The contract battery over every registered part, and every pair of gate, selector, dispatcher and experts."""

from __future__ import annotations

import itertools

import pytest
import torch

from turnout import registry
from turnout.nn import testing

CASES = [
    pytest.param(kind, name, check, id=f"{kind}-{name}-{check}")
    for kind in testing.KINDS
    for name in registry.names(kind)
    for check, _ in testing.checks(kind)
]
ROWS = testing.covering()


@pytest.mark.parametrize(("kind", "name", "check"), CASES)
def test_contract(kind: str, name: str, check: str) -> None:
    cls = registry.get(kind, name)
    testing.run_one(cls, check, dict(testing.checks(kind))[check], testing.make_of(cls))


@pytest.mark.parametrize("row", ROWS, ids="-".join)
def test_parts_work_together_or_say_why_not(row: tuple[str, str, str, str]) -> None:
    testing.check_layer(*row)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in ("gate", "selector") for name in registry.names(kind)]
)
def test_a_trained_gate_or_selector_compiles_into_one_graph(kind: str, name: str) -> None:
    torch.compiler.reset()
    part, known = testing.build(kind, name).eval(), testing.context(12)
    x = torch.randn(12, testing.WIDTH if kind == "gate" else testing.EXPERTS)

    def call(x: torch.Tensor) -> torch.Tensor:
        found = part(x, known)
        return found[0] if kind == "gate" else found.weights_TE

    torch.manual_seed(0)
    plain = call(x)
    torch.manual_seed(0)
    assert torch.allclose(torch.compile(call, backend="eager", fullgraph=True)(x), plain, atol=1e-6)


def test_the_rows_cover_every_pair() -> None:
    kinds = ("gate", "selector", "dispatcher", "experts")
    for (i, one), (j, other) in itertools.combinations(enumerate(kinds), 2):
        pairs = set(itertools.product(registry.names(one), registry.names(other)))
        assert pairs == {(row[i], row[j]) for row in ROWS}


def test_known_failures_are_about_registered_parts_and_checks() -> None:
    for kind, name, check in testing.KNOWN_FAILURES:
        assert name in registry.names(kind)
        assert check in dict(testing.checks(kind))
    assert set(registry.names("experts")) >= testing.FEED_FORWARD

"""Gates made after the experts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from turnout.errors import ParameterError, RoutingError
from turnout.nn.adapters import Pool, adapted, arrow_gates, attach, fit_gates, mean_gates, routing


def specialists(score: str) -> tuple[nn.Sequential, torch.Tensor]:
    """Two experts that each answer one direction of the input: expert e maps axis e to output e."""
    model = nn.Sequential(nn.Linear(6, 2, bias=False))
    nn.init.zeros_(model[0].weight)
    options = {"experts": {"rank": 1, "alpha": 1.0}, "gate": {"score": score}, "selector": {"k": 1}}
    attach(model, "0", Pool(experts=2, gate="vector_gate", options=options))
    pool = adapted(model)["0"].layer.experts
    with torch.no_grad():
        pool.lora_A.zero_()
        pool.lora_B.zero_()
        for expert in range(2):
            pool.lora_A[expert, 0, expert] = 1.0
            pool.lora_B[expert, expert, 0] = 3.0
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(0)) * 0.2
    x[:100, 0] += 1
    x[100:, 1] += 1
    return model, x


def share_right(model: nn.Module, x: torch.Tensor) -> float:
    model(x)
    chosen = adapted(model)["0"].last.plan.idx_TK[:, 0]
    return float((chosen == torch.arange(200).div(100, rounding_mode="floor")).float().mean())


def test_arrow_finds_the_direction_an_expert_answers() -> None:
    model, x = specialists("absolute")
    arrow_gates(model)
    vectors = adapted(model)["0"].layer.gate.vectors
    torch.testing.assert_close(vectors.abs(), torch.eye(6)[:2])
    assert share_right(model, x) > 0.95


def test_arrow_is_the_top_right_singular_vector() -> None:
    model = nn.Sequential(nn.Linear(5, 7))
    attach(model, "0", Pool(experts=3, gate="vector_gate", options={"experts": {"rank": 3}}))
    layer = adapted(model)["0"].layer
    nn.init.normal_(layer.experts.lora_B)
    arrow_gates(model)
    for expert in range(3):
        expected = torch.linalg.svd(layer.experts.delta(expert)).Vh[0]
        assert float((expected @ layer.gate.vectors[expert]).abs().detach()) == pytest.approx(1.0, abs=1e-5)


def test_mean_activations_route_to_their_own_data() -> None:
    model, x = specialists("cosine")
    mean_gates(model, [(0, x[:100]), (1, x[100:])], lambda m, batch: m(batch))
    torch.testing.assert_close(adapted(model)["0"].layer.gate.vectors[1], x[100:].mean(0))
    assert share_right(model, x) > 0.95


def test_padding_is_no_part_of_a_mean() -> None:
    model, x = specialists("cosine")
    mask = torch.ones(2, 100, dtype=torch.bool)
    mask[:, 60:] = False
    x_BSD = x.view(2, 100, -1)

    def forward(net: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        with routing(net, mask=mask[:1]):
            return net(rows)

    mean_gates(model, [(0, x_BSD[:1]), (1, x_BSD[1:])], forward)
    vectors_ED = adapted(model)["0"].layer.gate.vectors
    torch.testing.assert_close(vectors_ED, x_BSD[:, :60].mean(1))


def test_every_expert_needs_data_for_a_mean() -> None:
    model, x = specialists("cosine")
    with pytest.raises(ParameterError, match="expert 1 had none"):
        mean_gates(model, [(0, x)], lambda m, batch: m(batch))


def test_fitting_moves_the_vectors_alone_and_routes() -> None:
    model, x = specialists("standard")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    target = torch.zeros(200, 2)
    target[:100, 0] = 3
    target[100:, 1] = 3
    halves = [(0, slice(0, 100)), (1, slice(100, 200))]

    def loss(net: nn.Module, rows: slice) -> torch.Tensor:
        return (net(x[rows]) - target[rows]).square().mean()

    found = fit_gates(model, halves * 50, loss, rate=0.05)
    assert found[-1] < found[0]
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"0.layer.gate.vectors"}
    assert share_right(model, x) > 0.9
    assert all(p.requires_grad for name, p in model.named_parameters() if ".layer." in name)
    assert not any(p.requires_grad for name, p in model.named_parameters() if ".base_layer." in name)


def test_an_opening_multiplies_one_expert() -> None:
    model, x = specialists("standard")
    with routing(model, expert=1, opened=True):
        half = model(x)
    with routing(model, expert=1):
        torch.testing.assert_close(half, 0.5 * model(x))  # vectors start at 0, and σ(0) is a half


def test_other_gates_are_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    attach(model, "0")
    with pytest.raises(RoutingError, match="VectorGate"):
        arrow_gates(model)
    with pytest.raises(RoutingError, match="VectorGate"):
        fit_gates(model, [], lambda m, b: m(b))

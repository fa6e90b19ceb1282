from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn import FFN, ExpertCoupling, LinearGate, PrototypeGate, RoutedLayer, TopK
from turnout.nn.base import Routing

Make = Callable[..., Routing]


def test_it_is_the_formula(routing: Make) -> None:
    made = routing()
    rows_ED, first_EHD = made.gate.linear.weight, made.experts.gate_up_proj[:, :16]
    m = torch.stack([torch.stack([(w @ r).norm() for w in first_EHD]) for r in rows_ED])
    expected = sum(
        (m[i, j] - 0.8 * m[i, i]).relu() + (m[j, i] - 0.8 * m[i, i]).relu()
        for i in range(4)
        for j in range(4)
        if i != j
    )
    assert ExpertCoupling(alpha=0.8).eval()(made).item() == pytest.approx(expected.item() / 12, rel=1e-4)
    assert torch.allclose(ExpertCoupling().answers(made), m, atol=1e-5)


def test_training_on_it_makes_every_expert_answer_its_own_row_most() -> None:
    torch.manual_seed(0)
    layer = RoutedLayer(LinearGate(8, 4), TopK(1), FFN(4, 8, 16), balancers=[ExpertCoupling()])
    optimizer, x = torch.optim.Adam(layer.parameters(), 0.01), torch.randn(4, 8)
    for _ in range(150):
        optimizer.zero_grad()
        loss = layer(x).losses["expert_coupling"]
        loss.backward()
        optimizer.step()
    made = Routing(x, layer(x).plan, None, layer.gate, layer.experts)
    answers = ExpertCoupling().answers(made)
    assert answers.argmax(1).tolist() == answers.argmax(0).tolist() == [0, 1, 2, 3]
    assert ExpertCoupling().eval()(layer_routing(layer, x)).item() < 1e-3


def layer_routing(layer: RoutedLayer, x: torch.Tensor) -> Routing:
    from turnout.nn import RoutingContext

    return Routing(x, layer(x).plan, RoutingContext(), layer.gate, layer.experts)


def test_noise_stays_on_its_rows_side_of_the_nearest_other(routing: Make) -> None:
    made, loss = routing(), ExpertCoupling()
    rows = made.gate.linear.weight.detach()
    apart = torch.cdist(rows, rows).fill_diagonal_(float("inf")).amin(-1)
    noise = loss._noise(rows, made)
    assert bool(((noise - 1).abs() <= (apart / 2 / rows.norm(dim=-1))[:, None] + 1e-6).all())
    assert (noise - 1).abs().max() > 0


def test_rows_of_another_width_are_named(routing: Make) -> None:
    with pytest.raises(RoutingError, match="of one width, got 5 and 8"):
        ExpertCoupling()(routing(gate=PrototypeGate(8, 4, projection=5)))

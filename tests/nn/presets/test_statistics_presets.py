from __future__ import annotations

import pytest
import torch

from turnout import registry
from turnout.nn import RoutedLayer, RoutingContext
from turnout.nn.beds.chars import Trained
from turnout.nn.beds.model import CharModel, DenseBlock, Size
from turnout.nn.plan import Plan
from turnout.nn.presets import apollo_moe
from turnout.nn.presets._traces import mean, traces
from turnout.nn.statistics import experts_per_token


@pytest.mark.parametrize("name", ["local_routing_consistency", "openmoe_analysis", "apollo_moe"])
def test_it_builds_what_it_names(name: str) -> None:
    system = registry.get("system", name)
    assert system.level == "in-model"
    for part in system.parts:
        assert registry.get(*part.split(":"))
    built = system.build()
    layer = built.get("layer")
    if isinstance(layer, RoutedLayer):
        context = RoutingContext(task_T=torch.tensor([0, 1, 2, 3]))
        assert layer(torch.randn(4, 64), context).output.shape == (4, 64)


def test_traces_hold_what_the_validation_windows_say() -> None:
    plan = Plan(torch.tensor([[0, 1]] * 6), torch.ones(6, 2) / 2, torch.rand(6, 4), torch.rand(6, 4))
    ids_BS, domain_B = torch.arange(6).view(2, 3), torch.tensor([0, 1])
    trained = Trained(torch.nn.Identity(), 0.0, torch.zeros(2, 3), ids_BS, domain_B, (plan, None), 0.0)  # type: ignore[arg-type]
    (trace,) = traces(trained)
    assert trace.sequence_T.tolist() == [0, 0, 0, 1, 1, 1] == trace.need("task_T").tolist()
    assert trace.need("token_T").tolist() == list(range(6))
    assert mean(experts_per_token, [trace, trace]) == 2


def test_an_upcycled_character_model_computes_the_same() -> None:
    torch.manual_seed(0)
    size = Size(width=16, heads=2)
    model = CharModel(size, lambda size: [DenseBlock(16, 64), DenseBlock(16, 64)]).eval()
    ids = torch.randint(128, (2, 9))
    expected = model(ids).logits
    made = apollo_moe._upcycled(model, (1,), apollo_moe._forced)
    context = RoutingContext(task_T=torch.arange(18) % 8)
    assert torch.allclose(made(ids, context).logits, expected, atol=1e-5)
    assert isinstance(made.blocks[1], RoutedLayer)
    assert isinstance(made.blocks[0], DenseBlock)

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from turnout.nn import EntropyLoss
from turnout.nn.base import Routing

Make = Callable[..., Routing]


@pytest.mark.parametrize(("index", "most"), [(1.0, math.log(4)), (2.0, 0.75), (0.5, 2.0)])
def test_from_zero_for_a_certain_gate_to_the_uniform_value(routing: Make, index: float, most: float) -> None:
    loss = EntropyLoss(1.0, index=index)
    assert loss(routing(torch.zeros(3, 4))).item() == pytest.approx(most, abs=1e-5)
    assert loss(routing(60 * torch.eye(4))).item() == pytest.approx(0, abs=1e-4)


def test_of_the_mean_it_sees_coverage_and_of_tokens_confidence(routing: Make) -> None:
    sure_and_spread = routing(60 * torch.eye(4))
    assert EntropyLoss(1.0, of="mean")(sure_and_spread).item() == pytest.approx(math.log(4), abs=1e-4)
    assert EntropyLoss(1.0, sign=-1, of="mean")(sure_and_spread).item() < 0


def test_a_schedule_follows_the_step(routing: Make) -> None:
    from dataclasses import replace

    found = routing(torch.zeros(3, 4))
    loss = EntropyLoss(1.0, schedule=lambda step: step / 10)
    later = replace(found, context=replace(found.context, step=5))
    assert (loss(found).item(), loss(later).item()) == (0, pytest.approx(math.log(4) / 2))


def test_it_turns_from_coverage_to_confidence_when_the_gate_grows_sure(routing: Make) -> None:
    loss = EntropyLoss(1.0, until=0.5, momentum=0.0)
    assert loss(routing(torch.zeros(4, 4))).item() == pytest.approx(-math.log(4), abs=1e-5)
    assert loss.after_step()
    assert not loss.turned
    loss(routing(60 * torch.eye(4)))
    assert not loss.turned  # only at the optimizer step
    assert loss.after_step()
    assert loss.turned
    assert loss(routing(torch.zeros(4, 4))).item() == pytest.approx(math.log(4), abs=1e-5)
    assert not EntropyLoss(1.0, until=0.5).after_step()


def test_evaluation_does_not_turn_it(routing: Make) -> None:
    loss = EntropyLoss(1.0, until=0.5, until_step=0, momentum=0.0).eval()
    loss(routing(60 * torch.eye(4)))
    assert not loss.after_step()
    assert not loss.turned


def test_padding_does_not_count(routing: Make) -> None:
    logits_TE, mask_T = torch.randn(6, 4), torch.arange(6) < 4
    for of in ("token", "mean"):
        padded = EntropyLoss(1.0, of=of)(routing(logits_TE, mask_T=mask_T))
        assert padded.item() == pytest.approx(EntropyLoss(1.0, of=of)(routing(logits_TE[:4])).item())


@pytest.mark.parametrize("index", [0.5, 1.0, 2.0])
def test_a_batch_of_padding_alone_costs_nothing(routing: Make, index: float) -> None:
    found = routing(torch.randn(3, 4), mask_T=torch.zeros(3, dtype=torch.bool))
    assert EntropyLoss(1.0, index=index, of="mean")(found).item() == 0

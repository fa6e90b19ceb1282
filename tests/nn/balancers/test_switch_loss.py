from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing
from torch.utils.checkpoint import checkpoint

from turnout.errors import RoutingError
from turnout.nn import (
    FFN,
    EntropyLoss,
    LinearGate,
    LossFreeBias,
    RoutedLayer,
    RoutingContext,
    SwitchLoss,
    TopK,
    update_biases,
)
from turnout.nn.base import Routing

Make = Callable[..., Routing]
OVERS = ("batch", "sequence", "global")


@pytest.mark.parametrize("over", OVERS)
def test_from_one_when_balanced_to_e_when_one_expert_has_all(routing: Make, over: str) -> None:
    known = {"sequence_T": torch.zeros(8, dtype=torch.int64)}
    even = routing(1e-3 * torch.eye(4).repeat(2, 1), select=TopK(1), **known)
    one = routing(torch.tensor([50.0, 0.0, 0.0, 0.0]).expand(8, 4), select=TopK(1), **known)
    assert SwitchLoss(1.0, over=over)(even).item() == pytest.approx(1, abs=1e-3)
    assert SwitchLoss(1.0, over=over)(one).item() == pytest.approx(4, abs=1e-3)


@pytest.mark.parametrize("over", OVERS)
def test_padding_does_not_count(routing: Make, over: str) -> None:
    logits_TE, mask_T = torch.randn(12, 4), torch.arange(12) % 3 != 0
    sequence_T = torch.arange(12) // 6
    padded = routing(logits_TE, mask_T=mask_T, sequence_T=sequence_T)
    bare = routing(logits_TE[mask_T], sequence_T=sequence_T[mask_T])
    assert SwitchLoss(1.0, over=over)(padded).item() == pytest.approx(SwitchLoss(1.0, over=over)(bare).item())


def test_by_sequence_is_the_mean_of_each_alone(routing: Make) -> None:
    logits_TE, sequence_T = torch.randn(12, 4), torch.tensor([5] * 4 + [3] * 8)
    alone = [SwitchLoss(1.0)(routing(logits_TE[sequence_T == s])).item() for s in (5, 3)]
    whole = SwitchLoss(1.0, over="sequence")(routing(logits_TE, sequence_T=sequence_T)).item()
    assert whole == pytest.approx(sum(alone) / 2, abs=1e-6)
    with pytest.raises(RoutingError, match="needs the context's sequence_T"):
        SwitchLoss(over="sequence")(routing(logits_TE))


def test_the_global_loss_is_not_that_of_the_micro_batch(routing: Make) -> None:
    """A peer's global loss silently equalled the micro-batch's: two halves that balance each other cost nothing."""
    halves = [torch.tensor([3.0, 3.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 3.0, 3.0])]
    loss = SwitchLoss(1.0, over="global")
    first, second = (loss(routing(half.expand(8, 4))).item() for half in halves)
    assert first > 1.5
    assert second == pytest.approx(1, abs=1e-5)
    assert loss.after_step()
    assert loss(routing(halves[1].expand(8, 4))).item() == pytest.approx(first, abs=1e-5)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_recomputed_pass_is_not_gathered_twice(reentrant: bool) -> None:
    loss = SwitchLoss(over="global")
    layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), balancers=[loss])
    x = torch.randn(16, 8, requires_grad=True)

    def forward(x: torch.Tensor) -> torch.Tensor:
        routed = layer(x)
        return routed.output.sum() + routed.losses["switch_loss"]

    checkpoint(forward, x, use_reentrant=reentrant).backward()
    assert loss.counts_E.sum().item() == 32
    layer.eval()(x)
    assert loss.counts_E.sum().item() == 32
    assert update_biases(layer) == 1
    assert update_biases(layer) == 0


def test_its_gradient_evens_the_load() -> None:
    torch.manual_seed(0)
    layer = RoutedLayer(LinearGate(8, 4), TopK(1), FFN(4, 8, 16), balancers=[SwitchLoss(1.0)])
    x, optimizer = torch.randn(256, 8) + 1, torch.optim.Adam(layer.gate.parameters(), 0.02)
    before = layer(x).plan.counts_E.max().item()
    for _ in range(100):
        optimizer.zero_grad()
        layer(x).losses["switch_loss"].backward()
        optimizer.step()
    assert layer(x).plan.counts_E.max().item() < min(before, 90)


def _replica(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    layer = RoutedLayer(LinearGate(4, 4), TopK(1), FFN(4, 4, 4), balancers=[SwitchLoss(1.0, over="global")])
    layer.gate.linear.weight.data = 3 * torch.eye(4)
    x = torch.eye(4)[2 * rank : 2 * rank + 2].repeat(4, 1)  # each replica feeds its own half of the experts
    loss = layer(x, RoutingContext()).losses["switch_loss"].item()
    # rules that move beside the optimizer see both replicas too: the load is even, so no bias moves
    bias, turning = LossFreeBias(4, 0.1), EntropyLoss(1.0, until=0.5, momentum=0.0)
    other = RoutedLayer(layer.gate, TopK(1), FFN(4, 4, 4), balancers=[bias, turning])
    other(x if rank else 100 * x)
    update_biases(other)
    if rank == 0:  # alone
        layer.eval()(x)
    torch.save((loss, bias.bias_E.tolist(), turning.level.item()), f"{folder}/{rank}")
    distributed.destroy_process_group()
    os._exit(0)  # gloo's threads outlive the group, and one still running when Python is torn down aborts the process


@pytest.mark.slow
def test_global_loss_bias_and_turn_are_over_all_replicas(tmp_path: Path) -> None:
    multiprocessing.spawn(_replica, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / str(rank)) for rank in (0, 1))
    assert first[1:] == second[1:]
    assert [first[0], second[0]] == pytest.approx([1.0, 1.0], abs=1e-5)
    assert first[1] == [0.0] * 4
    assert 0.05 < first[2] < 0.4  # between the sure replica's 0 and the other's

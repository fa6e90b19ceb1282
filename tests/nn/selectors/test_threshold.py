from __future__ import annotations

import math

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from turnout.errors import ParameterError
from turnout.nn import FFN, LinearGate, RoutedLayer, RoutingContext, Threshold, update_biases


@pytest.mark.parametrize("k", [0.5, 1.5, 3])
def test_a_quantile_of_the_batch_reaches_the_target_and_the_number_varies(k: float) -> None:
    torch.manual_seed(0)
    select = Threshold(k=k, min_k=0)
    counts_T = select(torch.randn(500, 8) * torch.rand(500, 1) * 4).mask_TK.sum(-1)
    assert counts_T.float().mean().item() == pytest.approx(k, abs=0.01)
    assert counts_T.unique().numel() > 1


def test_an_absolute_threshold() -> None:
    plan = Threshold(0.5, score="sigmoid", min_k=0)(torch.tensor([[1.0, -1.0], [-1.0, -1.0]]))
    assert plan.mask_TK.sum(-1).tolist() == [1, 0]


def test_at_least_and_at_most() -> None:
    logits_TE = torch.tensor([[-5.0, -6.0, -7.0], [5.0, 4.0, 6.0]])
    plan = Threshold(0.5, score="sigmoid", min_k=1, max_k=2)(logits_TE)
    assert plan.chosen_TE.tolist() == [[True, False, False], [True, False, True]]


def test_evaluation_does_not_look_at_neighbours() -> None:
    select = Threshold(k=2, momentum=0.0)
    logits_TE = torch.randn(64, 8)
    select(logits_TE)
    select.after_step()
    select.eval()
    whole = select(logits_TE).chosen_TE
    assert torch.equal(torch.cat([select(row[None]).chosen_TE for row in logits_TE]), whole)


def test_the_level_moves_once_a_step_and_not_in_evaluation() -> None:
    select = Threshold(k=1)
    assert math.isnan(select.level.item())
    assert not select.after_step()
    select.eval()(torch.randn(9, 4))
    assert not select.after_step()
    select.train()(torch.randn(9, 4))
    select(torch.randn(9, 4))
    assert math.isnan(select.level.item())
    assert select.after_step()
    assert not select.after_step()
    assert 0 < select.level.item() < 1


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_recomputed_pass_does_not_count(reentrant: bool) -> None:
    layer = RoutedLayer(LinearGate(8, 4), Threshold(k=2), FFN(4, 8, 16))
    x = torch.randn(16, 8, requires_grad=True)
    checkpoint(lambda x: layer(x).output, x, use_reentrant=reentrant).sum().backward()
    assert layer.selector.seen[1].item() == 1
    assert update_biases(layer) == 1


def test_padding_does_not_move_the_quantile() -> None:
    logits_TE = torch.randn(10, 4)
    padded_TE = torch.cat([logits_TE, 50 * torch.randn(30, 4)])
    mask_T = torch.arange(40) < 10
    assert torch.equal(
        Threshold(k=1)(padded_TE, RoutingContext(mask_T=mask_T)).chosen_TE[:10], Threshold(k=1)(logits_TE).chosen_TE
    )


def test_one_of_both_must_be_given() -> None:
    for params in ({}, {"threshold": 0.1, "k": 2}):
        with pytest.raises(ParameterError, match="give `threshold` or `k`"):
            Threshold(**params)  # type: ignore[arg-type]


def test_a_pass_with_too_few_open_experts_leaves_the_level_alone() -> None:
    select = Threshold(k=2)
    logits_TE = torch.randn(64, 4)
    select(logits_TE)
    assert select.after_step()
    level = select.level.item()
    plan = select(logits_TE.index_fill(1, torch.tensor([1, 2, 3]), float("-inf")))
    assert plan.counts_E.tolist() == [64, 0, 0, 0]
    assert not select.after_step()
    assert select.level.item() == level

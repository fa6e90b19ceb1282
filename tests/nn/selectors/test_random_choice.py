from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from turnout.errors import RoutingError
from turnout.nn import FFN, LinearGate, RandomChoice, RoutedLayer, RoutingContext


def test_each_unit_shares_one_draw() -> None:
    torch.manual_seed(0)
    sequence_T = torch.arange(40).repeat_interleave(5)
    context = RoutingContext(sequence_T=sequence_T)
    draws = {unit: RandomChoice(1, unit=unit)(torch.zeros(200, 8), context).idx_TK[:, 0] for unit in UNITS}
    assert draws["batch"].unique().numel() == 1
    assert all(draws["sequence"][sequence_T == s].unique().numel() == 1 for s in range(40))
    assert draws["sequence"].unique().numel() > 4
    assert any(draws["token"][sequence_T == s].unique().numel() > 1 for s in range(40))


UNITS = ("token", "sequence", "batch")


def test_the_draw_is_uniform_and_without_replacement() -> None:
    torch.manual_seed(0)
    plan = RandomChoice(3)(torch.randn(4000, 6))
    plan.check()
    assert plan.counts_E.float().div(4000).sub(0.5).abs().max() < 0.04
    assert plan.weights_TK.unique().tolist() == pytest.approx([1 / 3])


def test_evaluation_may_average_all() -> None:
    plan = RandomChoice(1, unit="batch", eval_unit="all").eval()(torch.zeros(3, 4))
    assert plan.idx_TK.tolist() == [[0, 1, 2, 3]] * 3
    assert plan.weights_TK.unique().tolist() == [0.25]


def test_silenced_experts_are_not_drawn() -> None:
    logits_TE = torch.zeros(50, 3)
    logits_TE[:, 0] = float("-inf")
    plan = RandomChoice(2)(logits_TE)
    assert plan.counts_E.tolist() == [0, 50, 50]
    lonely = RandomChoice(2)(logits_TE.index_fill(1, torch.tensor([1]), float("-inf")))
    assert (lonely.counts_E.tolist(), lonely.weights_TK.sum(-1).unique().tolist()) == ([0, 0, 50], [1.0])


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_recomputed_draw_is_the_same(reentrant: bool) -> None:
    """torch rewinds its global generator; the gradient then belongs to the choice that made the output."""
    layer = RoutedLayer(LinearGate(8, 4), RandomChoice(1), FFN(4, 8, 16))
    x = torch.randn(32, 8, requires_grad=True)
    grads = []
    for wrap in (False, True):
        torch.manual_seed(3)
        layer.zero_grad()
        out = checkpoint(lambda x: layer(x).output, x, use_reentrant=reentrant) if wrap else layer(x).output
        out.square().sum().backward()
        grads.append(layer.experts.down_proj.grad.clone())
    assert torch.equal(*grads)


def test_an_own_generator_under_checkpointing_is_refused() -> None:
    layer = RoutedLayer(LinearGate(8, 4), RandomChoice(1), FFN(4, 8, 16))
    context = RoutingContext(generator=torch.Generator().manual_seed(0))
    out = checkpoint(lambda x: layer(x, context).output, torch.randn(4, 8, requires_grad=True), use_reentrant=False)
    with pytest.raises(RoutingError, match="leave `generator` None"):
        out.sum().backward()


def test_by_sequence_needs_sequences() -> None:
    with pytest.raises(RoutingError, match="needs the context's sequence_T, got None"):
        RandomChoice(1, unit="sequence")(torch.zeros(2, 3))

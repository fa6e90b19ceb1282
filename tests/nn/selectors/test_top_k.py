from __future__ import annotations

import pytest
import torch

from turnout.errors import ParameterError, RoutingError
from turnout.nn import FFN, LinearGate, RoutedLayer, RoutingContext, TopK


def test_the_bias_chooses_and_does_not_weigh() -> None:
    logits_TE = torch.tensor([[2.0, 1.0, 0.0]])
    plain = TopK(1, normalize=False)(logits_TE)
    biased = TopK(1, normalize=False)(logits_TE, None, torch.tensor([0.0, 0.0, 5.0]))
    assert (plain.idx_TK.item(), biased.idx_TK.item()) == (0, 2)
    assert biased.weights_TK.item() == pytest.approx(logits_TE.softmax(-1)[0, 2].item())


def test_a_silenced_expert_does_not_come_back_by_its_bias_or_for_want_of_others() -> None:
    logits_TE = torch.tensor([[float("-inf"), 1.0, float("-inf")]])
    plan = TopK(2)(logits_TE, None, torch.tensor([9.0, 0.0, 0.0]))
    assert plan.idx_TK.tolist() == [[1, 3]]
    assert plan.weights_TK.tolist() == [[1.0, 0.0]]
    plan.check()


def test_identity_weighs_by_the_logit_itself_and_never_by_a_silenced_one() -> None:
    logits_TE = torch.tensor([[0.2, -0.5, 0.9], [0.1, float("-inf"), float("-inf")]])
    plan = TopK(2, score="identity", normalize=False)(logits_TE)
    assert plan.weights_TK[0].tolist() == pytest.approx([0.9, 0.2])
    assert plan.idx_TK[1].tolist() == [0, 3]
    assert plan.weights_TK[1].tolist() == pytest.approx([0.1, 0.0])


def test_every_expert_silenced_is_refused() -> None:
    with pytest.raises(RoutingError, match="every expert is silenced for row 1 of 2"):
        TopK(1)(torch.tensor([[0.0, 0.0], [float("-inf")] * 2]))


def test_only_the_best_groups_are_eligible() -> None:
    # group sums of the two best: 0.9+0 against 0.5+0.5
    logits_TE = torch.tensor([[0.9, 0.0, 0.5, 0.5]]).logit(eps=1e-4)
    plan = TopK(2, score="sigmoid", groups=2, top_groups=1)(logits_TE)
    assert sorted(plan.idx_TK[0].tolist()) == [2, 3]


def test_noise_is_for_training_and_follows_the_generator() -> None:
    select, logits_TE = TopK(1, noise=10.0), torch.zeros(200, 8)
    draw = [select(logits_TE, RoutingContext(generator=torch.Generator().manual_seed(0))).idx_TK for _ in range(2)]
    assert torch.equal(*draw)
    assert draw[0].unique().numel() == 8
    assert select.eval()(logits_TE).idx_TK.unique().numel() == 1


def test_one_renormalised_expert_gives_the_gate_no_gradient_from_the_task() -> None:
    """The trap: with k = 1 a renormalised weight is 1 whatever the gate says."""
    grads = {}
    for normalize in (True, False):
        torch.manual_seed(0)
        layer = RoutedLayer(LinearGate(8, 4), TopK(1, normalize=normalize), FFN(4, 8, 16))
        layer(torch.randn(16, 8)).output.square().sum().backward()
        grads[normalize] = layer.gate.linear.weight.grad.abs().max().item()
    assert grads[True] < 1e-6
    assert grads[False] > 1e-3


@pytest.mark.parametrize(
    ("select", "message"),
    [
        (TopK(5), "k must be at most the number of experts, got k=5, E=4"),
        (TopK(1, groups=3), "groups must divide the number of experts, got 3 of 4"),
        (TopK(3, groups=2, top_groups=1), "hold fewer than k=3 experts"),
    ],
)
def test_sizes_that_cannot_work_are_named(select: TopK, message: str) -> None:
    with pytest.raises(RoutingError, match=message):
        select(torch.zeros(2, 4))


def test_a_bad_k_is_a_parameter_error() -> None:
    with pytest.raises(ParameterError, match="`k` must be an integer in"):
        TopK(0)


def test_weights_are_the_scores_of_the_chosen_over_their_sum_with_the_same_gradient() -> None:
    torch.manual_seed(0)
    logits_TE = torch.randn(20, 6)
    logits_TE[:5, :3], logits_TE[5, 1:] = float("-inf"), float("-inf")
    logits_TE.requires_grad_()
    bias_E, slope_TK = torch.randn(6), torch.randn(20, 4)
    plan = TopK(4)(logits_TE, None, bias_E)
    picked_TK = torch.where(plan.mask_TK, plan.scores_TE.gather(-1, plan.idx_TK.clamp(max=5)), 0)
    plain_TK = picked_TK / picked_TK.sum(-1, keepdim=True)
    assert torch.allclose(plan.weights_TK, plain_TK, atol=1e-6)
    assert not plan.weights_TK[~plan.mask_TK].any()
    gradients = [torch.autograd.grad((w * slope_TK).sum(), logits_TE, retain_graph=True)[0]
                 for w in (plan.weights_TK, plain_TK)]  # fmt: skip
    assert torch.allclose(*gradients, atol=1e-6)


def test_experts_that_a_bias_chooses_against_all_odds_share_the_whole_weight() -> None:
    plan = TopK(2)(torch.tensor([[90.0, 0.0, 0.0]]), None, torch.tensor([-200.0, 0.0, 0.0]))
    assert sorted(plan.idx_TK[0].tolist()) == [1, 2]
    assert plan.weights_TK[0].tolist() == pytest.approx([0.5, 0.5])  # their scores underflow to nothing

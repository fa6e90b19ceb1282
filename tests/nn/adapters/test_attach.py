"""Attaching, detaching and merging pools beside linear layers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from turnout.errors import ParameterError, RoutingError
from turnout.nn import LinearGate, LoRA, RoutedLayer, TopK, losses
from turnout.nn.adapters import AdaptedLinear, Pool, adapted, attach, detach, merge, routing

TEXT = torch.arange(12).view(2, 6) % 7


class Small(nn.Module):
    """An embedding, two named linear layers and a head."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, width)
        self.block = nn.ModuleDict({"up": nn.Linear(width, 12), "down": nn.Linear(12, width)})
        self.head = nn.Linear(width, 7)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        x = self.embed(input_ids)
        return self.head(x + self.block["down"](self.block["up"](x).relu()))


def small(**options: object) -> tuple[Small, dict[str, AdaptedLinear]]:
    torch.manual_seed(0)
    model = Small()
    layers = attach(model, r"block\.", Pool(experts=4, options={"experts": {"rank": 2}}, **options))
    return model, layers


def shake(model: nn.Module) -> None:
    """Adapters that do something."""
    for layer in adapted(model).values():
        nn.init.normal_(layer.layer.experts.lora_B)


@pytest.mark.parametrize(
    "targets", [r"block\.(up|down)$", ["up", "down"], lambda name, module: name.startswith("block")]
)
def test_targets_by_pattern_endings_and_predicate(targets: object) -> None:
    assert list(attach(Small(), targets)) == ["block.up", "block.down"]


def test_new_adapters_change_nothing_and_only_they_learn() -> None:
    torch.manual_seed(0)
    model = Small()
    before = model(TEXT)
    layers = attach(model, r"block\.")
    torch.testing.assert_close(model(TEXT), before)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"{n}.layer.{key}" for n, layer in layers.items() for key, _ in layer.layer.named_parameters()}


def test_what_matches_nothing_is_refused_by_name() -> None:
    with pytest.raises(ParameterError, match=r"match no linear layer.*block\.up"):
        attach(Small(), "query")
    model, _ = small()
    with pytest.raises(RoutingError, match="already"):
        attach(model, "up")


def test_detach_restores_the_model() -> None:
    model = Small()
    model.embed.weight.requires_grad_(False)
    names, flags = list(model.state_dict()), [p.requires_grad for p in model.parameters()]
    before = model(TEXT)
    attach(model, r"block\.")
    shake(model)
    detach(model)
    assert list(model.state_dict()) == names
    assert [p.requires_grad for p in model.parameters()] == flags
    assert not model._forward_pre_hooks
    assert not model._forward_hooks
    torch.testing.assert_close(model(TEXT), before, rtol=0, atol=0)


def test_merging_one_expert_gives_what_it_gave_alone() -> None:
    model, _ = small()
    shake(model)
    with routing(model, expert=2):
        alone = model(TEXT)
    merge(model, 2)
    assert not adapted(model)
    torch.testing.assert_close(model(TEXT), alone)


def test_merging_a_mixture_gives_what_it_gave() -> None:
    model, _ = small()
    shake(model)
    weights = torch.tensor([0.5, 0.0, 0.25, 0.25])
    with routing(model, weights=weights):
        mixed = model(TEXT)
    merge(model, weights=weights)
    torch.testing.assert_close(model(TEXT), mixed)


def test_merge_wants_one_fixed_choice() -> None:
    model, _ = small()
    for wrong in ({}, {"expert": 1, "weights": torch.ones(4)}, {"expert": 4}, {"weights": torch.ones(3)}):
        with pytest.raises(ParameterError):
            merge(model, **wrong)
    assert adapted(model)


def test_one_expert_per_sequence_equals_each_alone() -> None:
    model, layers = small()
    shake(model)
    with routing(model, expert=torch.tensor([3, 1])):
        both = model(TEXT)
    assert layers["block.up"].last.plan.counts_E.tolist() == [0, 6, 0, 6]
    for row, expert in enumerate((3, 1)):
        with routing(model, expert=expert):
            torch.testing.assert_close(model(TEXT[row : row + 1]), both[row : row + 1])


def test_the_inputs_tell_padding_tokens_sequences_and_tasks() -> None:
    seen = []
    model, layers = small()
    gate = layers["block.up"].layer.gate
    kept = gate._logits
    gate._logits = lambda x, context: (seen.append(context), kept(x, context))[1]
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]])
    model(input_ids=TEXT, attention_mask=mask, task_ids=torch.tensor([5, 6]))
    (context,) = seen
    assert context.token_T.tolist() == TEXT.flatten().tolist()
    assert context.sequence_T.tolist() == [0] * 6 + [1] * 6
    assert context.task_T.tolist() == [5] * 6 + [6] * 6
    assert layers["block.up"].last.plan.mask_TK.any(-1).tolist() == mask.flatten().bool().tolist()


def test_routing_ends_and_nests() -> None:
    model, layers = small()
    with routing(model, expert=0):
        with routing(model, expert=3):
            model(TEXT)
            assert layers["block.up"].last.plan.counts_E.tolist() == [0, 0, 0, 12]
        model(TEXT)
        assert layers["block.up"].last.plan.counts_E.tolist() == [12, 0, 0, 0]
    model(TEXT)
    assert int(layers["block.up"].last.plan.counts_E.sum()) == 24


def test_the_innermost_fixed_choice_counts() -> None:
    model, layers = small()
    with routing(model, expert=1):
        with routing(model, weights=torch.tensor([0.0, 0.0, 0.5, 0.5])):
            model(TEXT)
        assert layers["block.up"].last.plan.counts_E.tolist() == [0, 0, 12, 12]
        model(TEXT)
    assert layers["block.up"].last.plan.counts_E.tolist() == [0, 12, 0, 0]


def test_added_logits_and_silence_move_the_choice() -> None:
    model, layers = small()
    with routing(model, add=torch.tensor([[0.0, 0, 0, 99], [99.0, 0, 0, 0]])):
        model(TEXT)
    assert layers["block.up"].last.plan.idx_TK[:, 0].tolist() == [3] * 6 + [0] * 6
    with routing(model, silence=(0, 1)):
        model(TEXT)
    assert layers["block.up"].last.plan.counts_E[:2].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"expert": torch.zeros(5, dtype=torch.int64)}, "one per sequence"),
        ({"expert": 0, "weights": torch.ones(4)}, "not both"),
        ({"expert": 4}, "`expert` must be 0 to 3, got 4"),
        ({"expert": -1}, "`expert` must be 0 to 3, got -1"),
        ({"expert": torch.tensor(0.5)}, "whole numbers"),
        ({"weights": torch.ones(3)}, r"\[4\]"),
        ({"colour": 1}, "routing knows"),
        ({"expert": 0, "opened": True}, "VectorGate"),
    ],
)
def test_what_does_not_fit_is_refused(said: dict[str, object], match: str) -> None:
    model, _ = small()
    with pytest.raises(RoutingError, match=match), routing(model, **said):
        model(TEXT)


def test_an_expert_is_said_by_a_list_or_any_integers_and_of_no_token() -> None:
    model, layers = small()
    for said in ([3, 1], torch.tensor([3, 1], dtype=torch.int32)):
        with routing(model, expert=said):
            model(TEXT)
        assert layers["block.up"].last.plan.idx_TK[:, 0].tolist() == [3] * 6 + [1] * 6
    assert model(TEXT[:, :0]).shape == (2, 0, 7)
    with routing(model, expert=2):
        assert model(TEXT[:0]).shape == (0, 6, 7)


def test_routing_needs_adapters() -> None:
    with pytest.raises(RoutingError, match="attach"), routing(Small(), expert=0):
        pass


def test_balancing_losses_are_collected_over_layers_and_not_added() -> None:
    model, layers = small(balancers=("switch_loss",))
    model(TEXT)
    each = [layer.last.losses["switch_loss"] for layer in layers.values()]
    torch.testing.assert_close(losses(model)["switch_loss"], sum(each))


def test_a_plain_loop_trains() -> None:
    model, _ = small()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.05)
    found = []
    for _ in range(25):
        loss = nn.functional.cross_entropy(model(TEXT).flatten(0, 1), TEXT.roll(1).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    assert found[-1] < 0.7 * found[0]


def test_a_copy_is_its_own() -> None:
    model, layers = small()
    model(TEXT)
    other = copy.deepcopy(model)
    with routing(other, expert=1):
        other(TEXT)
        model(TEXT)
    assert adapted(other)["block.up"].last.plan.counts_E.tolist() == [0, 12, 0, 0]
    assert int(layers["block.up"].last.plan.counts_E.sum()) == 24


def test_recomputation_sees_the_pass_it_repeats() -> None:
    model, layers = small(statistics=True)
    shake(model)
    with routing(model, expert=1):
        y = torch.utils.checkpoint.checkpoint(model.block["up"], torch.randn(5, 8), use_reentrant=False)
    y.sum().backward()
    grad = layers["block.up"].layer.experts.lora_A.grad
    assert [bool(g.any()) for g in grad] == [False, True, False, False]
    assert layers["block.up"].layer.statistics.tokens == 5


def test_a_linear_layer_under_two_names_stays_one() -> None:
    model = nn.Module()
    model.first = nn.Linear(4, 4)
    model.second = model.first
    attach(model, "first|second")
    assert model.first is model.second
    detach(model)
    assert model.first is model.second
    assert isinstance(model.first, nn.Linear)


def test_bfloat16_inputs_stay_bfloat16() -> None:
    torch.manual_seed(0)
    model = Small().to(torch.bfloat16)
    attach(model, r"block\.")
    shake(model)
    assert model(TEXT).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["lora"])
def test_every_way_of_combining_gives_the_same(kind: str, tmp_path: Path) -> None:
    found = []
    for combiner in ("fused", "weighted_sum"):
        model, _ = small(kind=kind, combiner=combiner)
        torch.manual_seed(1)
        shake(model)
        found.append(model(TEXT))
    torch.testing.assert_close(*found)


def tied(targets: str) -> Small:
    """With adapters, and a head that is the embedding."""
    torch.manual_seed(0)
    model = Small()
    model.head.weight = model.embed.weight
    attach(model, targets, Pool(experts=3, options={"experts": {"rank": 2}}))
    shake(model)
    return model


def test_merge_refuses_a_weight_that_another_module_uses_and_changes_nothing() -> None:
    model = tied(r"down|head")
    down, embed = adapted(model)["block.down"].weight.clone(), model.embed.weight.clone()
    with pytest.raises(RoutingError, match="the weight of 'head' is that of 'embed' too"):
        merge(model, 1)
    assert sorted(adapted(model)) == ["block.down", "head"]
    assert torch.equal(adapted(model)["block.down"].weight, down)
    assert torch.equal(model.embed.weight, embed)


def test_merge_of_tied_layers_beside_others_goes_on() -> None:
    model = tied(r"down")
    with routing(model, expert=1):
        wanted = model(TEXT)
    merge(model, 1)
    torch.testing.assert_close(model(TEXT), wanted)


def test_a_merge_in_half_precision_rounds_once() -> None:
    model = Small().to(torch.bfloat16)
    layers = attach(model, r"block\.", Pool(experts=3))
    shake(model)
    wanted = [(at.weight.float() + at.layer.experts.delta(1)).bfloat16() for at in layers.values()]
    merge(model, 1)
    assert torch.equal(model.block["up"].weight, wanted[0])
    assert torch.equal(model.block["down"].weight, wanted[1])


@pytest.mark.parametrize(
    ("combiner", "options"),
    [("fused", {"weight": 0.5}), ("constant", {}), ("weight_space", {"per": "sequence"}), ("posterior_mix", {})],
)
@pytest.mark.parametrize("said", [{"expert": 1}, {"weights": torch.tensor([0.5, 0.0, 0.2, 0.1])}])
def test_a_merge_is_what_the_combiner_makes(combiner: str, options: dict[str, object], said: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = Small()
    attach(model, r"block\.", Pool(4, combiner=combiner, options={"experts": {"rank": 2}, "combiner": options}))
    shake(model)
    with routing(model, **said):
        wanted = model(TEXT)
    merge(model, **said)
    torch.testing.assert_close(model(TEXT), wanted)


def test_what_is_no_matrix_is_not_merged() -> None:
    def beside(linear: nn.Linear, name: str) -> RoutedLayer:
        gate, pool = LinearGate(linear.in_features, 2), LoRA(2, linear.in_features, linear.out_features)
        return RoutedLayer(gate, TopK(1), pool, shared=nn.Linear(linear.in_features, linear.out_features))

    model = Small()
    attach(model, "down", beside)
    before = adapted(model)["block.down"].weight.clone()
    with pytest.raises(RoutingError, match="no matrix to merge"):
        merge(model, 0)
    assert torch.equal(adapted(model)["block.down"].weight, before)


@pytest.mark.parametrize(
    ("pool", "match"),
    [
        (Pool(options={"experts": {"rank": 0}}), "rank"),
        (Pool(options={"experts": {"ranks": 2}}), r"LoRA: experts, width, out, rank, alpha can be given, got 'ranks'"),
        (Pool(options={"expert": {"rank": 2}}), r"experts, gate, .* got 'expert'"),
        (Pool(selector="sampled"), r"sampled needs `k`; give it in options\['selector'\]"),
    ],
)
def test_a_pool_that_cannot_be_made_leaves_the_model_as_it_was(pool: Pool, match: str) -> None:
    model = Small()
    with pytest.raises(ParameterError, match=match):
        attach(model, r"block\.", pool)
    assert all(p.requires_grad for p in model.parameters())
    assert not adapted(model)
    assert not model._forward_pre_hooks


def test_experts_of_another_width_are_refused() -> None:
    model = Small()
    attach(model, "down", Pool(kind="ffn", combiner="weighted_sum", options={"experts": {"hidden": 4}}))
    with pytest.raises(RoutingError, match="they give 12, the linear layer 8"):
        model(TEXT)


def test_other_modules_and_broken_patterns_are_named() -> None:
    with pytest.raises(ParameterError, match=r"match no linear layer of the model; 'embed' is of Embedding; it has"):
        attach(Small(), "embed")
    with pytest.raises(ParameterError, match="no regular expression"):
        attach(Small(), "*up")


def test_a_layer_that_is_never_called_is_refused() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    with pytest.raises(ParameterError, match=r"'self_attn\.out_proj' cannot be adapted"):
        attach(model, "linear|out_proj")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_transformer_layer_is_adapted_in_evaluation_too() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 2))  # whose fast path multiplies by weights without a call
    attach(model, r"linear\d", Pool(experts=2))
    shake(model)
    x = torch.randn(2, 3, 8)
    trained = model.train()(x)
    torch.testing.assert_close(model.eval()(x), trained)
    with torch.no_grad():
        torch.testing.assert_close(model(x), trained)
    padding = torch.tensor([[False] * 3, [False, False, True]])
    with pytest.raises(RoutingError, match="enable_nested_tensor=False"), torch.no_grad():
        model[0](x, src_key_padding_mask=padding)


def test_padding_is_told_by_place_too() -> None:
    model, layers = small()
    mask = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1]])
    model(TEXT, mask)
    assert torch.equal(layers["block.up"].last.plan.mask_TK.any(-1), mask.flatten().bool())


def test_what_one_pass_told_is_forgotten_after_it() -> None:
    model, _ = small()
    shake(model)
    x = torch.randn(2, 6, 8)
    before = model.block["up"](x)
    model(TEXT, attention_mask=torch.tensor([[0] * 6, [1] * 6]))
    torch.testing.assert_close(model.block["up"](x), before)
    with pytest.raises(IndexError):  # nor does it stay where the pass fails
        model(TEXT + 7, attention_mask=torch.zeros(2, 6))
    torch.testing.assert_close(model.block["up"](x), before)

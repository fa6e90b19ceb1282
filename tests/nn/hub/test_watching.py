from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn import Override, RoutedLayer, RoutingContext, RoutingStats
from turnout.nn.hub import find_moe, replace_moe, watch

pytest.importorskip("transformers")


@pytest.mark.parametrize("replaced", [False, True])
def test_what_a_model_chooses_is_recorded(
    architecture: str, replaced: bool, tiny: Callable[..., Any], ids: torch.Tensor
) -> None:
    model = tiny(architecture)
    if replaced:
        replace_moe(model)
    expected = model(ids).logits
    with watch(model) as stats:
        assert torch.equal(model(input_ids=ids).logits, expected)
    model(ids)
    assert stats.layers == (0, 1)
    assert stats.tokens == 18
    trace = stats.trace(1)
    assert trace.need("token_T").tolist() == ids.flatten().tolist()
    assert trace.sequence_T.tolist() == [0] * 9 + [1] * 9
    assert trace.idx_TK.shape == (18, 2)


def test_both_ways_of_running_a_model_give_the_same_trace(tiny: Callable[..., Any], ids: torch.Tensor) -> None:
    model = tiny("mixtral")
    with watch(model) as first:
        model(ids)
    replace_moe(model)
    with watch(model) as second:
        model(ids)
    for layer in (0, 1):
        assert torch.equal(first.trace(layer).idx_TK, second.trace(layer).idx_TK)
        assert first.summary(layer) == pytest.approx(second.summary(layer), abs=1e-5)


@pytest.mark.parametrize("replaced", [False, True])
def test_padding_is_not_counted(replaced: bool, tiny: Callable[..., Any], ids: torch.Tensor) -> None:
    model = tiny("mixtral")
    if replaced:
        replace_moe(model)
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 5:] = 0
    embedded = {"inputs_embeds": model.get_input_embeddings()(ids), "attention_mask": mask}
    for args, kwargs in (((), {"input_ids": ids, "attention_mask": mask}), ((ids, mask), {}), ((), embedded)):
        with watch(model, RoutingStats()) as stats:
            model(*args, **kwargs)
        assert stats.trace(0).tokens == 14
        assert int(stats.counts(0).sum()) == 28


def test_what_one_pass_told_is_forgotten_after_it(tiny: Callable[..., Any], ids: torch.Tensor) -> None:
    model = tiny("mixtral")
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 5:] = 0
    with watch(model) as stats:
        model(input_ids=ids, attention_mask=mask)
        model.model(input_ids=ids)  # without padding
    assert stats.trace(0).tokens == 14 + 18


def test_a_layers_own_statistics_go_on(tiny: Callable[..., Any], ids: torch.Tensor) -> None:
    model, own = tiny("mixtral"), RoutingStats()

    def counted(layer: RoutedLayer, number: int) -> RoutedLayer:
        return RoutedLayer(layer.gate, layer.selector, layer.experts, statistics=own)

    replace_moe(model, counted)
    with watch(model) as outer, watch(model) as inner:
        model(ids)
    model(ids)
    assert (own.layers, own.tokens) == ((0, 1), 36)
    assert outer.tokens == inner.tokens == 18


def test_a_layers_own_statistics_may_be_the_watchers(tiny: Callable[..., Any], ids: torch.Tensor) -> None:
    model, own = tiny("mixtral"), RoutingStats()
    replace_moe(model, lambda layer, _: RoutedLayer(layer.gate, layer.selector, layer.experts, statistics=own))
    with watch(model, own):
        model(ids)
    assert own.tokens == own.trace(0).tokens == 18  # once


def test_nothing_stays_behind(tiny: Callable[..., Any]) -> None:
    model = tiny("mixtral")
    replace_moe(model)
    with pytest.raises(ZeroDivisionError), watch(model):
        _ = 1 / 0
    assert all(block.layer.statistics is None for block in find_moe(model).values())  # type: ignore[union-attr]
    assert all(block.context.token_T is None for block in find_moe(model).values())  # type: ignore[union-attr]
    assert not model._forward_pre_hooks
    assert not model._forward_hooks


def test_a_hand_on_a_layer_stays_where_it_is(tiny: Callable[..., Any], ids: torch.Tensor) -> None:
    model = tiny("mixtral")
    replace_moe(model)
    block = model.model.layers[1].mlp
    block.number = 0  # as two blocks of one layer would have it
    block.context = RoutingContext(layer=0, overrides={0: Override(silence=(0, 1))})
    expected = model(ids).logits
    with watch(model) as stats:
        assert torch.equal(model(ids).logits, expected)
    assert stats.counts(1).tolist() == [0, 0, 18, 18]


def test_a_dense_model_is_named() -> None:
    with pytest.raises(RoutingError, match="Linear has no MoE block to watch"), watch(torch.nn.Linear(2, 2)):
        pass


def test_adapters_are_watched_too(tiny: Callable[..., Any], ids: torch.Tensor) -> None:
    from turnout.nn.adapters import Pool, attach

    model = tiny("mixtral")
    layers = attach(model, r"v_proj$", Pool(experts=3, options={"experts": {"rank": 2}}))
    with watch(model) as stats:
        model(input_ids=ids)
    assert stats.layers == (0, 1, 2, 3)
    assert [stats.trace(layer).experts for layer in stats.layers] == [3, 4, 3, 4]
    assert [layer.number for layer in layers.values()] == [0, 1]
    assert stats.trace(2).need("token_T").tolist() == ids.flatten().tolist()

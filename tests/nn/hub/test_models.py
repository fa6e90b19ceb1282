from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from turnout.errors import ParameterError, RoutingError
from turnout.nn import FFN, LinearGate, OutputOnly, RoutedLayer, SwitchLoss, TopK, losses
from turnout.nn.hub import Upcycled, find_moe, replace_moe, restore_moe, upcycle
from turnout.nn.hub.models import linear_gates

transformers = pytest.importorskip("transformers")


def dense() -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 1, "intermediate_size": 24}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)).eval()


def test_replaced_blocks_compute_the_same_with_the_same_parameters(
    architecture: str, tiny: Callable[..., Any], ids: torch.Tensor
) -> None:
    model = tiny(architecture)
    expected, before = model(ids).logits, {id(p) for p in model.parameters()}
    names = list(find_moe(model))
    placed = replace_moe(model)
    assert list(placed) == names == [f"model.layers.{n}.mlp" for n in (0, 1)]
    assert torch.allclose(model(ids).logits, expected, atol=1e-5)
    assert {id(p) for p in model.parameters()} == before
    assert [layer.number for layer in placed.values()] == [0, 1]


def test_a_change_puts_another_layer_there(tiny: Callable[..., Any], ids: torch.Tensor) -> None:
    model = tiny("mixtral")

    def with_balance(layer: RoutedLayer, number: int) -> RoutedLayer:
        return RoutedLayer(layer.gate, TopK(1), layer.experts, balancers=[SwitchLoss(0.01 * (number + 1))])

    replace_moe(model, with_balance)
    model(ids)
    assert losses(model)["switch_loss"] >= 0.0299
    assert not [block for block in find_moe(model).values() if not isinstance(block, OutputOnly)]


def test_a_router_with_another_rule_is_refused(tiny: Callable[..., Any]) -> None:
    model = tiny("mixtral")

    class Lowest(type(model.model.layers[0].mlp.gate)):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> Any:
            logits, weights, index = super().forward(x)
            return logits, weights, (index + 1) % self.num_experts

    model.model.layers[1].mlp.gate.__class__ = Lowest
    with pytest.raises(RoutingError, match="Lowest does not choose the k largest softmax scores"):
        replace_moe(model)
    assert not [block for block in find_moe(model).values() if isinstance(block, OutputOnly)]


def test_close_scores_in_half_precision_are_no_other_rule() -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1}
    torch.manual_seed(1)
    config = transformers.MixtralConfig(vocab_size=32, num_hidden_layers=8, **sizes)
    model = transformers.MixtralForCausalLM(config).to(torch.bfloat16).eval()
    ids = torch.arange(18).view(2, 9)
    expected = model(ids).logits
    assert len(replace_moe(model)) == 8
    torch.testing.assert_close(model(ids).logits, expected, atol=0.02, rtol=0)


def test_router_logits_that_a_config_asks_for_are_refused(tiny: Callable[..., Any]) -> None:
    model = tiny("mixtral", output_router_logits=True)
    with pytest.raises(RoutingError, match="output_router_logits"):
        replace_moe(model)
    assert not any(isinstance(block, OutputOnly) for block in find_moe(model).values())


def test_a_dense_model_has_nothing_to_replace() -> None:
    with pytest.raises(RoutingError, match="LlamaForCausalLM has no MoE block to replace; `upcycle`"):
        replace_moe(dense())


def test_a_replaced_model_has_nothing_left_to_replace(tiny: Callable[..., Any]) -> None:
    model = tiny("mixtral")
    replace_moe(model)
    with pytest.raises(RoutingError, match="no MoE block to replace; `restore_moe` puts back"):
        replace_moe(model)


def test_a_trained_model_saves_under_its_own_names(tiny: Callable[..., Any], ids: torch.Tensor, tmp_path: Path) -> None:
    model = tiny("qwen2_moe")
    names, before = list(model.state_dict()), model(ids).logits.detach()
    replace_moe(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model(ids, labels=ids).loss.backward()
    optimizer.step()
    trained = model(ids).logits.detach()
    assert restore_moe(model) == ["model.layers.0.mlp", "model.layers.1.mlp"]
    assert list(model.state_dict()) == names
    assert torch.allclose(model(ids).logits, trained, atol=1e-5)
    assert not torch.allclose(trained, before, atol=1e-3)
    model.save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.allclose(again(ids).logits, trained, atol=1e-5)
    assert restore_moe(model) == []


def test_an_upcycled_model_computes_the_same(ids: torch.Tensor) -> None:
    model = dense()
    expected = model(ids).logits
    placed = upcycle(model, [1, 2], Upcycled(experts=4, k=2))
    assert list(placed) == ["model.layers.1.mlp", "model.layers.2.mlp"] == list(find_moe(model))
    assert torch.allclose(model(ids).logits, expected, atol=1e-5)
    assert not isinstance(model.model.layers[0].mlp, OutputOnly)


def test_upcycled_experts_learn_apart(ids: torch.Tensor) -> None:
    model = dense()
    (block,) = upcycle(model, [2], Upcycled(experts=4, k=1)).values()
    model.train()
    model(ids, labels=ids).loss.backward()
    gradient = block.layer.experts.down_proj.grad
    assert not torch.allclose(gradient[0], gradient[1])


def test_noise_sets_experts_apart() -> None:
    model = dense()
    (block,) = upcycle(model, [0], Upcycled(experts=3, k=1, noise=0.1)).values()
    first, second, _ = block.layer.experts.down_proj.detach()
    assert 0.05 < float((first - second).std() / first.std()) < 0.3


def test_all_layers_are_the_default_and_bad_layers_are_named() -> None:
    model = dense()
    with pytest.raises(RoutingError, match="layer 7 has no dense gated network to upcycle; layers 0, 1, 2"):
        upcycle(model, [7])
    assert len(upcycle(model)) == 3
    with pytest.raises(RoutingError, match="has no dense gated network"):
        upcycle(torch.nn.Linear(2, 2))
    with pytest.raises(ParameterError, match="got 3 of 2"):
        upcycle(model, settings=Upcycled(experts=2, k=3))


def test_router_weights_are_found_before_and_after(tiny: Callable[..., Any]) -> None:
    model = tiny("olmoe")
    before = linear_gates(model)
    replace_moe(model)
    after = linear_gates(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    model.model.layers[0].mlp = OutputOnly(RoutedLayer(LinearGate(16, 2), TopK(1), FFN(2, 16, 4)))
    assert [tuple(weight.shape) for weight in linear_gates(model).values()] == [(2, 16), (6, 16)]


def test_a_restored_model_saves_under_the_names_it_had(
    architecture: str, tiny: Callable[..., Any], tmp_path: Path
) -> None:
    from safetensors import safe_open

    model = tiny(architecture)
    model.save_pretrained(tmp_path / "before")
    replace_moe(model)
    model.save_pretrained(tmp_path / "meanwhile")
    restore_moe(model)
    model.save_pretrained(tmp_path / "after")

    def names(folder: str) -> list[str]:
        with safe_open(tmp_path / folder / "model.safetensors", framework="pt") as file:
            return sorted(file.keys())

    assert names("after") == names("before")
    assert "model.layers.0.mlp.layer.experts.gate_up_proj" in names("meanwhile")

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from turnout.errors import ParameterError
from turnout.nn import Auto, TopK
from turnout.nn.hub import register
from turnout.nn.hub.backend import _Borrowed, experts_forward

pytest.importorskip("transformers")


def value_and_gradients(model: Any, ids: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    output = model(ids, labels=ids)
    output.loss.backward()
    return output.logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("products", ["usual", "onednn"])
def test_it_equals_eager_in_value_and_every_gradient(
    architecture: str, products: str, tiny: Callable[..., Any], ids: torch.Tensor, request: pytest.FixtureRequest
) -> None:
    if products == "onednn":
        request.getfixturevalue("onednn")
    model = tiny(architecture)
    model.set_experts_implementation("eager")
    logits, gradients = value_and_gradients(model, ids)
    model.set_experts_implementation(register())
    again, others = value_and_gradients(model, ids)
    assert model.config._experts_implementation == "turnout"
    assert torch.allclose(logits, again, atol=1e-5)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, others[name], atol=1e-5), name


def test_a_plain_swiglu_may_run_block_by_block(onednn: None, tiny: Callable[..., Any]) -> None:
    plan = TopK(2)(torch.randn(64, 4))
    found = [module for module in tiny("olmoe").modules() if hasattr(module, "gate_up_proj")]
    assert found
    assert all(Auto().pick(plan, _Borrowed(module)).name == "segment" for module in found)
    assert Auto().pick(plan, _Borrowed(Biased())).name == "grouped"


class Biased(torch.nn.Module):
    """Transposed weights with biases, as GPT-OSS stores them."""

    has_gate = has_bias = is_transposed = True
    has_post_expert_norm = _is_expert_parallel = False
    num_experts = 3

    def __init__(self) -> None:
        super().__init__()
        self.gate_up_proj = torch.nn.Parameter(torch.randn(3, 8, 12))
        self.gate_up_proj_bias = torch.nn.Parameter(torch.randn(3, 12))
        self.down_proj = torch.nn.Parameter(torch.randn(3, 6, 8))
        self.down_proj_bias = torch.nn.Parameter(torch.randn(3, 8))

    def _apply_gate(self, gate_up: torch.Tensor) -> torch.Tensor:
        gate, up = gate_up[..., ::2], gate_up[..., 1::2]
        return torch.sigmoid(gate) * (up + 1)

    def one(self, x: torch.Tensor, expert: int) -> torch.Tensor:
        hidden = self._apply_gate(x @ self.gate_up_proj[expert] + self.gate_up_proj_bias[expert])
        return hidden @ self.down_proj[expert] + self.down_proj_bias[expert]


@pytest.mark.parametrize("rows", [0, 5, 200])
def test_biases_transposed_weights_gates_of_their_own_and_empty_slots(rows: int) -> None:
    torch.manual_seed(rows)
    experts, x = Biased(), torch.randn(rows, 8)
    index = torch.rand(rows, 4).topk(2).indices  # 3 is the sentinel
    weights = torch.rand(rows, 2)
    found = experts_forward(experts, x, index, weights, dispatcher=Auto())
    expected = torch.zeros(rows, 8)
    for t in range(rows):
        for k in range(2):
            if index[t, k] < 3:
                expected[t] += weights[t, k] * experts.one(x[t], int(index[t, k]))
    assert torch.allclose(found, expected, atol=1e-4)


def test_half_precision_stays_half_precision(tiny: Callable[..., Any], ids: torch.Tensor) -> None:
    model = tiny("mixtral").to(torch.bfloat16)
    model.set_experts_implementation("eager")
    expected = model(ids).logits
    model.set_experts_implementation(register())
    found = model(ids).logits
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), expected.float(), atol=0.02)


def test_generation_runs_on_it(tiny: Callable[..., Any], ids: torch.Tensor) -> None:
    model = tiny("olmoe")
    expected = model.generate(ids, max_new_tokens=5, do_sample=False, pad_token_id=0)
    model.set_experts_implementation(register())
    assert torch.equal(model.generate(ids, max_new_tokens=5, do_sample=False, pad_token_id=0), expected)


def test_transformers_own_names_are_refused() -> None:
    with pytest.raises(ParameterError, match="'eager' is a backend of transformers itself"):
        register("eager")

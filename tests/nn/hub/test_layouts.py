from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from turnout.errors import ParameterError, StateError
from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
from turnout.nn.hub import layer_of, state_of
from turnout.nn.hub._shared import SharedExpert


def routed(**parts: object) -> RoutedLayer:
    given = {"gate": LinearGate(8, 4), "selector": TopK(2), "experts": FFN(4, 8, 12)} | parts
    return RoutedLayer(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", ["fused", "list", "mixtral"])
@pytest.mark.parametrize("shared", [False, True])
def test_every_layout_comes_back_the_same(layout: str, shared: bool) -> None:
    layer = routed(shared=SharedExpert(8, 10) if shared else None)
    state = state_of(layer, layout)
    again = layer_of(state, k=2, normalize=True)
    assert state_of(again, layout).keys() == state.keys()
    x = torch.randn(7, 8)
    assert torch.equal(layer(x).output, again(x).output)


def test_a_block_of_transformers_computes_the_same(
    architecture: str, tiny: Callable[..., Any], ids: torch.Tensor
) -> None:
    model = tiny(architecture)
    block = model.model.layers[1].mlp
    normalize = getattr(block.gate, "norm_topk_prob", True)
    layer = layer_of(block.state_dict(), k=2, normalize=normalize)
    x = torch.randn(2, 9, 16)
    assert torch.allclose(layer(x).output, block(x), atol=1e-5)
    assert ids.shape == x.shape[:2]


def test_names_in_files_are_those_of_the_architecture() -> None:
    state = state_of(routed(), "mixtral")
    assert set(state) == {"gate.weight"} | {f"experts.{n}.{w}.weight" for n in range(4) for w in ("w1", "w2", "w3")}
    assert state["experts.3.w1.weight"].shape == state["experts.3.w3.weight"].shape == (12, 8)
    layer = routed()
    gate, up = layer.experts.gate_up_proj[3].chunk(2)
    assert torch.equal(state_of(layer, "list")["experts.3.gate_proj.weight"], gate)
    assert torch.equal(state_of(layer, "mixtral")["experts.3.w3.weight"], up)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"experts.0.w9.weight": torch.zeros(1)}, "another layout: keys experts.0.w9.weight"),
        ({"gate.e_score_correction_bias": torch.zeros(4)}, "keys gate.e_score_correction_bias; known layouts: fused"),
        ({"experts.down_proj": torch.zeros(4, 8, 9)}, r"experts' gate and up weights must be \[4, 18, 8\]"),
        ({"experts.down_proj": torch.zeros(3, 8, 12)}, r"experts' down weights must be \[4, 8, 12\], got \[3, 8, 12\]"),
        ({"shared_expert.up_proj.weight": torch.zeros(10, 8)}, "lacks `shared_expert.gate_proj.weight`"),
    ],
)
def test_another_layout_is_named(change: dict[str, torch.Tensor], said: str) -> None:
    with pytest.raises(StateError, match=said):
        layer_of(state_of(routed(), "fused") | change, k=2, normalize=True)


def test_missing_tensors_are_named() -> None:
    state = state_of(routed(), "list")
    with pytest.raises(StateError, match="no router"):
        layer_of({key: value for key, value in state.items() if key != "gate.weight"}, k=2, normalize=True)
    with pytest.raises(StateError, match="4 experts in the router, weights of 3"):
        layer_of({key: value for key, value in state.items() if ".3." not in key}, k=2, normalize=True)
    with pytest.raises(StateError, match=r"lacks `experts\.1\.up_proj\.weight`"):
        layer_of({key: value for key, value in state.items() if "1.up" not in key}, k=2, normalize=True)
    with pytest.raises(StateError, match="no experts"):
        layer_of({"gate.weight": torch.zeros(4, 8)}, k=2, normalize=True)


def test_what_no_layout_holds_is_refused() -> None:
    with pytest.raises(ParameterError, match="linear gate without bias, got LinearGate"):
        state_of(routed(gate=LinearGate(8, 4, bias=True)))
    with pytest.raises(ParameterError, match="gated FFN experts, got FFN"):
        state_of(routed(experts=FFN(4, 8, 12, gated=False)))
    with pytest.raises(ParameterError, match="gated shared expert, got Linear"):
        state_of(routed(shared=torch.nn.Linear(8, 8)))
    with pytest.raises(ParameterError, match="fused, list, mixtral, got 'gguf'"):
        state_of(routed(), "gguf")

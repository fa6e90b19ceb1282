"""One MoE block of a Hugging Face checkpoint as a `RoutedLayer`, and back.

Three layouts name the same tensors (D width, H hidden, E experts):

| layout | experts | found in |
|---|---|---|
| `fused` | `experts.gate_up_proj` [E, 2H, D], `experts.down_proj` [E, D, H] | models in memory since transformers 5 |
| `list` | `experts.N.gate_proj.weight`, `.up_proj.weight` [H, D], `.down_proj.weight` [D, H] | OLMoE, Qwen-MoE files |
| `mixtral` | `experts.N.w1.weight` (gate), `.w3.weight` (up), `.w2.weight` (down) | Mixtral files |

The router is `gate.weight` [E, D]; Qwen2-MoE adds `shared_expert.*` and `shared_expert_gate.weight` [1, D].
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from turnout.errors import ParameterError, StateError
from turnout.nn.experts.ffn import FFN
from turnout.nn.gates.linear_gate import LinearGate
from turnout.nn.hub._shared import SharedExpert
from turnout.nn.layer import RoutedLayer
from turnout.nn.selectors.top_k import TopK

LAYOUTS = ("fused", "list", "mixtral")
_NAMES = {"list": ("gate_proj", "up_proj", "down_proj"), "mixtral": ("w1", "w3", "w2")}
_SHARED = ("gate_proj", "up_proj", "down_proj")


def layer_of(
    state: Mapping[str, Tensor], *, k: int, normalize: bool, activation: str = "silu", score: str = "softmax"
) -> RoutedLayer:
    """A layer of one block's tensors, in any layout, in their dtype; experts' memory is shared where it is fused.

    `k`, `normalize` (`norm_topk_prob`; Mixtral always) and `activation` stand in a model's configuration. Raises
    StateError naming the keys of another layout, missing tensors, or shapes that disagree.

    >>> from turnout.nn import FFN, LinearGate
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16))
    >>> again = layer_of(state_of(layer, "mixtral"), k=2, normalize=True)
    >>> x = torch.randn(3, 8)
    >>> torch.equal(layer(x).output, again(x).output)
    True
    """
    layout = layout_of(state)
    first, down = _fused(state) if layout == "fused" else _stacked(state, layout)
    router = state["gate.weight"]
    experts, width = router.shape
    hidden = down.shape[-1]
    _agree("experts' gate and up", first, (experts, 2 * hidden, width))
    _agree("experts' down", down, (experts, width, hidden))
    with torch.device("meta"):
        gate, pool = LinearGate(width, experts), FFN(experts, width, hidden, activation=activation)
    gate.linear.weight = nn.Parameter(router)
    pool.gate_up_proj, pool.down_proj = nn.Parameter(first), nn.Parameter(down)
    return RoutedLayer(gate, TopK(k, score=score, normalize=normalize), pool, shared=_shared(state, width, activation))


def state_of(layer: RoutedLayer, layout: str = "list") -> dict[str, Tensor]:
    """The block's tensors under a layout's names. Raises ParameterError for a layer that no layout can hold."""
    if layout not in LAYOUTS:
        raise ParameterError(f"`layout` must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    gate, pool, shared = layer.gate, layer.experts, layer.shared
    if not isinstance(gate, LinearGate) or gate.linear.bias is not None:
        raise ParameterError(f"a checkpoint holds a linear gate without bias, got {type(gate).__name__}")
    if not isinstance(pool, FFN) or not pool.gated:
        raise ParameterError(f"a checkpoint holds gated FFN experts, got {type(pool).__name__}")
    state = {"gate.weight": gate.linear.weight.detach()}
    if layout == "fused":
        state |= {"experts.gate_up_proj": pool.gate_up_proj.detach(), "experts.down_proj": pool.down_proj.detach()}
    else:
        for number in range(pool.experts):
            gate_up = pool.gate_up_proj.detach()[number].chunk(2)
            parts = (*gate_up, pool.down_proj.detach()[number])
            names = (f"experts.{number}.{name}.weight" for name in _NAMES[layout])
            state |= dict(zip(names, parts, strict=True))
    if shared is None:
        return state
    if not isinstance(shared, SharedExpert) or shared.gate is None:
        raise ParameterError(f"a checkpoint holds a gated shared expert, got {type(shared).__name__}")
    state |= {f"shared_expert.{name}.weight": getattr(shared, name).weight.detach() for name in _SHARED}
    return state | {"shared_expert_gate.weight": shared.gate.weight.detach()}


def layout_of(state: Mapping[str, Tensor]) -> str:
    """The layout of a block's tensors. Raises StateError where there is none, or tensors that no layout has."""
    patterns = {
        "fused": r"experts\.(gate_up_proj|down_proj)",
        "list": r"experts\.\d+\.(gate_proj|up_proj|down_proj)\.weight",
        "mixtral": r"experts\.\d+\.(w1|w2|w3)\.weight",
    }
    common = r"gate\.weight|shared_expert\.(gate_proj|up_proj|down_proj)\.weight|shared_expert_gate\.weight"
    rest = [key for key in state if not re.fullmatch(common, key)]
    for layout, pattern in patterns.items():
        if rest and all(re.fullmatch(pattern, key) for key in rest):
            if "gate.weight" not in state:
                raise StateError("the block has no router: `gate.weight` [E, D] is missing")
            return layout
    known = [key for key in rest if any(re.fullmatch(pattern, key) for pattern in patterns.values())]
    odd = [key for key in rest if key not in known] or known
    said = f"keys {', '.join(sorted(odd)[:3])}" + (" and more" if len(odd) > 3 else "") if odd else "no experts"
    raise StateError(f"an MoE block of another layout: {said}; known layouts: fused, list, mixtral")


def _fused(state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    return _need(state, "experts.gate_up_proj"), _need(state, "experts.down_proj")


def _stacked(state: Mapping[str, Tensor], layout: str) -> tuple[Tensor, Tensor]:
    gate, up, down = _NAMES[layout]
    numbers = sorted({int(key.split(".")[1]) for key in state if key.startswith("experts.")})
    if numbers != list(range(len(state["gate.weight"]))):
        said = f"{len(state['gate.weight'])} experts in the router, weights of {len(numbers)}"
        raise StateError(f"the experts of a block must be numbered from 0 without gaps: {said}")
    keys = [f"experts.{number}." for number in numbers]
    firsts = [torch.cat([_need(state, f"{key}{name}.weight") for name in (gate, up)]) for key in keys]
    return torch.stack(firsts), torch.stack([_need(state, f"{key}{down}.weight") for key in keys])


def _shared(state: Mapping[str, Tensor], width: int, activation: str) -> SharedExpert | None:
    if not any(key.startswith("shared_expert") for key in state):
        return None
    weights = {name: _need(state, f"shared_expert.{name}.weight") for name in _SHARED}
    hidden = weights["up_proj"].shape[0]
    with torch.device("meta"):
        made = SharedExpert(width, hidden, activation=activation)
    for name, weight in weights.items():
        _agree(f"shared_expert.{name}", weight, (width, hidden) if name == "down_proj" else (hidden, width))
        getattr(made, name).weight = nn.Parameter(weight)
    assert made.gate is not None
    gate = _need(state, "shared_expert_gate.weight")
    _agree("shared_expert_gate", gate, (1, width))
    made.gate.weight = nn.Parameter(gate)
    return made


def _need(state: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in state:
        raise StateError(f"the MoE block lacks `{key}`")
    return state[key]


def _agree(name: str, weight: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(weight.shape) != shape:
        raise StateError(f"the {name} weights must be {list(shape)}, got {list(weight.shape)}")

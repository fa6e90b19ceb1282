"""The experts backend `turnout` for transformers: our dispatch inside any of its MoE models.

turnout.nn.hub.register()
model = AutoModelForCausalLM.from_pretrained(name, experts_implementation="turnout")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from turnout.errors import ConfigError, ParameterError
from turnout.nn._products import USUAL, best
from turnout.nn.base import Dispatcher, Experts, Segments
from turnout.nn.dispatch.auto import Auto
from turnout.nn.experts._blocked import Rows, blocked_ffn
from turnout.nn.plan import Plan


def register(name: str = "turnout", dispatcher: Dispatcher | None = None) -> str:
    """Register an experts backend with transformers; returns its name. Registering again replaces it.

    `dispatcher` is `Auto()` unless given. Raises ConfigError without transformers, ParameterError for a name that
    transformers itself uses.
    """
    try:
        from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
    except ImportError as error:
        raise ConfigError("an experts backend needs transformers 5: install turnout[nn-hub]") from error
    if name in {"eager", "batched_mm", "grouped_mm", "deepgemm", "sonicmoe"}:
        raise ParameterError(f"{name!r} is a backend of transformers itself; take another name")
    chosen = dispatcher or Auto()

    def forward(experts: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        return experts_forward(experts, hidden_states, top_k_index, top_k_weights, dispatcher=chosen)

    ALL_EXPERTS_FUNCTIONS.register(name, forward)
    return name


def experts_forward(
    experts: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor, *, dispatcher: Dispatcher
) -> Tensor:
    """One call of a transformers experts module: [T, D], [T, K], [T, K] → [T, D]; an index of E means no expert."""
    count = experts.num_experts
    # of the scores only their shape is read here
    scores_TE = top_k_weights.new_zeros(()).expand(hidden_states.shape[0], count)
    full = _is_full(experts, top_k_index, count)
    if not full:
        top_k_index = top_k_index.clamp(max=count)
        top_k_weights = top_k_weights.masked_fill(top_k_index == count, 0.0)
    plan = Plan(top_k_index, top_k_weights, scores_TE, scores_TE, full=full)
    return dispatcher.weighted(hidden_states, plan, _Borrowed(experts)).to(hidden_states.dtype)


def _is_full(experts: Any, top_k_index: Tensor, count: int) -> bool:
    """Whether every slot holds an expert; on a CPU it is looked at, elsewhere only expert parallelism leaves gaps."""
    if getattr(experts, "_is_expert_parallel", False):
        return False
    return top_k_index.device.type != "cpu" or torch.compiler.is_compiling() or bool((top_k_index < count).all())


def _is_swiglu(module: Any) -> bool:
    """Whether a transformers experts module is Σ down(silu(gate) · up), its weights as ours and nothing besides."""
    from transformers.integrations import moe

    besides = (module.has_bias, module.is_transposed, getattr(module, "has_post_expert_norm", False))
    plain = module.has_gate and getattr(module, "is_concatenated", True) and not any(besides)
    own_gate = type(module)._apply_gate is not getattr(moe, "_default_apply_gate", None)
    return plain and not own_gate and type(module.act_fn).__name__ in {"SiLU", "SiLUActivation"}


class _Borrowed(Experts):
    """A transformers experts module seen as a pool: it is no submodule here, its parameters stay where they are."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.experts = module.num_experts
        self._held = (module,)  # a bare attribute would make it a submodule

    def forward(self, x_ND: Tensor, segments: Segments) -> Tensor:
        """Both products with their biases, and the module's own gate between them."""
        (module,) = self._held
        hidden = self._linear(x_ND, segments, "gate_up_proj" if module.has_gate else "up_proj")
        hidden = module._apply_gate(hidden) if module.has_gate else module.act_fn(hidden)
        y_ND: Tensor = self._linear(hidden, segments, "down_proj")
        if getattr(module, "has_post_expert_norm", False):
            y_ND = module.post_expert_norm(y_ND)
        return y_ND

    def blocked(self, x_TD: Tensor, weight_N: Tensor, token_N: Tensor, sizes: Sequence[int]) -> Tensor | None:
        """As a pool of our own, where the module is a plain SwiGLU."""
        (module,) = self._held
        if not _is_swiglu(module):
            return None
        how = Rows(token_N, tuple(sizes), "silu", gated=True)
        return blocked_ffn(x_TD, weight_N, module.gate_up_proj, module.down_proj, how)

    def quick(self, rows: int) -> bool:
        """As a pool of our own."""
        (module,) = self._held
        return _is_swiglu(module) and best(module.gate_up_proj, rows) is not USUAL

    def _linear(self, x_NI: Tensor, segments: Segments, name: str) -> Tensor:
        (module,) = self._held
        weight = getattr(module, name)
        y_NO = segments.linear(x_NI, weight.transpose(1, 2) if module.is_transposed else weight)
        return y_NO + segments.pick(getattr(module, f"{name}_bias")) if module.has_bias else y_NO

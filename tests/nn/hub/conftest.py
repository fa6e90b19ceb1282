"""Tiny random models of four architectures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

SIZES = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"num_key_value_heads": 1, "max_position_embeddings": 64, "num_experts_per_tok": 2}


def make(architecture: str, **changes: Any) -> Any:
    """A model in evaluation mode, always the same weights."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    if architecture == "mixtral":
        config = transformers.MixtralConfig(**SIZES, intermediate_size=24, num_local_experts=4, **changes)
        return transformers.MixtralForCausalLM(config).eval()
    if architecture == "olmoe":
        config = transformers.OlmoeConfig(**SIZES, intermediate_size=24, num_experts=6, **changes)
        model = transformers.OlmoeForCausalLM(config)
    elif architecture == "qwen2_moe":
        more = {"moe_intermediate_size": 12, "shared_expert_intermediate_size": 20, "num_experts": 5}
        config = transformers.Qwen2MoeConfig(**SIZES, **more, intermediate_size=24, **changes)
        model = transformers.Qwen2MoeForCausalLM(config)
    else:
        more = {"moe_intermediate_size": 12, "num_experts": 5, "head_dim": 8}
        config = transformers.Qwen3MoeConfig(**SIZES, **more, intermediate_size=24, **changes)
        model = transformers.Qwen3MoeForCausalLM(config)
    for name, parameter in model.named_parameters():
        if name.endswith("gate.weight"):  # some architectures start with routers of zeros
            torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


@pytest.fixture
def tiny() -> Callable[..., Any]:
    """Makes a tiny model of an architecture."""
    return make


@pytest.fixture(params=["mixtral", "olmoe", "qwen2_moe", "qwen3_moe"])
def architecture(request: pytest.FixtureRequest) -> str:
    """Each architecture in turn."""
    return str(request.param)


@pytest.fixture
def ids() -> torch.Tensor:
    """Two sequences of nine tokens."""
    return torch.randint(64, (2, 9), generator=torch.Generator().manual_seed(1))

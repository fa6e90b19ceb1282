from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from turnout.errors import StateError
from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
from turnout.nn.hub import load_checkpoint, save_checkpoint

pytest.importorskip("transformers")


def test_blocks_of_a_saved_model_compute_the_same(architecture: str, tmp_path: Path, tiny: Callable[..., Any]) -> None:
    model = tiny(architecture)
    model.save_pretrained(tmp_path)
    layers = load_checkpoint(tmp_path)
    assert sorted(layers) == [0, 1]
    x = torch.randn(2, 9, 16)
    for number, layer in layers.items():
        assert torch.allclose(layer(x).output, model.model.layers[number].mlp(x), atol=1e-5)


def test_sharded_files_make_one_block(tmp_path: Path, tiny: Callable[..., Any]) -> None:
    tiny("olmoe").save_pretrained(tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert sorted(load_checkpoint(tmp_path)) == [0, 1]


def test_what_is_saved_transformers_reads(
    architecture: str, tmp_path: Path, tiny: Callable[..., Any], ids: torch.Tensor
) -> None:
    """Our layers, written under the architecture's names over its own, change the model it loads."""
    import transformers
    from safetensors.torch import load_file, save_file

    model = tiny(architecture)
    model.save_pretrained(tmp_path)
    layers = load_checkpoint(tmp_path)
    for layer in layers.values():
        with torch.no_grad():
            layer.experts.down_proj.mul_(2)
    save_checkpoint(layers, tmp_path / "blocks.safetensors", architecture)
    whole, blocks = load_file(tmp_path / "model.safetensors"), load_file(tmp_path / "blocks.safetensors")
    assert blocks.keys() <= whole.keys()
    (tmp_path / "blocks.safetensors").unlink()
    save_file(whole | blocks, tmp_path / "model.safetensors", metadata={"format": "pt"})
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    x = torch.randn(2, 9, 16)
    assert torch.allclose(again.model.layers[1].mlp(x), layers[1](x).output, atol=1e-5)
    assert not torch.allclose(again(ids).logits, model(ids).logits, atol=1e-3)


def test_dense_layers_between_are_left_out(tmp_path: Path, tiny: Callable[..., Any]) -> None:
    tiny("qwen2_moe", decoder_sparse_step=2).save_pretrained(tmp_path)
    assert sorted(load_checkpoint(tmp_path)) == [1]


def test_other_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"no config\.json"):
        load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(StateError, match="mixtral, olmoe, qwen2_moe, qwen3_moe can be read, got 'llama'"):
        load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mixtral"}))
    with pytest.raises(StateError, match="no safetensors file"):
        load_checkpoint(tmp_path)
    save_checkpoint({}, tmp_path / "model.safetensors")
    with pytest.raises(StateError, match="no MoE block"):
        load_checkpoint(tmp_path)


def test_the_layer_at_fault_is_named(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mixtral", "num_experts_per_tok": 2}))
    save_checkpoint({3: RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 12))}, tmp_path / "model.safetensors")
    extra = {"model.layers.3.block_sparse_moe.experts.0.w4.weight": torch.zeros(2)}
    save_file(extra, tmp_path / "more.safetensors")
    with pytest.raises(StateError, match=r"layer 3: .*another layout: keys experts\.0\.w4\.weight"):
        load_checkpoint(tmp_path)


def test_an_unknown_architecture_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="got 'gpt2'"):
        save_checkpoint({}, tmp_path / "x.safetensors", "gpt2")

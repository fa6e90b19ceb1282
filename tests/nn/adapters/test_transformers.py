"""Adapters in models of transformers: its Trainer, padding, gradient checkpointing, and real weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from turnout import models
from turnout.nn.adapters import Pool, adapted, attach, attach_peft, load, mean_gates, merge, routing, save, save_peft
from turnout.nn.hub import routed_trainer

transformers = pytest.importorskip("transformers")
POOL = Pool(experts=4, balancers=("switch_loss",), options={"experts": {"rank": 2}})
SIZES = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}


def llama() -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SIZES, num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64)
    return transformers.LlamaForCausalLM(config).eval()


def test_padding_is_routed_nowhere_and_changes_nothing() -> None:
    model = llama()
    attach(model, r"q_proj|down_proj", POOL)
    for layer in adapted(model).values():
        torch.nn.init.normal_(layer.layer.experts.lora_B)
    ids = torch.arange(8)[None] % 32
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.int64), ids], dim=1)
    mask = torch.tensor([[0] * 3 + [1] * 8])
    places = (mask.cumsum(-1) - 1).clamp_min(0)
    with torch.no_grad():
        found = model(input_ids=padded, attention_mask=mask, position_ids=places).logits[:, 3:]
        torch.testing.assert_close(found, model(input_ids=ids).logits, rtol=1e-4, atol=1e-5)
        model(input_ids=padded, attention_mask=mask)
    layer = next(iter(adapted(model).values()))
    assert int(layer.last.plan.counts_E.sum()) == 2 * 8


def test_padding_is_told_beside_embeddings_too() -> None:
    model = llama()
    layers = attach(model, r"down_proj", POOL)
    ids, mask = torch.arange(12).view(2, 6) % 32, torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1]])
    model(inputs_embeds=model.get_input_embeddings()(ids), attention_mask=mask)
    for layer in layers.values():
        assert torch.equal(layer.last.plan.mask_TK.any(-1), mask.flatten().bool())


def test_generation_with_a_cache_equals_generation_without() -> None:
    model = llama()
    attach(model, r"(q|v)_proj", POOL)
    for layer in adapted(model).values():
        torch.nn.init.normal_(layer.layer.experts.lora_B)
    ids = torch.arange(5)[None]
    asked = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(model.generate(ids, use_cache=True, **asked), model.generate(ids, use_cache=False, **asked))


def test_a_static_cache_generates_the_same() -> None:
    """Models with several kinds of attention are then given a mapping of masks."""
    torch.manual_seed(0)
    config = transformers.Qwen2Config(**SIZES, num_attention_heads=2, num_key_value_heads=1)
    model = transformers.Qwen2ForCausalLM(config).eval()
    attach(model, r"(q|v)_proj", POOL)
    for layer in adapted(model).values():
        torch.nn.init.normal_(layer.layer.experts.lora_B)
    ids = torch.arange(5)[None]
    asked = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(model.generate(ids, cache_implementation="static", **asked), model.generate(ids, **asked))


@pytest.mark.parametrize("length", [4, 5])
def test_a_decoder_is_not_told_of_the_encoders_tokens(length: int) -> None:
    config = transformers.T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    model = transformers.T5ForConditionalGeneration(config).eval()
    layers = attach(model, r"\.q$", Pool(experts=2))
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    ids = torch.arange(10).view(2, 5)
    model(input_ids=ids, attention_mask=mask, decoder_input_ids=ids[:, :length])
    real = {name: layer.last.plan.mask_TK.any(-1) for name, layer in layers.items()}
    assert torch.equal(real.pop("encoder.block.0.layer.0.SelfAttention.q"), mask.flatten().bool())
    assert len(real) == 2
    assert all(bool(real_T.all()) for real_T in real.values())


def test_a_mean_over_a_decoders_tokens_leaves_out_no_padding_of_the_encoder() -> None:
    config = transformers.T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    model = transformers.T5ForConditionalGeneration(config).eval()
    (layer,) = attach(model, r"decoder.*SelfAttention\.q$", Pool(experts=1, gate="vector_gate")).values()
    ids, mask, seen = torch.arange(10).view(2, 5), torch.tensor([[1, 1, 1, 0, 0], [1] * 5]), []
    handle = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].flatten(0, 1)))
    mean_gates(model, [(0, ids)], lambda net, batch: net(batch, attention_mask=mask, decoder_input_ids=batch))
    handle.remove()
    torch.testing.assert_close(layer.layer.gate.vectors, seen[0].mean(0, keepdim=True))


@pytest.mark.parametrize("said", [{"expert": 1}, {"weights": torch.full((4,), 0.25)}])
def test_padding_goes_to_no_expert_that_a_caller_names(said: dict[str, Any]) -> None:
    model = llama()
    layers = attach(model, r"down_proj", replace(POOL, statistics=True))
    ids, mask = torch.arange(12).view(2, 6) % 32, torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1]])
    with routing(model, **said):
        model(input_ids=ids, attention_mask=mask)
    for layer in layers.values():
        assert torch.equal(layer.last.plan.mask_TK.any(-1), mask.flatten().bool())
        assert int(layer.layer.statistics.counts_E.sum()) == 10 * layer.last.plan.k


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    ids = torch.arange(12).view(2, 6)
    found = []
    for checkpointing in (False, True):
        model = llama().train()
        attach(model, r"down_proj", POOL)
        for layer in adapted(model).values():
            torch.nn.init.ones_(layer.layer.experts.lora_B)
        if checkpointing:
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        with routing(model, expert=torch.tensor([0, 3])):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        found.append([p.grad for p in model.parameters() if p.requires_grad])
    for one, other in zip(*found, strict=True):
        if one is None:
            assert other is None
        else:
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_gradient_checkpointing_repeats_each_pass_as_it_was(both: bool, reentrant: bool) -> None:
    ids = torch.arange(12).view(2, 6)
    masks = torch.tensor([[[1] * 6, [0, 0, 0, 1, 1, 1]], [[0, 1, 1, 1, 1, 1], [1] * 6]])
    found = []
    for checkpointing in (False, True):
        model = llama().train()
        layers = attach(model, r"down_proj", POOL)
        for layer in layers.values():
            torch.nn.init.ones_(layer.layer.experts.lora_B)
        if checkpointing:
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        with routing(model, expert=1):
            loss = model(input_ids=ids, attention_mask=masks[0], labels=ids).loss
        with torch.set_grad_enabled(both):  # another pass before the first one's backward
            other = model(input_ids=ids, attention_mask=masks[1], labels=ids).loss
        (loss + other if both else loss).backward()
        found.append([layer.layer.experts.lora_A.grad for layer in layers.values()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_the_trainer_trains_pools_with_balancing_losses_and_tasks(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    model = llama()
    options = {"experts": {"rank": 2}, "gate": {"tasks": 2}, "selector": {"k": 2}}
    attach(model, "down_proj", Pool(4, gate="task_table_gate", balancers=("switch_loss",), options=options))
    rows = [{"input_ids": torch.arange(6) + n, "labels": torch.arange(6) + n, "task_ids": n % 2} for n in range(8)]
    arguments = transformers.TrainingArguments(
        str(tmp_path / "out"),
        max_steps=6,
        per_device_train_batch_size=4,
        learning_rate=0.05,
        remove_unused_columns=False,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1,
    )
    frozen = model.model.embed_tokens.weight.detach().clone()
    trainer = routed_trainer(transformers.Trainer)(model, arguments, train_dataset=rows)
    trainer.train()
    layer = next(iter(adapted(model).values())).layer
    assert bool(layer.experts.lora_B.any())
    assert not torch.equal(layer.gate.table[0], layer.gate.table[1])
    assert torch.equal(model.model.embed_tokens.weight, frozen)
    assert sum("switch_loss" in each for each in trainer.state.log_history) == 6


@pytest.mark.e2e
def test_eight_adapters_on_smollm2(tmp_path: Path) -> None:
    """Attach, train, save, load, exchange with PEFT and merge on real weights."""
    pytest.importorskip("gguf")
    if models.missing(["smollm2-135m"]):
        pytest.skip("no weights: turnout models pull smollm2-135m")
    from turnout.nn.hub import load_local

    model, tokenizer = load_local("smollm2-135m")
    options = {"experts": {"rank": 4}, "gate": {"score": "standard"}}
    layers = attach(model, r"layers\.2\d\.self_attn\.(q|v)_proj", Pool(8, gate="vector_gate", options=options))
    assert len(layers) == 20
    texts = [f"Line {n}: {'the river runs to the sea ' * 2}{n}" for n in range(8)]
    batch = tokenizer(texts, return_tensors="pt")
    own = torch.arange(8)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    found = []
    for _ in range(3):
        with routing(model, expert=own):
            loss = model(**batch, labels=batch["input_ids"]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert found[-1] < found[0]

    def logits(**said: Any) -> torch.Tensor:
        with torch.no_grad(), routing(model, **said):
            return model(input_ids=batch["input_ids"][:2]).logits

    alone, routed = logits(expert=3), logits()
    save(model, tmp_path / "pool")
    save_peft(model, tmp_path / "three", 3)
    merge(model, 3)
    with torch.no_grad():
        merged = model(input_ids=batch["input_ids"][:2]).logits
    torch.testing.assert_close(merged, alone, rtol=1e-3, atol=2e-3)

    with torch.no_grad():  # the linear layers as they were: take the merged expert out again
        attach_peft(model, [tmp_path / "three"])
        merge(model, weights=torch.tensor([-1.0]))
    load(model, tmp_path / "pool")
    torch.testing.assert_close(logits(expert=3), alone, rtol=1e-3, atol=2e-3)
    torch.testing.assert_close(logits(), routed, rtol=1e-3, atol=2e-3)

"""transformers' Trainer beside a plain loop: what learns, what is added, what moves once, what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from turnout.errors import RoutingError
from turnout.nn import LossFreeBias, RoutedLayer, SwitchLoss, losses, update_biases
from turnout.nn.adapters import Pool, adapted, attach
from turnout.nn.hub import replace_moe, routed_trainer

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate")

SIZES = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
POOL = Pool(4, balancers=("switch_loss", "loss_free_bias"), options={"experts": {"rank": 2}})
ROWS = [{name: torch.arange(6) * (n + 1) % 32 for name in ("input_ids", "labels")} for n in range(12)]


def llama(target: str = "down_proj", pool: Pool = POOL, **changes: Any) -> Any:
    torch.manual_seed(0)
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, **heads, **changes))
    attach(model, target, pool)
    for layer in adapted(model).values():
        nn.init.normal_(layer.layer.experts.lora_B, std=0.1)
    return model


def trained(model: Any, out: Path, kind: Any = None, resume: Path | None = None, **changes: Any) -> Any:
    """A trainer that has run: three optimizer steps of two micro-batches of two rows, unless said otherwise."""
    settings = {
        "max_steps": 3,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 0.05,
        "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant",
        "report_to": [],
        "use_cpu": True,
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 1,
    }
    arguments = transformers.TrainingArguments(str(out), **{**settings, **changes})
    trainer = (kind or routed_trainer(transformers.Trainer))(model, arguments, train_dataset=ROWS, eval_dataset=ROWS)
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return trainer


def assert_equal_states(found: nn.Module, wanted: nn.Module) -> None:
    for (name, value), other in zip(found.state_dict().items(), wanted.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


@pytest.mark.parametrize("steps", [1, 2])
def test_a_trainer_equals_a_plain_loop_under_gradient_accumulation(steps: int, tmp_path: Path) -> None:
    by_trainer, by_hand = llama(), llama()
    before = {name: p.detach().clone() for name, p in by_trainer.named_parameters()}
    seen: list[list[int]] = []

    class Shown(routed_trainer(transformers.Trainer)):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(inputs["input_ids"][:, 1].tolist())
            return super().training_step(model, inputs, *args, **kwargs)

    trained(by_trainer, tmp_path, Shown, gradient_accumulation_steps=steps)
    assert len(seen) == 3 * steps
    row_of = {int(row["input_ids"][1]): row["input_ids"] for row in ROWS}
    optimizer = torch.optim.AdamW([p for p in by_hand.parameters() if p.requires_grad], lr=0.05, weight_decay=0.0)
    moved = []
    by_hand.train()
    for step in range(3):
        for batch in seen[step * steps : (step + 1) * steps]:
            ids = torch.stack([row_of[first] for first in batch])
            loss = by_hand(input_ids=ids, labels=ids).loss
            ((loss + sum(losses(by_hand).values())) / steps).backward()
        optimizer.step()
        optimizer.zero_grad()
        moved.append(update_biases(by_hand))
    assert moved == [2, 2, 2]  # two layers, each once
    for (name, found), wanted in zip(by_trainer.state_dict().items(), by_hand.state_dict().values(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5, msg=name)
    changed = {name for name, p in by_trainer.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name in before if ".layer.experts." in name or ".layer.gate." in name}


def test_biases_move_once_a_step_and_not_in_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    after_step = LossFreeBias.after_step

    def watched(self: LossFreeBias) -> bool:
        counted.append(int(self.counts_E.sum()))
        return after_step(self)

    monkeypatch.setattr(LossFreeBias, "after_step", watched)
    trained(llama(), tmp_path, eval_strategy="steps", eval_steps=1, gradient_accumulation_steps=3)
    # 12 rows in micro-batches of two are two steps an epoch, six tokens a row, two experts a token; two layers
    assert counted == [3 * 2 * 6 * 2] * 2 * 3


def test_losses_are_added_by_name_logged_and_left_out_of_evaluation(tmp_path: Path) -> None:
    pool = Pool(4, balancers=("switch_loss", "z_loss"), options={"experts": {"rank": 2}})
    model = llama(pool=pool)
    trainer = trained(model, tmp_path, routed_trainer(transformers.Trainer, ["z_loss"]))
    logs = [each for each in trainer.state.log_history if "loss" in each]
    assert len(logs) == 3
    assert all("z_loss" in each and "switch_loss" not in each for each in logs)
    ids = torch.stack([row["input_ids"] for row in ROWS])
    with torch.no_grad():
        own = float(model.eval()(input_ids=ids, labels=ids).loss)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(own, rel=1e-4)
    with pytest.raises(
        RoutingError, match=r"no balancer of the model gives the loss 'l1'; .* gave switch_loss, z_loss"
    ):
        trained(llama(pool=pool), tmp_path, routed_trainer(transformers.Trainer, ["l1"]))


def test_the_logged_balance_is_the_mean_over_micro_batches(tmp_path: Path) -> None:
    found: list[float] = []

    class Shown(routed_trainer(transformers.Trainer)):  # type: ignore[misc]
        def compute_loss(self, model: Any, *args: Any, **kwargs: Any) -> Any:
            loss = super().compute_loss(model, *args, **kwargs)
            found.append(float(losses(model)["switch_loss"].detach()))
            return loss

    trainer = trained(llama(), tmp_path, Shown, logging_steps=3)
    (logged,) = [each["switch_loss"] for each in trainer.state.log_history if "switch_loss" in each]
    assert len(found) == 6
    assert logged == pytest.approx(sum(found) / 6)


def test_schedules_go_by_the_optimizer_steps(tmp_path: Path) -> None:
    options = {"experts": {"rank": 2}, "entropy_loss": {"schedule": told}}
    TOLD.clear()
    trained(llama(pool=Pool(4, balancers=("entropy_loss",), options=options)), tmp_path)
    assert TOLD == [0] * 4 + [1] * 4 + [2] * 4  # two micro-batches, two layers


TOLD: list[int] = []


def told(step: int) -> float:
    TOLD.append(step)
    return 0.01


@pytest.mark.parametrize("target", ["down_proj", "down_proj|lm_head"])
def test_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(target: str, tmp_path: Path) -> None:
    tied = "lm_head" in target
    model = llama(target, tie_word_embeddings=tied)
    trained(model, tmp_path / "whole", save_strategy="steps", save_steps=2)
    again = llama(target, tie_word_embeddings=tied)
    trained(again, tmp_path / "rest", resume=tmp_path / "whole" / "checkpoint-2")
    assert_equal_states(again, model)
    assert bool(adapted(model)["model.layers.0.mlp.down_proj"].layer.balancers[1].bias.any())


def balanced(layer: RoutedLayer, number: int) -> RoutedLayer:
    experts = layer.experts.experts
    return RoutedLayer(layer.gate, layer.selector, layer.experts, balancers=[SwitchLoss(0.1), LossFreeBias(experts)])


def test_replaced_blocks_go_on_from_a_checkpoint_too(
    architecture: str, tiny: Callable[..., Any], tmp_path: Path
) -> None:
    def made() -> Any:
        model = tiny(architecture)
        replace_moe(model, balanced)
        return model

    model, again = made(), made()
    trained(model, tmp_path / "whole", save_strategy="steps", save_steps=2)
    trained(again, tmp_path / "rest", resume=tmp_path / "whole" / "checkpoint-2")
    assert_equal_states(again, model)


def test_several_gpus_in_one_process_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers.TrainingArguments, "n_gpu", property(lambda self: 2))
    with pytest.raises(RoutingError, match="2 GPUs in one process"):
        trained(llama(), tmp_path)


def test_reentrant_checkpointing_would_lose_the_losses_and_is_refused(tmp_path: Path) -> None:
    new = hasattr(transformers.TrainingArguments, "activation_checkpointing")
    name = "activation_checkpointing" if new else "gradient_checkpointing"
    changes = {name: True, f"{name}_kwargs": {"use_reentrant": True}}
    with pytest.raises(RoutingError, match="use_reentrant"):
        trained(llama(), tmp_path, **changes)
    unbalanced = llama(pool=Pool(4, options={"experts": {"rank": 2}}))
    trained(unbalanced, tmp_path, max_steps=1, **changes)
